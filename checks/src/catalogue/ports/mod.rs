//! Numbers and names of ports.

pub mod named;
pub mod sctp;
pub mod service;

use crate::index::{Index, Workload};
use crate::subject::Place;
use ringfence_policy::model::{Direction, Peer, Policy};

/// The workloads whose ports a rule speaks of: the selected ones on ingress, the peers on
/// egress (with an empty `to` every one). hostNetwork ones match no rule.
fn targets<'a>(
    index: &'a Index,
    policy: &'a Policy,
    place: &Place<'a>,
) -> Box<dyn Iterator<Item = &'a Workload> + 'a> {
    let own = &*policy.key.namespace;
    let peers: &'a [Peer] = &place.rule.peers;
    let all: Box<dyn Iterator<Item = &Workload>> = match place.direction {
        Direction::Ingress => Box::new(index.selected(own, &policy.pod_selector)),
        Direction::Egress if peers.is_empty() => Box::new(index.all()),
        Direction::Egress => Box::new(peers.iter().flat_map(move |p| index.peers(own, p))),
    };
    Box::new(all.filter(|w| !w.pod.host_network))
}
