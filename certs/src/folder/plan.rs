//! What to do with a folder: pure.

use super::Existing;
use crate::{Authority, Bundle, Names, Pair, check};
use jiff::Timestamp;
use std::time::Duration;

/// What the folder should hold.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Names of the server.
    pub names: Names,
    /// Life of the leaf.
    pub lifetime: Duration,
    /// Life of a new CA.
    pub ca_lifetime: Duration,
    /// Replace keys that are there.
    pub force: bool,
}

/// What is to be done.
#[derive(Debug)]
pub enum Plan {
    /// Everything is in order.
    Keep {
        /// The CA that clients need.
        ca: String,
        /// When to come again.
        renewal: Timestamp,
    },
    /// Write this pair; the CA stays.
    Leaf {
        /// The kept CA.
        authority: Authority,
        /// The new pair.
        pair: Pair,
    },
    /// Write a CA and a pair.
    Everything {
        /// The new CA.
        authority: Authority,
        /// The new pair.
        pair: Pair,
    },
}

/// Why nothing is done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A key would be overwritten.
    #[error("{file} stays as it is, but {why}; --force replaces it")]
    WouldOverwrite {
        /// Which key.
        file: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing can be made of what is wanted.
    #[error(transparent)]
    Issue(#[from] crate::IssueError),
}

/// Decides: a pair in order stays, a usable CA is used again, and a key is only replaced
/// by force.
///
/// # Errors
/// A key would have to be replaced, or the wanted lives make no sense.
pub fn plan(existing: &Existing, wanted: &Wanted, now: Timestamp) -> Result<Plan, Refusal> {
    let reason = match judge_pair(existing, wanted, now) {
        Ok((ca, renewal)) if now < renewal && !wanted.force => {
            return Ok(Plan::Keep { ca, renewal });
        }
        Ok((_, renewal)) => format!("it is due for renewal since {renewal}"),
        Err(why) => why,
    };
    if existing.key.is_some() && !wanted.force {
        return Err(Refusal::WouldOverwrite {
            file: "tls.key",
            why: reason,
        });
    }
    if let Some(authority) = usable_authority(existing, wanted, now)? {
        let pair = authority.issue(&wanted.names, wanted.lifetime, now)?;
        return Ok(Plan::Leaf { authority, pair });
    }
    let authority = Authority::create(wanted.ca_lifetime, now)?;
    let pair = authority.issue(&wanted.names, wanted.lifetime, now)?;
    Ok(Plan::Everything { authority, pair })
}

/// The CA and the renewal of a pair in order; otherwise what is wrong.
fn judge_pair(
    existing: &Existing,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<(String, Timestamp), String> {
    let (Some(certificate), Some(key)) = (&existing.certificate, &existing.key) else {
        return Err("tls.crt or tls.key is missing".into());
    };
    let ca = existing.ca.as_deref().ok_or("ca.crt is missing")?;
    let pair = Pair {
        certificate: certificate.clone(),
        key: key.clone(),
    };
    let trusted = Bundle::parse(ca).map_err(|e| e.to_string())?;
    let validity = check(&pair, &trusted, &wanted.names, now).map_err(|e| e.to_string())?;
    Ok((trusted.pem(), validity.renewal()))
}

/// The CA that is there, if it lives long enough to be of use.
fn usable_authority(
    existing: &Existing,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Option<Authority>, Refusal> {
    let Some(key) = &existing.ca_key else {
        return Ok(None);
    };
    let certificate = existing.ca.as_deref().unwrap_or_default();
    let why = match Authority::from_pem(certificate, key) {
        Ok(authority) if authority.not_after() > now + crate::MIN_LIFETIME => {
            return Ok(Some(authority));
        }
        Ok(authority) => format!("its CA expires at {}", authority.not_after()),
        Err(error) => error.to_string(),
    };
    if wanted.force {
        return Ok(None);
    }
    Err(Refusal::WouldOverwrite {
        file: "ca.key",
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;
    use test_case::test_case;

    const DAY: Duration = Duration::from_hours(24);

    fn now() -> Timestamp {
        "2026-06-01T12:00:00Z".parse().unwrap()
    }

    fn wanted(force: bool) -> Wanted {
        Wanted {
            names: Names::service("hook", "system", "cluster.local").unwrap(),
            lifetime: 90 * DAY,
            ca_lifetime: 3650 * DAY,
            force,
        }
    }

    fn full() -> Existing {
        let ca = Authority::create(3650 * DAY, now()).unwrap();
        let pair = ca.issue(&wanted(false).names, 90 * DAY, now()).unwrap();
        Existing {
            ca: Some(ca.certificate().into()),
            ca_key: Some(ca.key().clone()),
            certificate: Some(pair.certificate),
            key: Some(pair.key),
        }
    }

    fn word(plan: &Result<Plan, Refusal>) -> String {
        match plan {
            Ok(Plan::Keep { .. }) => "keep".into(),
            Ok(Plan::Leaf { .. }) => "leaf".into(),
            Ok(Plan::Everything { .. }) => "everything".into(),
            Err(error) => error.to_string(),
        }
    }

    fn without(change: impl FnOnce(&mut Existing)) -> Existing {
        let mut existing = full();
        change(&mut existing);
        existing
    }

    #[allow(clippy::needless_pass_by_value)] // test_case hands over values
    #[test_case(Existing::default(), 0, "everything", "everything"; "an empty folder")]
    #[test_case(full(), 0, "keep", "leaf"; "in order")]
    #[test_case(full(), 61, "tls.key stays as it is, but it is due for renewal", "leaf"; "due")]
    #[test_case(full(), 91, "tls.key stays as it is, but tls.crt, or the CA", "leaf"; "expired")]
    #[test_case(full(), 3651, "expired", "everything"; "CA expired")]
    #[test_case(without(|e| { e.certificate = None; e.key = None; }), 0, "leaf", "leaf"; "CA alone")]
    #[test_case(without(|e| e.certificate = None), 0, "tls.crt or tls.key is missing", "leaf"; "no certificate")]
    #[test_case(without(|e| e.ca_key = None), 0, "keep", "everything"; "the CA without key")]
    #[test_case(without(|e| e.ca = None), 0, "ca.crt is missing", "everything"; "no CA")]
    #[test_case(without(|e| e.key = Some(Key::new("x"))), 0, "tls.key: cannot be read", "leaf"; "broken key")]
    #[test_case(without(|e| { e.ca = None; e.certificate = None; e.key = None; }), 0,
        "ca.key stays as it is", "everything"; "CA key alone")]
    #[test_case(without(|e| { e.certificate = None; e.key = None; e.ca_key = full().ca_key; }), 0,
        "ca.key stays as it is, but the CA: ca.key: cannot be read: it is not the key of ca.crt",
        "everything"; "mixed CA")]
    fn decides(existing: Existing, days: u32, gentle: &str, forced: &str) {
        let later = now() + days * DAY;
        let said = word(&plan(&existing, &wanted(false), later));
        assert!(said.contains(gentle), "{said}");
        assert_eq!(word(&plan(&existing, &wanted(true), later)), forced);
    }

    #[test]
    fn other_names_need_force() {
        let mut other = wanted(false);
        other.names = other.names.and(["192.0.2.1".parse().unwrap()]);
        let said = word(&plan(&full(), &other, now()));
        assert!(said.contains("does not cover \"192.0.2.1\""), "{said}");
    }
}
