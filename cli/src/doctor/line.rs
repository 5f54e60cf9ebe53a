//! What the doctor says: one line for each thing looked at.

use serde::Serialize;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it must be.
    Fine,
    /// Works, but something is to be known.
    Note,
    /// Could not be seen. Never taken for fine.
    Unknown,
    /// Must be mended.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// A stable word: `enforcer`, `bridge`, `webhook` ...
    pub check: &'static str,
    /// A node, an object, or `cluster`.
    pub subject: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do, unless it is fine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

// === impl Verdict ===

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Wrong => "WRONG",
        }
    }
}

// === impl Line ===

impl Line {
    /// As it must be.
    pub fn fine(check: &'static str, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            check,
            subject: subject.into(),
            verdict: Verdict::Fine,
            found: found.into(),
            remedy: None,
        }
    }

    /// To be known.
    pub fn note(check: &'static str, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Note,
            ..Self::fine(check, subject, found)
        }
    }

    /// Could not be seen.
    pub fn unknown(
        check: &'static str,
        subject: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Unknown,
            ..Self::fine(check, subject, found)
        }
    }

    /// Must be mended.
    pub fn wrong(
        check: &'static str,
        subject: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Wrong,
            ..Self::fine(check, subject, found)
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// Whether nothing has to be mended, and everything was seen.
pub fn is_healthy(lines: &[Line]) -> bool {
    lines.iter().all(|line| line.verdict < Verdict::Unknown)
}

/// For people: a line each, the remedy below it, and a count at the end.
pub fn text(lines: &[Line]) -> String {
    let width = |of: fn(&Line) -> &str| lines.iter().map(|l| of(l).len()).max().unwrap_or(0);
    let (check, subject) = (width(|l| l.check), width(|l| &l.subject));
    let row = |word: &str, a: &str, b: &str, rest: &str| {
        format!("{word:<7} {a:<check$}  {b:<subject$}  {rest}\n")
    };
    let of = |line: &Line| {
        let first = row(line.verdict.word(), line.check, &line.subject, &line.found);
        let second = line
            .remedy
            .as_ref()
            .map(|remedy| row("", "", "", &format!("-> {remedy}")));
        first + &second.unwrap_or_default()
    };
    let count = |verdict| lines.iter().filter(|l| l.verdict == verdict).count();
    let sum = format!(
        "{} fine, {} to know, {} not seen, {} wrong\n",
        count(Verdict::Fine),
        count(Verdict::Note),
        count(Verdict::Unknown),
        count(Verdict::Wrong)
    );
    lines.iter().map(of).chain([sum]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_stand_below_and_all_is_counted() {
        let lines = [
            Line::fine("enforcer", "node1", "ready"),
            Line::wrong("bridge", "node2", "not seen").remedy("modprobe br_netfilter"),
        ];
        assert_eq!(
            text(&lines),
            "fine    enforcer  node1  ready\n\
             WRONG   bridge    node2  not seen\n                         -> modprobe br_netfilter\n\
             1 fine, 0 to know, 0 not seen, 1 wrong\n"
        );
        assert!(!is_healthy(&lines));
        assert!(is_healthy(&lines[..1]));
        assert!(!is_healthy(&[Line::unknown("enforcer", "node1", "403")]));
    }
}
