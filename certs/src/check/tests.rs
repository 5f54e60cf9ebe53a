use super::*;
use crate::{Authority, Key};
use test_case::test_case;

const DAY: Duration = Duration::from_hours(24);

fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn names() -> Names {
    let names = Names::service("hook", "system", "cluster.local").unwrap();
    names.and(["127.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()])
}

struct Made {
    ca: Authority,
    trusted: Bundle,
    pair: Pair,
}

fn made() -> Made {
    let ca = Authority::create(90 * DAY, now()).unwrap();
    let pair = ca.issue(&names(), 60 * DAY, now()).unwrap();
    let trusted = Bundle::parse(ca.certificate()).unwrap();
    Made { ca, trusted, pair }
}

#[test]
fn a_new_pair_is_in_order_and_renewed_at_two_thirds() {
    let Made { trusted, pair, .. } = made();
    let validity = check(&pair, &trusted, &names(), now()).unwrap();
    assert_eq!(validity.not_before, now() - Duration::from_hours(1));
    assert_eq!(validity.not_after, now() + 60 * DAY);
    let life = validity.not_after.duration_since(validity.not_before);
    assert_eq!(validity.renewal(), validity.not_before + life * 2 / 3);
    assert_eq!(validity.left(now()), SignedDuration::from_hours(60 * 24));
}

#[test]
fn both_overlapping_cas_verify_their_own_leaf() {
    let (old, new) = (made(), made());
    let both = old.trusted.clone().and(&new.trusted);
    assert_eq!(both.len(), 2);
    assert_eq!(Bundle::parse(&both.pem()), Ok(both.clone()));
    check(&old.pair, &both, &names(), now()).unwrap();
    check(&new.pair, &both, &names(), now()).unwrap();
    let signer = both.retain(|ca| check(&new.pair, ca, &names(), now()).is_ok());
    assert_eq!(signer, new.trusted);
}

#[test_case(60; "the leaf")]
#[test_case(365; "leaf and CA")]
fn what_is_too_late_has_expired(days: u32) {
    let Made { trusted, pair, .. } = made();
    let later = now() + days * DAY + Duration::from_secs(1);
    let problem = check(&pair, &trusted, &names(), later).unwrap_err();
    assert!(matches!(problem, Problem::Expired { .. }), "{problem}");
}

#[test]
fn a_client_whose_clock_is_behind_still_accepts() {
    let Made { trusted, pair, .. } = made();
    check(&pair, &trusted, &names(), now() - Duration::from_mins(59)).unwrap();
    let early = now() - Duration::from_hours(2);
    let problem = check(&pair, &trusted, &names(), early).unwrap_err();
    assert!(matches!(problem, Problem::NotYetValid { .. }), "{problem}");
}

#[test]
fn another_ca_another_key_another_name() {
    let Made { ca, trusted, pair } = made();
    let stranger = made();
    let refused = |pair: &Pair, trusted: &Bundle, names: &Names| {
        check(pair, trusted, names, now()).unwrap_err()
    };
    assert_eq!(
        refused(&pair, &stranger.trusted, &names()),
        Problem::UnknownIssuer
    );
    assert_eq!(
        refused(&pair, &Bundle::default(), &names()),
        Problem::UnknownIssuer
    );
    let mixed = Pair {
        key: stranger.pair.key,
        ..pair.clone()
    };
    assert_eq!(refused(&mixed, &trusted, &names()), Problem::KeyMismatch);
    let more = names().and(["192.0.2.1".parse().unwrap()]);
    assert_eq!(
        refused(&pair, &trusted, &more),
        Problem::NameMissing {
            name: "192.0.2.1".into()
        }
    );
    let other = Names::service("other", "system", "cluster.local").unwrap();
    assert_eq!(
        refused(&pair, &trusted, &other),
        Problem::NameMissing {
            name: "other".into()
        }
    );
    // A CA is no server.
    let own = Pair {
        certificate: ca.certificate().into(),
        key: ca.key().clone(),
    };
    assert!(matches!(
        refused(&own, &trusted, &names()),
        Problem::Refused { .. }
    ));
}

#[test_case("", "tls.crt: cannot be read: there is no BEGIN CERTIFICATE"; "empty")]
#[test_case("hello", "there is no BEGIN CERTIFICATE"; "no PEM")]
#[test_case("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", "tls.crt: cannot be read"; "no base64")]
#[test_case("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "tls.crt: cannot be read"; "no certificate")]
#[test_case("-----BEGIN CERTIFICATE-----\nAAAA\n", "tls.crt: cannot be read"; "cut off")]
fn a_certificate_that_cannot_be_read(certificate: &str, said: &str) {
    let Made { trusted, pair, .. } = made();
    let pair = Pair {
        certificate: certificate.into(),
        ..pair
    };
    let problem = check(&pair, &trusted, &names(), now())
        .unwrap_err()
        .to_string();
    assert!(problem.contains(said), "{problem}");
}

#[test_case(""; "empty")]
#[test_case("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"; "no key")]
fn a_key_that_cannot_be_read(key: &str) {
    let Made { trusted, pair, .. } = made();
    let pair = Pair {
        key: Key::new(key),
        ..pair
    };
    let problem = check(&pair, &trusted, &names(), now())
        .unwrap_err()
        .to_string();
    assert!(problem.starts_with("tls.key: cannot be read"), "{problem}");
}

#[test]
fn a_bundle_loses_nothing_silently() {
    let Made { trusted, .. } = made();
    assert_eq!(Bundle::parse(" \n"), Ok(Bundle::default()));
    assert!(Bundle::parse("hello").is_err());
    let broken = format!(
        "{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        trusted.pem()
    );
    assert!(Bundle::parse(&broken).is_err());
}

#[test]
fn an_expired_ca_leaves_the_bundle() {
    let short = Authority::create(10 * DAY, now()).unwrap();
    let short = Bundle::parse(short.certificate()).unwrap();
    let long = made().trusted;
    let both = short.and(&long);
    assert_eq!(both.unexpired(now()), Ok(both.clone()));
    assert_eq!(both.unexpired(now() + 11 * DAY), Ok(long.clone()));
    assert_eq!(both.validity().unwrap(), long.validity().unwrap());
}
