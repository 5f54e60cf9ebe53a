//! Levels, ratchet, suppression and Unknown, shown with checks of the catalogue.

use crate::finding::{Level, SENTENCE};
use crate::testing::{Case, document};
use crate::{Before, Config, Facts, Occasion, Report, Subject, World, judge};
use std::cell::{Cell, LazyCell};
use test_case::test_case;

/// Denied in baseline, needs no cluster.
const MISMATCH: &str = "types-mismatch";
/// Warned of in baseline and strict.
const WORLD: &str = "cidr-world";

fn policy(metadata: &str, egress: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: p, namespace: default{metadata}}}\n\
         spec: {{podSelector: {{}}, policyTypes: [Ingress]{egress}}}\n"
    )
}

const BAD: &str = ", egress: [{to: [{podSelector: {}}]}]";

fn level(report: &Report, check: &str) -> Option<Level> {
    let mut of = report.findings.iter().filter(|f| f.check == check);
    of.next().map(|f| f.level)
}

fn mismatch(case: &Case, object: &str) -> Option<Level> {
    level(&case.judge(&document(object)), MISMATCH)
}

/// Evidence that takes long to write is written where it is compared.
#[test_case("one-sided", "{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{to: [{podSelector: {}}]}]}"; "of peers")]
#[test_case("shadowed", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {}]}"; "of rules")]
fn what_is_written_for_the_ratchet_only(check: &str, bad: &str) {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {nodeName: node1}}";
    let of = |occasion, level: &str, old: Option<&str>| {
        let case = Case::within(pod).config(&format!("checks: {{{check}: {level}}}"));
        let case = match old {
            Some(spec) => case.after(&crate::testing::policy(spec)),
            None => case.on(occasion),
        };
        let report = case.judge(&document(&crate::testing::policy(bad)));
        let finding = report.findings.into_iter().find(|f| f.check == check);
        let finding = finding.unwrap();
        (finding.level, !finding.evidence.is_empty())
    };
    let good = "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}";
    assert_eq!(of(Occasion::Create, "deny", None), (Level::Deny, true));
    assert_eq!(
        of(Occasion::Update, "deny", Some(good)),
        (Level::Deny, true)
    );
    assert_eq!(of(Occasion::Update, "deny", Some(bad)), (Level::Warn, true));
    assert_eq!(of(Occasion::Create, "warn", None), (Level::Warn, false));
    assert_eq!(of(Occasion::Lint, "warn", None), (Level::Warn, true));
}

#[test]
fn what_was_before_is_read_only_for_a_denial() {
    let reads = Cell::new(0);
    let old = document(&policy("", BAD));
    let judged = |new: &str| {
        let before = LazyCell::new(|| {
            reads.set(reads.get() + 1);
            Subject::read(&old).ok()
        });
        let new = document(new);
        let subject = Subject::read(&new).unwrap();
        let world = World {
            index: None,
            facts: &Facts::default(),
            config: &Config::default(),
            now: jiff::Timestamp::UNIX_EPOCH,
            occasion: Occasion::Update,
        };
        let report = judge(&subject, Before::Unread(&before), &world);
        level(&report, MISMATCH)
    };
    assert_eq!(judged(&policy("", "")), None);
    let everyone = policy("", ", ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]");
    assert_eq!(judged(&everyone), None, "warnings are no denials");
    assert_eq!(reads.get(), 0);
    assert_eq!(judged(&policy("", BAD)), Some(Level::Warn));
    assert_eq!(reads.get(), 1);
}

#[test]
fn a_new_finding_is_denied_and_an_old_one_is_not() {
    let (bad, good) = (policy("", BAD), policy("", ""));
    assert_eq!(
        mismatch(&Case::default().on(Occasion::Create), &bad),
        Some(Level::Deny)
    );
    assert_eq!(
        mismatch(&Case::default().after(&good), &bad),
        Some(Level::Deny)
    );
    let report = Case::default().after(&bad).judge(&document(&bad));
    assert_eq!(level(&report, MISMATCH), Some(Level::Warn));
    let finding = report
        .findings
        .iter()
        .find(|f| f.check == MISMATCH)
        .unwrap();
    assert!(
        finding.softened.as_ref().unwrap().contains("before"),
        "{finding:?}"
    );
}

/// The same range in another place is the same finding; another range is not.
#[test_case("192.0.2.1/32", "198.51.100.0/24, 192.0.2.1/32", Level::Warn; "moved")]
#[test_case("192.0.2.1/32", "192.0.2.1/32, 192.0.2.2/32", Level::Deny; "one more")]
fn the_ratchet_compares_what_was_found(before: &str, after: &str, worst: Level) {
    let policy = |blocks: &str| {
        let peers = blocks
            .split(", ")
            .map(|b| format!("{{ipBlock: {{cidr: {b}}}}}"));
        let peers: Vec<_> = peers.collect();
        policy(
            "",
            &format!(", ingress: [{{from: [{}]}}]", peers.join(", ")),
        )
    };
    let mut case = Case::default().config("ranges: {nodes: [192.0.2.1, 192.0.2.2]}");
    case.facts.webhook_services = Some([].into());
    let report = case.after(&policy(before)).judge(&document(&policy(after)));
    let of = report
        .findings
        .iter()
        .filter(|f| f.check == "node-address-allowed");
    assert_eq!(of.map(|f| f.level).max(), Some(worst));
}

#[test]
fn an_object_that_is_being_deleted_is_never_denied() {
    let deleted = policy(", deletionTimestamp: '2026-06-01T00:00:00Z'", BAD);
    assert_eq!(
        mismatch(&Case::default().after(&policy("", "")), &deleted),
        Some(Level::Warn)
    );
}

