//! Names: whether pods whose egress is limited can still ask the cluster's DNS.

pub mod missing;
pub mod node_local;
pub mod open;
pub mod target_port;

use crate::config::Injection;
use crate::engine::Ask;
use crate::inject::Part;
use ringfence_policy::model::{Direction, Policy, Rule};

/// The policy, if a part can be missing from it: it isolates the direction, its author
/// has not opted out, and nobody else has been charged with it (mode `companion`) or
/// silenced about it (`off`).
pub(super) fn wanting<'a>(ask: &Ask<'a>, part: Part) -> Option<&'a Policy> {
    let mode = ask.world.rules(ask.subject.namespace()).injection;
    let told = matches!(mode, Injection::InPlace | Injection::Warn);
    let policy = ask.subject.policy()?;
    let isolates = policy.rules(part.direction()).is_some();
    (told && isolates && !part.is_off(ask.subject)).then_some(policy)
}

/// The rules of one direction. Outside admission also those of policies beside it that
/// certainly select the same pods: a folder that denies all in one file and allows DNS in
/// the next is in order. At admission the order of arrival must not matter.
pub(super) fn rules<'a>(ask: &Ask<'a>, policy: &'a Policy, direction: Direction) -> Vec<&'a Rule> {
    let own = policy.rules(direction).unwrap_or_default();
    let index = ask.world.index;
    let index = index.filter(|_| !ask.world.occasion.is_admission());
    let beside = index
        .into_iter()
        .flat_map(|i| i.policies(&policy.key.namespace));
    let beside = beside.filter(|other| {
        let selector = &other.pod_selector;
        other.key != policy.key && (selector.is_everything() || *selector == policy.pod_selector)
    });
    let beside = beside.flat_map(|other| other.rules(direction).unwrap_or_default());
    own.iter().chain(beside).collect()
}
