//! Suppression: `ignore.ringfence.dev/CHECK: "until=2026-12-31 why it is right here"`.
//!
//! Both are required: a suppression without reason is not understood in a year, and one
//! without end is a hole that nobody looks at again.

use crate::Subject;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// The prefix of the annotations.
pub const PREFIX: &str = "ignore.ringfence.dev/";

/// One annotation that asks for silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression<'a> {
    /// The check's id, as written.
    pub check: &'a str,
    /// The whole value.
    pub value: &'a str,
    /// Until which day (UTC, included) and why; or what is wrong with the value.
    pub terms: Result<(Date, &'a str), &'static str>,
}

/// All of them on an object.
pub fn suppressions<'a>(subject: &Subject<'a>) -> Vec<Suppression<'a>> {
    let annotations = subject
        .raw
        .get("metadata")
        .and_then(|m| m.get("annotations"));
    let annotations = annotations.and_then(|a| a.as_object());
    let pairs = annotations.into_iter().flatten();
    pairs
        .filter_map(|(key, value)| {
            let check = key.strip_prefix(PREFIX)?;
            let value = value.as_str().unwrap_or_default();
            Some(Suppression {
                check,
                value,
                terms: terms(value),
            })
        })
        .collect()
}

fn terms(value: &str) -> Result<(Date, &str), &'static str> {
    let value = value.trim();
    let (first, reason) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
    let until = first
        .strip_prefix("until=")
        .ok_or("begin with until=YYYY-MM-DD")?;
    let until = until
        .parse()
        .map_err(|_| "write the date as until=YYYY-MM-DD")?;
    let reason = reason.trim();
    if reason.is_empty() {
        return Err("say why after the date");
    }
    Ok((until, reason))
}

impl Suppression<'_> {
    /// Whether it is over. The day it names still counts.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let today = now.to_zoned(TimeZone::UTC).date();
        matches!(self.terms, Ok((until, _)) if until < today)
    }

    /// Whether it silences `check` now.
    pub fn silences(&self, check: &str, now: Timestamp) -> bool {
        self.check == check && self.terms.is_ok() && !self.is_over(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use test_case::test_case;

    #[test_case("until=2026-12-31 why", "2026-12-31: why"; "both")]
    #[test_case("  until=2026-12-31   two  words ", "2026-12-31: two  words"; "spaces")]
    #[test_case("until=2026-12-31", "say why after the date"; "no reason")]
    #[test_case("until=31.12.2026 why", "write the date as until=YYYY-MM-DD"; "another date")]
    #[test_case("until=2026-02-30 why", "write the date as until=YYYY-MM-DD"; "no such day")]
    #[test_case("why", "begin with until=YYYY-MM-DD"; "no end")]
    #[test_case("", "begin with until=YYYY-MM-DD"; "nothing")]
    fn values(value: &str, expected: &str) {
        let said = match terms(value) {
            Ok((until, why)) => format!("{until}: {why}"),
            Err(remedy) => remedy.to_owned(),
        };
        assert_eq!(said, expected);
    }

    #[test_case("2026-05-31T23:59:59Z", true; "before")]
    #[test_case("2026-06-01T23:59:59Z", true; "the day itself")]
    #[test_case("2026-06-02T00:00:00Z", false; "after")]
    fn the_day_it_names_still_counts(now: &str, expected: bool) {
        let raw = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "n", "annotations": {
                "ignore.ringfence.dev/dash-or": "until=2026-06-01 why",
                "other": "until=2026-06-01 why",
            }},
        });
        let subject = Subject::read(&raw).unwrap();
        let all = suppressions(&subject);
        assert_eq!(all.len(), 1);
        let now = now.parse().unwrap();
        assert_eq!(all[0].silences("dash-or", now), expected);
        assert_eq!(all[0].is_over(now), !expected);
        assert!(!all[0].silences("dash", now));
    }
}
