//! Project isolation, by its objects: the guide and the questions of seed 000, with a real
//! API server and the controller.

mod doors;
mod faults;
mod guide;
mod others;

use crate::case::{Case, Expect, ObjectsKind, cells, matrix};
use crate::fabric::Placement;
use crate::probe::{tcp, udp};

const PODS: [&str; 7] = [
    "demo-project/web@node1",
    "demo-project/tomcat@node2",
    "demo-project-2/nginx@node1",
    "demo-project-2/other@node2",
    "stranger/pod@node1",
    "monitoring/prometheus@node2",
    "gateway/proxy@node1",
];
/// And who answers DNS.
const WITH_DNS: [&str; 8] = [
    PODS[0],
    PODS[1],
    PODS[2],
    PODS[3],
    PODS[4],
    PODS[5],
    PODS[6],
    "kube-system/dns@node2",
];

/// The cases.
pub fn cases() -> Vec<Case> {
    [
        guide::cases(),
        others::cases(),
        doors::cases(),
        faults::cases(),
    ]
    .concat()
}

/// What is shown does not depend on how pods are connected.
fn case(name: &'static str) -> Case {
    Case::new(name, "seed 000, project network isolation, by its objects")
        .tags(&["isolation", "seed-000"])
        .pods(&PODS)
        .any_kind()
        .placements(&[Placement::Spread])
        .only(ObjectsKind::Apiserver)
}

/// Turns isolation of `demo-project` on.
const ON: &str = "
apiVersion: ringfence.dev/v1alpha1
kind: NamespaceIsolation
metadata: {namespace: demo-project, name: default}
spec: {}
";

/// An `IsolationRule` of `demo-project`.
macro_rules! rule {
    ($name:literal, $spec:literal) => {
        concat!(
            "apiVersion: ringfence.dev/v1alpha1\nkind: IsolationRule\n",
            "metadata: {namespace: demo-project, name: ",
            $name,
            "}\nspec: ",
            $spec,
            "\n"
        )
    };
}
use rule;

/// Every pod to every pod.
fn everybody() -> Expect {
    matrix(&[tcp(80), udp(80)])
}

/// In from the project only, out freely.
fn isolated() -> Expect {
    everybody()
        .denied("*", "demo-project/*")
        .allowed("demo-project/*", "demo-project/*")
}

/// The outside to the project, and the other way.
fn outside() -> Expect {
    cells(
        &[tcp(80), udp(80)],
        &[
            ("office", "demo-project/web"),
            ("stranger6", "demo-project/tomcat"),
            ("demo-project/web", "dns8"),
        ],
    )
}

/// The project comes out, and nobody in.
fn isolated_from_outside() -> Expect {
    outside().denied("*", "demo-project/*").allowed("*", "dns8")
}
