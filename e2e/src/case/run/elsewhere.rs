//! What a cluster cannot play, and why. It is listed as not run, and counts as nothing else.

use crate::case::expect::Expect;
use crate::case::{Case, Step};
use crate::fabric::{Lab, PodKind, Services, Topology};
use crate::probe::has_sctp;
use ringfence_policy::model::Protocol;
use std::net::IpAddr;

/// Ranges of the netns fabric's own addresses, as documents and cases write them.
const OWN_ADDRESSES: [&str; 3] = ["10.102.123.", "fd00:10:", "fd00:102:"];

/// Why a case cannot be played on this cluster.
pub(super) fn hindrance(lab: &Lab, case: &Case) -> Option<String> {
    let needs = |what: &str| Some(format!("{what}; --fabric netns plays it"));
    if case.webhook {
        return needs("brings a webhook of its own");
    }
    if case.overlay || !case.places.is_empty() {
        return needs("needs a node network of its own");
    }
    if case.services != Services::default() {
        return needs("needs a kube-proxy with other settings");
    }
    if !case.flags.is_empty() {
        return needs(&format!("needs enforcers with {}", case.flags.join(" ")));
    }
    if usize::from(case.nodes) > lab.size() {
        return Some(format!(
            "needs {} nodes, the cluster has {}",
            case.nodes,
            lab.size()
        ));
    }
    case.steps.iter().find_map(|step| match step {
        Step::Do(what, _) => needs(&format!("reaches into the machine: {what}")),
        Step::Admit(_) => needs("compares answers of a webhook of its own"),
        Step::File(..) => needs("writes files beside the objects"),
        Step::Open { .. } | Step::Cut(_) | Step::Kept(_) => needs("follows flows through a change"),
        Step::Delete(object) if object.starts_with("Pod ") || object.starts_with("Node ") => {
            needs("deletes pods or nodes")
        }
        Step::Patch(object, _) if object.starts_with("Pod ") || object.starts_with("Node ") => {
            needs("plays kubelet")
        }
        Step::Apply { yaml, namespace } => applied(yaml, namespace),
        Step::Expect(expect) => expected(lab, case, expect),
        _ => None,
    })
}

fn applied(yaml: &str, namespace: &str) -> Option<String> {
    let own = OWN_ADDRESSES.into_iter().find(|own| yaml.contains(own));
    if let Some(own) = own {
        return Some(format!(
            "names addresses {own}*, which only --fabric netns has"
        ));
    }
    let system = namespace == "kube-system" || yaml.contains("namespace: kube-system");
    if system && yaml.contains("kind: Service") {
        return Some("would take the place of a Service of the cluster's own".to_owned());
    }
    let kinds = ["kind: Pod\n", "kind: Pod,", "kind: Node\n", "kind: Node,"];
    let plays = kinds.iter().any(|kind| yaml.contains(kind));
    plays.then(|| "applies pods or nodes of its own; --fabric netns plays it".to_owned())
}

fn expected(lab: &Lab, case: &Case, expect: &Expect) -> Option<String> {
    if expect.sends(Protocol::Sctp) && !has_sctp() {
        return Some("this kernel has no SCTP sockets".into());
    }
    let externals = Topology::new(PodKind::Routed, case.nodes).externals;
    let address = |name: &str| Some(externals.iter().find(|e| e.name == name)?.address);
    // Those of a family that the cluster has not are left out, as pods' addresses of it are.
    let has_family = |address: IpAddr| lab.has_family(address.is_ipv4());
    let hosts = || {
        expect
            .names()
            .filter_map(|name| Some((name, address(name)?)))
    };
    let missing = hosts().find(|(name, at)| has_family(*at) && !lab.has_outside(name));
    if let Some((_, address)) = missing {
        return Some(format!("needs {address} outside of the cluster"));
    }
    let left_out = |name: &str| address(name).is_some_and(|at| !has_family(at));
    expect
        .is_left_empty_without(left_out)
        .then(|| "needs IPv6, which the cluster has not".to_owned())
}
