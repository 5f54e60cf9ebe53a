//! How a certificate is replaced without a single refused call. Pure: what is seen goes
//! in, the next step comes out.
//!
//! ```text
//!           Renew                Promote               Drop
//!   served: A      -->  served: A     -->  served: B     -->  served: B
//!   next:   -           next:   B          next:   -          next:   -
//!   CAs:    a           CAs:    a b        CAs:    a b        CAs:    b
//!                       (--ca-overlap)     (--ca-settle)
//! ```
//!
//! A wait counts from when the Secret says so *and* every caBundle agrees; whatever comes
//! between begins it anew. All of the state is in the Secret: a new leader goes on where
//! the last one stopped. No CA's key is kept, so that none can be stolen: each renewal
//! makes a new CA, and so the overlap is not a special case but the only way.

mod contents;

pub use contents::Contents;

use jiff::Timestamp;
use ringfence_certs::{Authority, Bundle, IssueError, Names, Pair, Problem, check};
use std::time::Duration;

/// CAs of a lost Secret that stay trusted while webhooks still serve by them.
const MAX_INHERITED: usize = 4;

/// How long things last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Life of a CA and of its certificate.
    pub lifetime: Duration,
    /// From when every caBundle has the new CA until its certificate is served: every API
    /// server must have seen it.
    pub overlap: Duration,
    /// From when a new certificate is in the Secret until the old CA is dropped: every
    /// webhook must have loaded it (a kubelet takes up to two minutes).
    pub settle: Duration,
}

/// What to do with the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a CA and a pair, to be served at once.
    Issue,
    /// Make a CA and a pair, to be served later.
    Renew,
    /// Serve the next pair.
    Promote,
    /// Trust only the CA of the served pair.
    Drop,
}

/// A step and why, or when to look again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Do this now.
    Do(Step, String),
    /// Nothing to do for this long.
    Wait(Duration),
}

// === impl Step ===

impl Step {
    /// Every step, for metrics.
    pub const ALL: [Self; 4] = [Self::Issue, Self::Renew, Self::Promote, Self::Drop];

    /// The value of a label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::Renew => "renew",
            Self::Promote => "promote",
            Self::Drop => "drop",
        }
    }
}

/// The next step. `agreed` is how long the Secret has been what it is and every caBundle
/// what the Secret says; `None` while they differ.
pub fn judge(
    contents: Result<&Contents, &Problem>,
    names: &Names,
    agreed: Option<Duration>,
    timing: &Timing,
    now: Timestamp,
) -> Verdict {
    let contents = match contents {
        Ok(contents) => contents,
        Err(problem) => return Verdict::Do(Step::Issue, problem.to_string()),
    };
    let verify = |pair: &Pair| check(pair, &contents.ca, names, now);
    let next = contents.next.as_ref().map(verify);
    // What the API server would refuse is replaced at once; a missing name of another
    // kind of client, and old age, can wait for the overlap.
    let due = match verify(&contents.current) {
        Ok(validity) if now < validity.renewal() => Err(until(now, validity.renewal())),
        Ok(validity) => Ok(format!(
            "it is due for renewal since {:.0}",
            validity.renewal()
        )),
        Err(problem @ Problem::NameMissing { .. }) => Ok(problem.to_string()),
        Err(problem) if matches!(next, Some(Ok(_))) => {
            return Verdict::Do(Step::Promote, problem.to_string());
        }
        Err(problem) => return Verdict::Do(Step::Issue, problem.to_string()),
    };
    match (next, due) {
        (Some(Ok(_)), _) => after(
            agreed,
            timing.overlap,
            Step::Promote,
            "both CAs are trusted everywhere",
        ),
        (Some(Err(problem)), _) => Verdict::Do(Step::Renew, format!("next: {problem}")),
        (None, Ok(reason)) => Verdict::Do(Step::Renew, reason),
        (None, Err(left)) if contents.ca.len() > 1 => {
            match after(
                agreed,
                timing.settle,
                Step::Drop,
                "the old CA signed nothing that is served",
            ) {
                Verdict::Wait(wait) => Verdict::Wait(wait.min(left)),
                verdict @ Verdict::Do(..) => verdict,
            }
        }
        (None, Err(left)) => Verdict::Wait(left),
    }
}

/// When a certificate expires; `None` when it cannot be read.
pub fn expiry(pair: &Pair) -> Option<Timestamp> {
    let leaf = Bundle::parse(&pair.certificate)
        .ok()?
        .certificates()
        .first()
        .cloned()?;
    ringfence_certs::validity(&leaf, "tls.crt")
        .ok()
        .map(|v| v.not_after)
}

fn after(agreed: Option<Duration>, wait: Duration, step: Step, reason: &str) -> Verdict {
    match agreed {
        Some(agreed) if agreed >= wait => Verdict::Do(step, reason.to_owned()),
        agreed => Verdict::Wait(wait.saturating_sub(agreed.unwrap_or_default())),
    }
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

/// What the Secret holds after a step. `inherited` are the CAs that API servers trust now,
/// for when the Secret that knew them is lost or damaged.
///
/// # Errors
/// A life that makes no sense.
pub fn take(
    step: Step,
    contents: Option<&Contents>,
    inherited: &Bundle,
    names: &Names,
    timing: &Timing,
    now: Timestamp,
) -> Result<Contents, IssueError> {
    let fresh = || -> Result<(Pair, Bundle), IssueError> {
        let authority = Authority::create(timing.lifetime, now)?;
        let pair = authority.issue(names, timing.lifetime, now)?;
        Ok((pair, Bundle::parse(authority.certificate())?))
    };
    let signs = |contents: &Contents, ca: &Bundle| check(&contents.current, ca, names, now).is_ok();
    let known = contents.map_or_else(Bundle::default, |c| c.ca.clone());
    let known = if step == Step::Issue {
        known.and(inherited)
    } else {
        known
    };
    let known = known.unexpired(now)?;
    // What signed the served pair always stays; of the others, only a few.
    let signers = known.retain(|ca| contents.is_some_and(|c| signs(c, ca)));
    let mut room = MAX_INHERITED;
    let others = known.retain(|_| {
        let kept = room > 0;
        room = room.saturating_sub(1);
        kept
    });
    let known = signers.and(&others);
    let Some(contents) = contents.filter(|_| step != Step::Issue) else {
        let (current, ca) = fresh()?;
        let ca = ca.and(&known);
        return Ok(Contents {
            current,
            next: None,
            ca,
        });
    };
    let current = contents.current.clone();
    Ok(match step {
        Step::Issue | Step::Renew => {
            let (next, ca) = fresh()?;
            // Dropping a CA that was prepared for an unusable next pair would be a step
            // of its own: it goes with the others later.
            Contents {
                current,
                next: Some(next),
                ca: known.and(&ca),
            }
        }
        Step::Promote => Contents {
            current: contents.next.clone().unwrap_or(current),
            next: None,
            ca: contents.ca.clone(),
        },
        Step::Drop => Contents {
            ca: contents.ca.retain(|ca| signs(contents, ca)),
            current,
            next: None,
        },
    })
}

#[cfg(test)]
mod tests;
