//! Sets of pods, a bit each: what holds for ten thousand pods is worked out 64 at a time.

use std::ops::Range;

const WIDTH: usize = u64::BITS as usize;

/// A set of the numbers below a length that whoever makes it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// The empty set.
    pub fn none(length: usize) -> Self {
        Self(vec![0; length.div_ceil(WIDTH)])
    }

    /// Every number below `length`.
    pub fn all(length: usize) -> Self {
        let mut all = Self::none(length);
        all.insert(0..length);
        all
    }

    /// How many words an operation on it goes through.
    pub fn words(&self) -> usize {
        self.0.len()
    }

    /// Puts a range in.
    pub fn insert(&mut self, range: Range<usize>) {
        for (word, mask) in masks(range) {
            self.0[word] |= mask;
        }
    }

    /// Takes a range out.
    pub fn remove(&mut self, range: Range<usize>) {
        for (word, mask) in masks(range) {
            self.0[word] &= !mask;
        }
    }

    /// Whether a number is in it.
    pub fn contains(&self, number: usize) -> bool {
        self.0[number / WIDTH] >> (number % WIDTH) & 1 == 1
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// How many are in it.
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many of a range are in it.
    pub fn count_in(&self, range: Range<usize>) -> usize {
        let words = masks(range).map(|(word, mask)| self.0[word] & mask);
        words.map(|word| word.count_ones() as usize).sum()
    }

    /// The first number in it that is not below `from`.
    pub fn next(&self, from: usize) -> Option<usize> {
        let number = |at: usize, word: u64| at * WIDTH + word.trailing_zeros() as usize;
        let at = from / WIDTH;
        let word = self.0.get(at)? & (u64::MAX << (from % WIDTH));
        if word != 0 {
            return Some(number(at, word));
        }
        let mut rest = (at + 1..).zip(&self.0[at + 1..]);
        let (at, word) = rest.find(|(_, word)| **word != 0)?;
        Some(number(at, *word))
    }

    /// How many are in both.
    pub fn count_both(&self, other: &Self) -> usize {
        let words = self.0.iter().zip(&other.0);
        words.map(|(a, b)| (a & b).count_ones() as usize).sum()
    }

    /// The part in a range, counted from its beginning.
    pub fn part(&self, range: Range<usize>) -> Self {
        let mut part = Self::none(range.len());
        let (first, shift) = (range.start / WIDTH, range.start % WIDTH);
        let word = |at: usize| self.0.get(at).copied().unwrap_or(0);
        for (at, to) in (first..).zip(&mut part.0) {
            *to = word(at) >> shift;
            if shift > 0 {
                *to |= word(at + 1) << (WIDTH - shift);
            }
        }
        part.remove(range.len()..part.0.len() * WIDTH);
        part
    }

    /// Adds what is in the other.
    pub fn or(&mut self, other: &Self) {
        self.each(other, |a, b| a | b);
    }

    /// Keeps what is in the other as well.
    pub fn and(&mut self, other: &Self) {
        self.each(other, |a, b| a & b);
    }

    /// Takes out what is in the other.
    pub fn minus(&mut self, other: &Self) {
        self.each(other, |a, b| a & !b);
    }

    /// Keeps what is in one of the two only.
    pub fn differ(&mut self, other: &Self) {
        self.each(other, |a, b| a ^ b);
    }

    fn each(&mut self, other: &Self, operation: impl Fn(u64, u64) -> u64) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word = operation(*word, *other);
        }
    }
}

/// The words that a range lies in, and which of their bits.
fn masks(range: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let Range { start, end } = range;
    let words = if start < end {
        start / WIDTH..end.div_ceil(WIDTH)
    } else {
        0..0
    };
    words.map(move |word| {
        let first = word * WIDTH;
        let below = |number: usize| match number.saturating_sub(first) {
            few if few < WIDTH => (1 << few) - 1,
            _ => u64::MAX,
        };
        (word, below(end) & !below(start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const LENGTH: usize = 200;

    fn range() -> impl Strategy<Value = Range<usize>> {
        (0..=LENGTH, 0..=LENGTH).prop_map(|(a, b)| a.min(b)..a.max(b))
    }

    fn set(bits: &Bits) -> BTreeSet<usize> {
        (0..LENGTH).filter(|n| bits.contains(*n)).collect()
    }

    proptest! {
        #[test]
        fn as_a_set(a in range(), b in range(), out in range(), part in range()) {
            let (mut left, mut right) = (Bits::none(LENGTH), Bits::all(LENGTH));
            left.insert(a.clone());
            right.remove(0..b.start);
            right.remove(b.end..LENGTH);
            let (first, second): (BTreeSet<_>, BTreeSet<_>) = (a.collect(), b.collect());
            prop_assert_eq!(set(&left), first.clone());
            prop_assert_eq!(set(&right), second.clone());
            let with = |operation: fn(&mut Bits, &Bits)| {
                let mut bits = left.clone();
                operation(&mut bits, &right);
                set(&bits)
            };
            prop_assert_eq!(with(Bits::or), &first | &second);
            prop_assert_eq!(with(Bits::and), &first & &second);
            prop_assert_eq!(with(Bits::minus), &first - &second);
            prop_assert_eq!(with(Bits::differ), &first ^ &second);
            left.or(&right);
            left.remove(out);
            let all = set(&left);
            prop_assert_eq!(left.count(), all.len());
            prop_assert_eq!(left.is_empty(), all.is_empty());
            prop_assert_eq!(left.count_both(&right), (&all & &set(&right)).len());
            let inside = all.iter().filter(|n| part.contains(n));
            prop_assert_eq!(left.count_in(part.clone()), inside.clone().count());
            prop_assert_eq!(left.next(part.start), all.range(part.start..).next().copied());
            let local: Vec<usize> = inside.map(|n| n - part.start).collect();
            let cut = left.part(part.clone());
            let found: Vec<usize> = (0..part.len()).filter(|n| cut.contains(*n)).collect();
            prop_assert_eq!(found, local);
        }
    }
}
