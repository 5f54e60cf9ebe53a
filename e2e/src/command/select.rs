//! Which cases, and in which order.

use crate::case::{Case, Variant};
use crate::cases;
use anyhow::{Result, ensure};
use clap::Args;
use std::str::FromStr;

/// Cases by name or tag.
#[derive(Args, Clone, Debug)]
pub struct Selection {
    /// Names, beginnings of names, `name/variant`, or tags; none: all.
    #[arg(value_name = "NAME|TAG")]
    cases: Vec<String>,

    /// Leave these out: names, beginnings of names, or tags
    #[arg(long, value_name = "NAME|TAG", value_delimiter = ',')]
    without: Vec<String>,
}

// === impl Selection ===

impl Selection {
    /// These cases, in the order of the list.
    ///
    /// # Errors
    /// When a word means no case.
    pub fn cases(&self) -> Result<Vec<Case>> {
        let all = cases::all();
        for word in self.cases.iter().chain(&self.without) {
            ensure!(
                all.iter().any(|case| is_meant(case, word)),
                "no case is called {word:?} or has that tag; see `ringfence-e2e list`"
            );
        }
        let chosen = |case: &Case| {
            (self.cases.is_empty() || self.cases.iter().any(|word| is_meant(case, word)))
                && !self.without.iter().any(|word| is_meant(case, word))
        };
        Ok(all.into_iter().filter(chosen).collect())
    }

    /// Leaves of `variants` what was asked for where a word says `name/variant`.
    pub fn narrow(&self, variants: &mut Vec<Variant>) {
        if self.cases.iter().any(|word| word.contains('/')) {
            variants.retain(|variant| {
                self.cases.iter().any(|word| {
                    if word.contains('/') {
                        variant.name.starts_with(word.as_str())
                    } else {
                        is_meant(variant.case, word)
                    }
                })
            });
        }
    }
}

fn is_meant(case: &Case, word: &str) -> bool {
    let name = word.split_once('/').map_or(word, |(name, _)| name);
    case.name.starts_with(name) || case.tags.contains(&word)
}

/// The seed of an order: a number, or `random` for one that is drawn and printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "random" {
            return Ok(Self(fastrand::u64(..1_000_000)));
        }
        let number = text.parse();
        number
            .map(Self)
            .map_err(|_| format!("{text:?} is no seed: write a whole number, or random"))
    }
}

/// Shuffles worlds, and the variants that share one. These stay beside each other: a world
/// built anew for every variant would take most of the time and hide what one case
/// leaves to the next.
pub fn shuffle<'a>(variants: &[Variant<'a>], Seed(seed): Seed) -> Vec<Variant<'a>> {
    let mut draw = fastrand::Rng::with_seed(seed);
    let mut worlds: Vec<Vec<Variant<'a>>> = variants
        .chunk_by(Variant::shares_stage)
        .map(<[_]>::to_vec)
        .collect();
    draw.shuffle(&mut worlds);
    for world in &mut worlds {
        draw.shuffle(world);
    }
    worlds.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Options, Runner};
    use crate::fabric::PodKind;

    #[test]
    fn a_seed_gives_one_order_and_worlds_stay_together() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let cases = names.map(|name| Case::new(name, "").kinds(&[PodKind::Bridge]));
        let listed = Runner::new(Options::default()).variants(&cases);
        let order = |seed| -> Vec<String> {
            let all = shuffle(&listed, Seed(seed));
            assert_eq!(all.chunk_by(Variant::shares_stage).count(), 2);
            all.into_iter().map(|v| v.name).collect()
        };
        assert_eq!(order(7), order(7));
        assert!((0..5).any(|seed| order(seed) != order(7)));
        let mut sorted = order(7);
        sorted.sort();
        let mut all: Vec<String> = listed.iter().map(|v| v.name.clone()).collect();
        all.sort();
        assert_eq!(sorted, all);
    }

    #[test]
    fn seeds() {
        assert_eq!("12".parse(), Ok(Seed(12)));
        assert!("random".parse::<Seed>().is_ok());
        assert!("twelve".parse::<Seed>().unwrap_err().contains("random"));
    }

    #[test]
    fn names_beginnings_variants_and_tags() {
        let chosen = |word: &str| {
            let cases = Selection {
                cases: vec![word.into()],
                without: Vec::new(),
            }
            .cases();
            cases.map(|all| all.iter().map(|c| c.name).collect::<Vec<_>>())
        };
        assert_eq!(
            chosen("default-deny-ingress/same-bridge").unwrap(),
            ["default-deny-ingress"]
        );
        assert!(chosen("default-deny").unwrap().len() > 1);
        assert!(chosen("established").unwrap().len() > 1);
        assert!(chosen("no-such").is_err());
    }

    #[test]
    fn what_is_left_out() {
        let without = |word: &str| {
            let selection = Selection {
                cases: Vec::new(),
                without: vec![word.into()],
            };
            selection.cases()
        };
        let rest = without("generated").unwrap();
        assert!(!rest.is_empty() && rest.len() < cases::all().len());
        assert!(!rest.iter().any(|case| is_meant(case, "generated")));
        assert!(without("no-such").is_err());
    }
}
