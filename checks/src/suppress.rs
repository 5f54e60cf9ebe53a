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
