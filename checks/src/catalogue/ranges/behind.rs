//! Which Services lead to the pods of a policy.

use super::{Block, blocks_of};
use crate::ranges::{Meaning, Ranges};
use crate::{Index, Subject, World};
use ringfence_policy::model::{
    Direction, IpBlock, ObjectKey, Peer, Policy, PortSpec, Rule, Selector, Service, ServiceType,
    TargetPort, TrafficPolicy,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Whether a Service leads to a pod that a policy of its namespace selects. While there
/// is no such pod, the Service's selector stands for its labels.
pub(super) fn leads_to(index: &Index, service: &Service, policy: &Policy) -> bool {
    let Some(labels) = &service.selector else {
        return false;
    };
    if service.key.namespace != policy.key.namespace {
        return false;
    }
    let selector = Selector::labels(labels.iter().map(|(k, v)| (Arc::clone(k), Arc::clone(v))));
    let mut pods = index
        .selected(&service.key.namespace, &selector)
        .filter(|w| !w.pod.host_network)
        .peekable();
    if pods.peek().is_none() {
        return policy.pod_selector.matches(labels);
    }
    pods.any(|w| policy.pod_selector.matches(&w.pod.labels))
}

/// The Services of a sort that lead to pods of a policy.
pub(super) fn services<'a>(
    index: &'a Index,
    policy: &'a Policy,
    wanted: impl Fn(&Service) -> bool,
) -> impl Iterator<Item = &'a Arc<Service>> {
    let all = index.services(&policy.key.namespace);
    all.filter(move |service| wanted(service) && leads_to(index, service, policy))
}

/// Whether one of `named` leads to pods of a policy.
pub(super) fn among<'a>(
    index: &'a Index,
    policy: &'a Policy,
    named: &BTreeSet<ObjectKey>,
) -> Option<&'a Arc<Service>> {
    services(index, policy, |service| named.contains(&service.key)).next()
}

/// Whether a rule lets through what a Service forwards, on one of its ports.
pub(super) fn takes(rule: &Rule, service: &Service) -> bool {
    rule.ports.is_empty()
        || service.ports.iter().any(|port| {
            let mut ports = rule.ports.iter().filter(|p| p.protocol == port.protocol);
            ports.any(|allowed| match (&allowed.port, &port.target) {
                (PortSpec::Range(first, last), TargetPort::Number(n)) => {
                    (first..=last).contains(&n)
                }
                (PortSpec::Named(a), TargetPort::Named(b)) => a == b,
                // A name against a number is each pod's own matter: it may well be.
                _ => true,
            })
        })
}

/// Whether clients from outside come in through it and lose their address on the way.
pub(crate) fn loses_clients(service: &Service) -> bool {
    is_outer(service) && service.external_traffic_policy == TrafficPolicy::Cluster
}

/// Whether clients from outside come in through it.
pub(super) fn is_outer(service: &Service) -> bool {
    matches!(
        service.service_type,
        ServiceType::NodePort | ServiceType::LoadBalancer
    )
}

/// The first ingress block that names only some clients outside the cluster, in a rule
/// that `wanted` picks.
pub(super) fn outside_block<'a>(
    subject: &'a Subject<'_>,
    ranges: &Ranges,
    mut wanted: impl FnMut(&Rule) -> bool,
) -> Option<Block<'a>> {
    blocks_of(subject, Direction::Ingress)
        .find(|b| names_clients(b.range, ranges) && wanted(b.rule.rule))
}

/// A policy that judges the Service's clients by their address.
pub(crate) fn guard<'a>(world: &World, index: &'a Index, service: &Service) -> Option<&'a Policy> {
    let mut policies = index.policies(&service.key.namespace).peekable();
    policies.peek()?;
    let ranges = Ranges::of(world, index);
    policies
        .find(|p| leads_to(index, service, p) && has_outside_block(p, &ranges, service))
        .map(AsRef::as_ref)
}

/// Whether a policy of the cluster has such a block for what a Service forwards.
fn has_outside_block(policy: &Policy, ranges: &Ranges, service: &Service) -> bool {
    let rules = policy.ingress.iter().flatten();
    let mut rules = rules.filter(|rule| takes(rule, service));
    rules.any(|rule| {
        rule.peers.iter().any(|peer| match peer {
            Peer::Block(block) => names_clients(block, ranges),
            Peer::Pods { .. } => false,
        })
    })
}

/// Everybody loses nothing when the address is lost, and pods and nodes do not come from
/// outside.
fn names_clients(block: &IpBlock, ranges: &Ranges) -> bool {
    let some = block.cidr.prefix_len() > 0 || !block.except.is_empty();
    some && ranges.meaning(&block.cidr) == Meaning::Other
}
