//! The traps of `dataplane.md`, each reproduced on a real kernel: a case each.
//!
//! All but trap 14's, which mends the fabric, were seen to fail on an enforcer whose mend was
//! taken out; where a leak can be shown without that (nobody enforces, no policy
//! yet), the case shows it.

mod bridges;
mod flows;
mod foreign;
mod nodes;
mod restart;
mod services;
mod upkeep;

use crate::case::{Case, ObjectsKind};
use crate::fabric::{Placement, PodKind};

/// The cases.
pub fn cases() -> Vec<Case> {
    [
        flows::cases(),
        services::cases(),
        bridges::cases(),
        foreign::cases(),
        nodes::cases(),
        restart::cases(),
        upkeep::cases(),
    ]
    .concat()
}

fn trap(name: &'static str, source: &'static str) -> Case {
    Case::new(name, source)
        .tags(&["trap"])
        .only(ObjectsKind::Folder)
}

/// Bridge pods spread over two nodes: for what does not depend on the fabric.
fn once(case: Case) -> Case {
    case.kinds(&[PodKind::Bridge])
        .placements(&[Placement::Spread])
}

const DENY_X: &str = "{podSelector: {}, policyTypes: [Ingress]}";
const FROM_Y: &str =
    "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}";