#[test_case("", Level::Deny; "baseline")]
#[test_case("checks: {types-mismatch: warn}", Level::Warn; "one check")]
#[test_case("checks: {types-mismatch: 'off'}", Level::Off; "off")]
#[test_case("namespaces: [{names: [default], checks: {types-mismatch: audit}}]", Level::Audit; "by namespace")]
#[test_case("namespaces: [{names: [other], checks: {types-mismatch: audit}}]", Level::Deny; "another namespace")]
#[test_case("namespaces: [{matchLabels: {tier: dev}, checks: {types-mismatch: warn}}]", Level::Warn; "by label")]
#[test_case("{checks: {types-mismatch: warn}, namespaces: [{names: [default], checks: {types-mismatch: deny}}]}", Level::Deny; "a namespace overrides")]
#[test_case("namespaces: [{names: [default], checks: {types-mismatch: warn}}, {names: [default], checks: {types-mismatch: deny}}]", Level::Deny; "the later entry counts")]
fn levels(config: &str, expected: Level) {
    let cluster = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {tier: dev}}";
    let mut case = Case::within(cluster);
    if !config.is_empty() {
        case = case.config(config);
    }
    let expected = (expected != Level::Off).then_some(expected);
    assert_eq!(mismatch(&case, &policy("", BAD)), expected);
}

/// What the table of checks marks as denied and baseline only warns of.
#[test]
fn strict_denies_more() {
    let open = policy("", ", ingress: [{}]");
    let found = |case: &Case| level(&case.judge(&document(&open)), "allow-all-ingress");
    let strict = Case::default().config("profile: strict");
    if crate::catalogue::find("allow-all-ingress").is_some() {
        assert_eq!(found(&Case::default()), Some(Level::Warn));
        assert_eq!(found(&strict), Some(Level::Deny));
    }
    let here = Case::default().config("namespaces: [{names: [default], profile: strict}]");
    let rules = here.config.rules("default", None);
    for check in crate::catalogue::CATALOGUE {
        assert_eq!(rules.level(check), check.strict, "{}", check.id);
    }
}

const FUTURE: &str =
    ", annotations: {ignore.ringfence.dev/types-mismatch: 'until=2026-12-31 moving to v2'}";

#[test_case(FUTURE, "", Level::Audit; "suppressed")]
#[test_case(", annotations: {ignore.ringfence.dev/types-mismatch: 'until=2026-05-31 late'}", "", Level::Deny; "expired")]
#[test_case(", annotations: {ignore.ringfence.dev/types-mismatch: 'until=2026-12-31'}", "", Level::Deny; "without a reason")]
#[test_case(", annotations: {ignore.ringfence.dev/cidr-world: 'until=2026-12-31 other'}", "", Level::Deny; "another check")]
#[test_case(FUTURE, "suppression: {forbidden: true}", Level::Deny; "forbidden")]
#[test_case(FUTURE, "suppression: {except: [types-mismatch]}", Level::Deny; "forbidden for this check")]
#[test_case(FUTURE, "suppression: {except: [cidr-world]}", Level::Audit; "forbidden for another")]
fn suppression(metadata: &str, config: &str, expected: Level) {
    let mut case = Case::default();
    if !config.is_empty() {
        case = case.config(config);
    }
    assert_eq!(mismatch(&case, &policy(metadata, BAD)), Some(expected));
}

#[test]
fn a_suppressed_finding_says_until_when_and_why() {
    let report = Case::default().judge(&document(&policy(FUTURE, BAD)));
    let finding = report
        .findings
        .iter()
        .find(|f| f.check == MISMATCH)
        .unwrap();
    let softened = finding.softened.as_deref();
    assert_eq!(softened, Some("suppressed until 2026-12-31: moving to v2"));
}

#[test]
fn without_the_cluster_it_is_unknown_and_nothing_is_denied_for_it() {
    let policy = policy("", ", ingress: [{from: [{ipBlock: {cidr: 192.0.2.1/32}}]}]");
    let unsynced = Case {
        cluster: None,
        ..Case::default().config("ranges: {nodes: [192.0.2.1]}")
    };
    let report = unsynced.judge(&document(&policy));
    assert_eq!(level(&report, "node-address-allowed"), None);
    let unknown = report
        .unknown
        .iter()
        .find(|u| u.check == "node-address-allowed");
    assert!(
        unknown.unwrap().missing.contains("not known"),
        "{:?}",
        report.unknown
    );
    assert_eq!(report.of(Level::Deny).count(), 0);
}

#[test]
fn the_worst_comes_first_and_sentences_are_short() {
    let egress = ", ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}], egress: [{}]";
    let report = Case::default().judge(&document(&policy("", egress)));
    let levels: Vec<_> = report.findings.iter().map(|f| f.level).collect();
    assert!(levels.is_sorted_by(|a, b| a >= b), "{levels:?}");
    assert!(level(&report, WORLD).is_some() && level(&report, MISMATCH).is_some());
    for finding in &report.findings {
        assert!(
            finding.sentence.chars().count() <= SENTENCE,
            "{}",
            finding.sentence
        );
    }
}

/// Names can have 253 characters; a sentence is cut, not refused.
#[test]
fn a_long_name_does_not_make_a_long_sentence() {
    let name = "n".repeat(253);
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{type: NodePort, selector: {{a: b}}, ports: [{{port: 80}}]}}"
    );
    let policy = policy(
        "",
        ", ingress: [{from: [{ipBlock: {cidr: 198.51.100.0/24}}]}]",
    );
    let found = Case::within(&service).judge(&document(&policy));
    let finding = found
        .findings
        .iter()
        .find(|f| f.check == "external-policy-cluster")
        .unwrap();
    assert_eq!(finding.sentence.chars().count(), SENTENCE);
    assert!(finding.sentence.ends_with('…'));
}
