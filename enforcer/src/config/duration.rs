//! Durations as Go writes them, since every Kubernetes flag is written so.

use std::time::Duration;

/// The units, longest first where one is the beginning of another.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("\u{b5}s", 1e-6),
    ("\u{3bc}s", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// Parses `5m`, `1m30s`, `1.5h`, `250ms`. At least one second, at most a day: no flag of
/// this program makes sense outside of that.
///
/// # Errors
/// A sentence that says what was found and what to write.
pub fn parse(text: &str) -> Result<Duration, String> {
    let advice = "write a duration such as 90s, 5m or 1m30s";
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(|| format!("found {text:?} without a unit; {advice}"))?;
        let number: f64 = rest[..digits]
            .parse()
            .map_err(|_| format!("found {text:?}; {advice}"))?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let (_, factor) = UNITS
            .into_iter()
            .find(|(unit, _)| *unit == &rest[..letters])
            .ok_or_else(|| format!("found the unit {:?}; {advice}", &rest[..letters]))?;
        seconds += number * factor;
        rest = &rest[letters..];
    }
    if (1.0..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("found {text:?}; it must be from 1s to 24h"))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::time::Duration;
    use test_case::test_case;

    #[test_case("5m", 300_000; "minutes")]
    #[test_case("1m30s", 90_000; "minutes and seconds")]
    #[test_case("1h", 3_600_000; "an hour")]
    #[test_case("1.5m", 90_000; "a fraction")]
    #[test_case("1s250ms", 1_250; "milliseconds")]
    #[test_case("5m0s", 300_000; "as Go prints it")]
    #[test_case("2000000us", 2_000; "microseconds")]
    #[test_case("2000000\u{b5}s", 2_000; "micro sign")]
    fn reads(text: &str, milliseconds: u64) {
        assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)));
    }

    #[test_case("", "from 1s"; "empty")]
    #[test_case("300", "without a unit"; "a bare number")]
    #[test_case("5 m", "unit"; "a space")]
    #[test_case("5d", "the unit \"d\""; "days")]
    #[test_case("-5m", "found"; "negative")]
    #[test_case("1.2.3s", "found"; "two points")]
    #[test_case("0s", "from 1s"; "zero")]
    #[test_case("100ms", "from 1s"; "too short")]
    #[test_case("25h", "24h"; "too long")]
    #[test_case("m", "found"; "a unit only")]
    fn refuses(text: &str, said: &str) {
        let error = parse(text).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}
