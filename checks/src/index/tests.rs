//! Which workloads and namespaces are found.

use super::*;
use crate::testing::cluster;
use std::fmt::Write;
use test_case::test_case;

/// More pods of `app: web` than [`FEW`], a few others, one on the host, one that ended.
fn index() -> Index {
    let mut yaml =
        "{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {t: x}}}\n".to_owned();
    let mut pod = |name: &str, namespace: &str, labels: &str, more: &str| {
        let _ = write!(
            yaml,
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {namespace}, \
             labels: {labels}}}, spec: {{nodeName: node1 {more}}}\n"
        );
    };
    for i in 0..=FEW {
        pod(
            &format!("w{i}"),
            "a",
            &format!("{{app: web, i: 'i{i}'}}"),
            "}",
        );
    }
    pod("d0", "a", "{app: db}", "}");
    pod("d1", "a", "{app: db}", "}");
    pod("d2", "b", "{app: db}", "}");
    pod("h", "b", "{app: db}", ", hostNetwork: true}");
    pod("e", "b", "{app: old}", "}, status: {phase: Failed}");
    Index::new(cluster(&yaml))
}

fn named(name: &str) -> NamespaceMatch {
    NamespaceMatch::Labels(Selector::labels([(NAME, name)]))
}

#[test_case(&NamespaceMatch::Own, ("app", "db"), &["a/d0"]; "two alike in the own one")]
#[test_case(&named("b"), ("app", "db"), &["b/d2", "b/h"]; "one without object, hostNetwork too")]
#[test_case(&named("c"), ("app", "db"), &[]; "no such namespace")]
#[test_case(&NamespaceMatch::Labels(Selector::everything()), ("app", "db"), &["a/d0", "b/d2", "b/h"]; "all")]
#[test_case(&NamespaceMatch::Labels(Selector::labels([("t", "x")])), ("i", "i7"), &["a/w7"]; "by label")]
#[test_case(&named("b"), ("app", "old"), &[]; "it has ended")]
fn few(namespaces: &NamespaceMatch, label: (&str, &str), expected: &[&str]) {
    let (index, pods) = (index(), Selector::labels([label]));
    let found = index.matching("a", namespaces, &pods);
    let found: Vec<_> = found.map(|w| w.pod.key.to_string()).collect();
    assert_eq!(found, expected);
}

#[test_case("a", FEW + 1; "their own")]
#[test_case("b", 0; "another")]
fn many(namespace: &str, expected: usize) {
    let (index, pods) = (index(), Selector::labels([("app", "web")]));
    assert_eq!(
        index.matching("a", &named(namespace), &pods).count(),
        expected
    );
}

#[test]
fn pods_that_no_selector_tells_apart_are_one_workload() {
    let index = index();
    let counts: usize = index.workloads("a").iter().map(|w| w.count).sum();
    assert_eq!((index.workloads("a").len(), counts), (FEW + 2, FEW + 3));
    assert_eq!(index.all().count(), FEW + 4);
    let everyone = Selector::everything();
    let on_host = index.on_host("b", &NamespaceMatch::Own, &everyone);
    assert_eq!(on_host.count(), 1);
}
