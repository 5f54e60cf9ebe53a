use super::*;
use k8s_openapi::api::core::v1::Secret;
use test_case::test_case;

const DAY: Duration = Duration::from_hours(24);
const TIMING: Timing = Timing {
    lifetime: Duration::from_hours(90 * 24),
    overlap: Duration::from_mins(1),
    settle: Duration::from_mins(5),
};

fn start() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn names() -> Names {
    Names::service("hook", "system", "cluster.local").unwrap()
}

fn missing() -> Problem {
    Problem::Malformed {
        what: "tls.crt",
        why: "the Secret has no such key".into(),
    }
}

fn step(step: Step, from: Option<&Contents>, now: Timestamp) -> Contents {
    take(step, from, &Bundle::default(), &names(), &TIMING, now).unwrap()
}

fn fresh() -> Contents {
    step(Step::Issue, None, start())
}

fn renewed() -> Contents {
    step(Step::Renew, Some(&fresh()), start() + 61 * DAY)
}

fn promoted() -> Contents {
    step(Step::Promote, Some(&renewed()), start() + 61 * DAY)
}

/// Both CAs are trusted, but the new pair was lost.
fn without_next() -> Contents {
    Contents {
        next: None,
        ..renewed()
    }
}

fn broken_next() -> Contents {
    let mut contents = renewed();
    contents.next.as_mut().unwrap().key = fresh().current.key;
    contents
}

fn broken_current(mut contents: Contents) -> Contents {
    contents.current.key = fresh().current.key;
    contents
}

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Do(step, _) => step.label().to_owned(),
        Verdict::Wait(wait) => format!("wait {}", wait.as_secs()),
    }
}

const RENEWAL: u64 = 60 * 86_400 - 1200;

#[test_case(fresh(), 0, Some(0), &format!("wait {RENEWAL}"); "fresh")]
#[test_case(fresh(), 61, Some(0), "renew"; "two thirds of life are over")]
#[test_case(fresh(), 61, None, "renew"; "due while a caBundle is wrong")]
#[test_case(fresh(), 91, Some(9999), "issue"; "expired")]
#[test_case(renewed(), 61, None, "wait 60"; "a caBundle has not both CAs")]
#[test_case(renewed(), 61, Some(59), "wait 1"; "not every API server may know the new CA")]
#[test_case(renewed(), 61, Some(60), "promote"; "every API server knows it")]
#[test_case(renewed(), 91, None, "promote"; "the served pair expired meanwhile")]
#[test_case(broken_current(renewed()), 61, None, "promote"; "the served pair broke meanwhile")]
#[test_case(broken_next(), 61, Some(9999), "renew"; "the next pair is broken")]
#[test_case(broken_current(fresh()), 0, Some(9999), "issue"; "the served pair is broken")]
#[test_case(promoted(), 61, Some(60), "wait 240"; "webhooks may still serve the old pair")]
#[test_case(promoted(), 61, None, "wait 300"; "and a caBundle is wrong")]
#[test_case(promoted(), 61, Some(300), "drop"; "nobody serves the old pair")]
#[test_case(without_next(), 61, Some(300), "renew"; "half of a renewal")]
#[allow(clippy::needless_pass_by_value)] // test_case hands over values
fn decides(contents: Contents, days: u32, agreed: Option<u64>, wanted: &str) {
    let agreed = agreed.map(Duration::from_secs);
    let verdict = judge(
        Ok(&contents),
        &names(),
        agreed,
        &TIMING,
        start() + days * DAY,
    );
    assert_eq!(word(&verdict), wanted, "{verdict:?}");
}

#[test]
fn nothing_readable_is_issued_at_once() {
    let verdict = judge(Err(&missing()), &names(), None, &TIMING, start());
    assert_eq!(word(&verdict), "issue");
}

#[test]
fn another_domain_is_renewed_gently() {
    let other = Names::service("hook", "system", "example.test").unwrap();
    let verdict = judge(Ok(&fresh()), &other, None, &TIMING, start());
    let Verdict::Do(Step::Renew, reason) = verdict else {
        panic!("{verdict:?}")
    };
    assert!(reason.contains("hook.system.svc.example.test"), "{reason}");
}

/// Whatever is served is trusted, at every moment, by API servers that have seen the step
/// before or the step after, and by webhooks likewise.
#[test]
fn three_rotations_in_a_row_never_serve_what_is_not_trusted() {
    let mut now = start();
    let mut contents = fresh();
    let mut taken = Vec::new();
    for _ in 0..3 {
        now += 61 * DAY;
        for _ in 0..3 {
            let agreed = Some(Duration::from_hours(1));
            let Verdict::Do(next, _) = judge(Ok(&contents), &names(), agreed, &TIMING, now) else {
                panic!("stuck after {taken:?}")
            };
            let after = step(next, Some(&contents), now);
            for (served, trusted) in [(&contents, &after), (&after, &contents), (&after, &after)] {
                check(&served.current, &trusted.ca, &names(), now).unwrap();
            }
            taken.push(next.label());
            contents = after;
        }
        assert_eq!((contents.ca.len(), &contents.next), (1, &None));
    }
    assert_eq!(taken, ["renew", "promote", "drop"].repeat(3));
}

#[test]
fn a_lost_secret_inherits_what_api_servers_trust() {
    let old = fresh();
    let new = take(Step::Issue, None, &old.ca, &names(), &TIMING, start()).unwrap();
    check(&old.current, &new.ca, &names(), start()).unwrap();
    check(&new.current, &new.ca, &names(), start()).unwrap();
    // What has expired is of no use to anybody.
    let late = start() + 100 * DAY;
    let new = take(Step::Issue, None, &old.ca, &names(), &TIMING, late).unwrap();
    assert_eq!(new.ca.len(), 1);
}

#[test]
fn a_damaged_secret_inherits_as_well() {
    let old = fresh();
    let damaged = Contents {
        ca: fresh().ca,
        ..old.clone()
    };
    let verdict = judge(Ok(&damaged), &names(), None, &TIMING, start());
    assert_eq!(word(&verdict), "issue");
    let new = take(
        Step::Issue,
        Some(&damaged),
        &old.ca,
        &names(),
        &TIMING,
        start(),
    )
    .unwrap();
    check(&old.current, &new.ca, &names(), start()).unwrap();
}

#[test]
fn inherited_cas_are_few() {
    let many = (0..20).fold(Bundle::default(), |all, _| all.and(&fresh().ca));
    let new = take(Step::Issue, None, &many, &names(), &TIMING, start()).unwrap();
    assert_eq!(new.ca.len(), 5);
}

#[test]
fn the_ca_of_what_is_served_is_never_crowded_out() {
    let mut contents = fresh();
    let many = (0..20).fold(Bundle::default(), |all, _| all.and(&fresh().ca));
    contents.ca = many.and(&contents.ca);
    let after = step(Step::Renew, Some(&contents), start());
    check(&after.current, &after.ca, &names(), start()).unwrap();
    check(after.next.as_ref().unwrap(), &after.ca, &names(), start()).unwrap();
    assert_eq!(after.ca.len(), 6);
}

#[test]
fn a_secret_keeps_everything() {
    for contents in [fresh(), renewed(), promoted()] {
        let mut secret = Secret::default();
        renewed().write(&mut secret);
        contents.write(&mut secret);
        assert_eq!(Contents::read(&secret), Ok(contents.clone()));
        assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
    }
    assert_ne!(fresh().fingerprint(), renewed().fingerprint());
    let problem = Contents::read(&Secret::default()).unwrap_err();
    assert!(
        problem.to_string().contains("the Secret has no such key"),
        "{problem}"
    );
}
