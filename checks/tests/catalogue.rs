//! What holds for every row of the catalogue, and the documentation made from it.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic too")]

use ringfence_checks::catalogue::{CATALOGUE, Mend, Scope};
use ringfence_checks::finding::SENTENCE;
use ringfence_checks::{
    Before, Config, Facts, Index, Occasion, Report, Subject, World, facts, judge,
};
use ringfence_policy::Snapshot;
use ringfence_policy::parse;
use ringfence_policy::snapshot::Kind;
use serde_json::Value;

fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

/// What every cluster has.
fn dns() -> Vec<Value> {
    documents(
        "{apiVersion: v1, kind: Service, metadata: {name: kube-dns, namespace: kube-system}, \
         spec: {clusterIP: 10.96.0.10, selector: {k8s-app: kube-dns}, ports: [\
         {name: dns, protocol: UDP, port: 53}, {name: dns-tcp, protocol: TCP, port: 53}]}}",
    )
}

/// Judges the last document of an example among the others, and the cluster's DNS.
fn example(yaml: &str) -> Report {
    judged(&documents(yaml))
}

fn judged(documents: &[Value]) -> Report {
    let (object, cluster) = documents.split_last().unwrap();
    let mut snapshot = Snapshot::default();
    for value in dns().iter().chain(cluster) {
        // Other kinds tell facts.
        let known = Kind::ALL.iter().any(|k| value["kind"] == k.as_str());
        if !known {
            continue;
        }
        let (object, errors) = parse::object(value).unwrap();
        assert!(errors.is_empty(), "{errors:?}");
        snapshot.apply(object);
    }
    let read = facts::read(cluster);
    let facts = Facts {
        service_ranges: read
            .service_ranges
            .or_else(|| Some(vec!["10.96.0.0/12".parse().unwrap()])),
        masquerade_all: read.masquerade_all.or(Some(false)),
        ..read
    };
    let world = World {
        index: Some(&Index::new(snapshot)),
        facts: &facts,
        // As the text of cuts-monitoring says.
        config: &Config {
            monitoring: vec!["monitoring".into()],
            ..Config::default()
        },
        now: "2026-06-01T12:00:00Z".parse().unwrap(),
        occasion: Occasion::Lint,
    };
    // As `lint` reads a file: what names no namespace is in the default one.
    let mut object = object.clone();
    let named = object["kind"] == "Namespace" || object["metadata"]["namespace"].is_string();
    if !named {
        object["metadata"]["namespace"] = "default".into();
    }
    let subject = Subject::read(&object).unwrap();
    let subject = if named {
        subject
    } else {
        subject.with_implied_namespace()
    };
    judge(&subject, Before::Nothing, &world)
}

#[test]
fn ids_are_unique_words_with_dashes() {
    let mut seen = std::collections::BTreeSet::new();
    for check in CATALOGUE {
        assert!(seen.insert(check.id), "{} is there twice", check.id);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(check.id.chars().all(plain), "{}", check.id);
    }
}

#[test]
fn strict_is_never_milder_than_baseline() {
    for check in CATALOGUE {
        assert!(check.strict >= check.baseline, "{}", check.id);
    }
}

#[test]
fn the_bad_example_is_found_and_the_good_one_is_not() {
    for check in CATALOGUE {
        let found = |yaml: &str| {
            let report = example(yaml);
            report.findings.iter().any(|f| f.check == check.id)
        };
        assert!(
            found(check.bad),
            "{}: the bad example is not found",
            check.id
        );
        assert!(
            !found(check.good),
            "{}: the good example is found",
            check.id
        );
    }
}

#[test]
fn sentences_fit_and_evidence_names_no_place() {
    for check in CATALOGUE {
        for finding in example(check.bad).findings {
            let sentence = &finding.sentence;
            // Longer ones are cut: the remedy would be lost.
            let fits = sentence.chars().count() <= SENTENCE && !sentence.ends_with('…');
            assert!(fits, "{}: {sentence}", finding.check);
            let mut parts = finding.evidence.split('[').skip(1);
            let index = parts.any(|part| part.starts_with(|c: char| c.is_ascii_digit()));
            assert!(!index, "{}: {}", finding.check, finding.evidence);
        }
    }
}

#[test]
fn a_check_that_says_so_suggests_patches_and_they_mend() {
    for check in CATALOGUE {
        let mut documents = documents(check.bad);
        let first = judged(&documents).findings;
        // Egress that is limited at last may well lack DNS, which the webhook adds.
        let known = |id: &str| id == "egress-no-dns" || first.iter().any(|f| f.check == id);
        // One after the other, as `lint --fix` does.
        for _ in 0..first.len() {
            let findings = judged(&documents).findings;
            let Some(own) = findings.iter().find(|f| f.check == check.id) else {
                break;
            };
            let suggests = check.mends != Mend::Author;
            assert!(own.patch.is_some() == suggests, "{}: {own:?}", check.id);
            let object = documents.last_mut().unwrap();
            own.patch
                .iter()
                .for_each(|patch| json_patch::patch(object, patch).unwrap());
        }
        if check.mends == Mend::Author {
            continue;
        }
        let left = judged(&documents).findings;
        let worse = left.iter().find(|f| f.check == check.id || !known(f.check));
        assert!(worse.is_none(), "{}: left {worse:?}", check.id);
    }
}

#[test]
fn texts_are_written() {
    for check in CATALOGUE {
        assert!(check.text.len() > 80, "{}: say more", check.id);
        assert!(!check.title.ends_with('.'), "{}: no full stop", check.id);
        assert!(check.title.len() <= 100, "{}: the title is long", check.id);
        assert!(check.scope != Scope::File || check.mends != Mend::Webhook);
    }
}
