//! What a person wrote, made fit for a line of ours.

use std::borrow::Cow;

/// Without control characters: one of them makes the API server drop a whole warning, and
/// a line break would forge a line of a log. Those that turn the writing direction go too.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    // Nearly always. Without a way out in the middle many letters are looked at at once.
    let is_plain = |plain: bool, byte: u8| plain & (b' '..=b'~').contains(&byte);
    if text.bytes().fold(true, is_plain) {
        return Cow::Borrowed(text);
    }
    let is_bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if is_bad(c) { ' ' } else { c })
        .collect()
}

/// At most `bytes` bytes, which is at most as many characters.
pub(super) fn cut<'a>(text: impl Into<Cow<'a, str>>, bytes: usize) -> String {
    const MARK: &str = "...";
    let text = text.into();
    if text.len() <= bytes {
        return text.into_owned();
    }
    let end = text.floor_char_boundary(bytes.saturating_sub(MARK.len()));
    format!("{}{MARK}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("a\nb\u{7f}\u{202e}c" => "a b  c"; "line break, delete, direction")]
    #[test_case("käse" => "käse"; "letters stay")]
    fn cleans(text: &str) -> String {
        clean(text).into_owned()
    }

    #[test_case("abcdef", 6 => "abcdef"; "fits")]
    #[test_case("abcdefg", 6 => "abc..."; "does not")]
    #[test_case("ääää", 7 => "ää..."; "between characters")]
    fn cuts(text: &str, bytes: usize) -> String {
        cut(text, bytes)
    }
}
