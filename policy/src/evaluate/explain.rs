//! What would turn a verdict, in sentences.

use super::Evaluator;
use super::verdict::{Exemption, Side, list};
use crate::model::{Direction, Flow, L4, ObjectKey, Pod};
use std::cmp::Reverse;
use std::net::IpAddr;

/// Labels that controllers put on pods and that change with every rollout.
const VOLATILE: [&str; 4] = [
    "pod-template-hash",
    "pod-template-generation",
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
];

/// For a flow that is denied: for every end that denies, which policies isolate the pod
/// and the smallest rule that would allow it. For one that is allowed: what would have to
/// come or go at each end for it to be denied. Egress first.
pub fn what_would_change(evaluator: &Evaluator, flow: &Flow) -> Vec<String> {
    let verdict = evaluator.judge(flow);
    let mut sentences = Vec::new();
    for direction in [Direction::Egress, Direction::Ingress] {
        let (own, far) = match direction {
            Direction::Ingress => (flow.dst, flow.src),
            Direction::Egress => (flow.src, flow.dst),
        };
        let side = verdict.side(direction);
        if side.allowed() != verdict.allowed() {
            continue;
        }
        match side {
            // Two ends that are exempt for one reason need it told once.
            Side::NoPod => {}
            Side::Exempt(exemption) => {
                let sentence = exempt(*exemption, direction);
                if !sentences.contains(&sentence) {
                    sentences.push(sentence);
                }
            }
            Side::Open(pod) => sentences.push(format!(
                "{direction} of {pod} is open: any policy of type {} that selects it and has no \
                 rule for this flow would deny it.",
                policy_type(direction)
            )),
            Side::Allowed(ground) => {
                sentences.push(without(evaluator, direction, flow, &ground.pod));
            }
            Side::Denied { pod, policies } => {
                sentences.push(denied(evaluator, direction, flow, far, pod, policies));
            }
            Side::UnknownPod { node } => sentences.push(format!(
                "{own} is in the pod range of node {node}, but no pod known there has it: it \
                 opens as soon as its pod is known, or with --unknown-pods=allow."
            )),
        }
    }
    sentences
}

fn exempt(exemption: Exemption, direction: Direction) -> String {
    let setting = match (exemption, direction) {
        (Exemption::NodeTraffic, Direction::Egress) => {
            "; --node-traffic=enforce makes policies count here"
        }
        _ => "",
    };
    format!("No policy can deny this, it is {exemption}{setting}.")
}

/// The rules that together hold the flow open: all of them would have to go.
fn without(evaluator: &Evaluator, direction: Direction, flow: &Flow, pod: &ObjectKey) -> String {
    let rules: Vec<String> = evaluator
        .grounds(direction, flow)
        .filter(|ground| ground.pod == *pod)
        .map(|ground| format!("spec.{direction}[{}] of {}", ground.rule, ground.policy))
        .collect();
    let rules = rules.join(" and ");
    format!("{direction} of {pod} would be denied without {rules}.")
}

fn denied(
    evaluator: &Evaluator,
    direction: Direction,
    flow: &Flow,
    far: IpAddr,
    pod: &ObjectKey,
    policies: &[ObjectKey],
) -> String {
    let isolated = format!("{direction} of {pod} is isolated by {}", list(policies));
    let sound = policies.iter().filter(|key| evaluator.fault(key).is_none());
    // The policy that is about this pod, rather than one about its whole namespace.
    let Some(sound) = sound.min_by_key(|key| Reverse(evaluator.narrowness(key))) else {
        let faults: Vec<String> = policies
            .iter()
            .filter_map(|key| Some(format!("{key} ({})", evaluator.fault(key)?)))
            .collect();
        let faults = faults.join("; ");
        return format!(
            "{isolated}, which cannot be understood and so allow nothing: mend {faults}."
        );
    };
    let word = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    format!(
        "{isolated}: add to spec.{direction} of {sound} a rule {word} {} {}.",
        peer(evaluator, far),
        ports(flow)
    )
}

/// The narrowest peer for an address that survives a restart of its pod.
fn peer(evaluator: &Evaluator, far: IpAddr) -> String {
    let claimants: Vec<&Pod> = evaluator.claimants(far).collect();
    let [pod] = claimants[..] else {
        let length = if far.is_ipv4() { 32 } else { 128 };
        return format!("ipBlock {far}/{length}");
    };
    let labels: Vec<String> = pod
        .labels
        .iter()
        .filter(|(key, _)| !VOLATILE.contains(&&***key))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let selector = if labels.is_empty() {
        "{}".to_owned()
    } else {
        labels.join(",")
    };
    format!("podSelector {selector} (namespace {})", pod.key.namespace)
}

fn ports(flow: &Flow) -> String {
    match flow.l4 {
        L4::Ports { protocol, dst, .. } => format!("port {protocol}/{dst}"),
        L4::Icmp { .. } => "without ports (a rule with ports matches no ICMP)".to_owned(),
        L4::Other(number) => {
            format!("without ports (a rule with ports does not match protocol {number})")
        }
    }
}

fn policy_type(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "Ingress",
        Direction::Egress => "Egress",
    }
}
