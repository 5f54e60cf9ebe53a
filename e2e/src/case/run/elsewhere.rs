//! What a cluster cannot play, and why. It is listed as not run, and counts as nothing else.

use crate::case::expect::Expect;
use crate::case::stage::reference;
use crate::case::{Case, Step};
use crate::fabric::{Lab, PodKind, Services, Topology};
use crate::objects::{Reference, documents};
use crate::probe::has_sctp;
use ringfence_policy::model::Protocol;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Ranges of the netns fabric's own addresses, as documents and cases write them.
const OWN_ADDRESSES: [&str; 3] = ["10.102.123.", "fd00:10:", "fd00:102:"];

/// Why a case cannot be played on this cluster.
pub(super) fn hindrance(lab: &Lab, case: &Case) -> Option<String> {
    let needs = |what: &str| Some(format!("{what}; --fabric netns plays it"));
    if let Some(reason) = case.only_here {
        return needs(reason);
    }
    if case.webhook
        && let Some(reason) = lab.installed().hides_webhook()
    {
        return needs(&reason);
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
    if let Some(reason) = taken(lab, case) {
        return Some(reason);
    }
    case.steps.iter().find_map(|step| match step {
        Step::Do(what, _) => needs(&format!("reaches into the machine: {what}")),
        Step::Isolate(yaml, _) => isolated(lab, yaml),
        Step::Unisolate(object, _) => {
            let reference = reference(object).ok()?;
            lab.installed().hides_isolation(&reference)
        }
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

/// Said when the cluster's own webhook refuses what a case applies: nothing can be shown of
/// how it would be enforced.
pub(super) fn refusal(error: &anyhow::Error) -> Option<String> {
    let said = error
        .chain()
        .find_map(|cause| match cause.downcast_ref()? {
            kube::Error::Api(answer) => Some(answer.message.as_str()),
            _ => None,
        })?;
    let refused = said.contains("admission webhook") && said.contains("denied the request");
    refused.then(|| format!("the cluster's webhook refuses it ({said}); --fabric netns plays it"))
}

/// A namespace that the case uses and that is somebody else's: its pods and policies would
/// be among those of the cluster's users.
fn taken(lab: &Lab, case: &Case) -> Option<String> {
    let pods = case.pods.iter().filter_map(|pod| pod.split_once('/'));
    let mut names: BTreeSet<String> = pods.map(|(namespace, _)| namespace.to_owned()).collect();
    for step in &case.steps {
        let (yaml, namespace) = match step {
            Step::Apply { yaml, namespace } => (yaml.as_str(), *namespace),
            Step::Isolate(yaml, _) => (yaml.as_str(), "default"),
            Step::Admit(recorded) => (recorded.yaml, recorded.namespace),
            Step::Patch(object, _) | Step::Delete(object) => {
                names.extend(object.strip_prefix("Namespace ").map(str::to_owned));
                continue;
            }
            _ => continue,
        };
        for object in documents(yaml, namespace).ok()? {
            let own = &object["metadata"]["namespace"];
            names.extend(own.as_str().map(str::to_owned));
        }
    }
    let taken = names.into_iter().find(|name| lab.is_taken(name))?;
    Some(format!(
        "uses the namespace {taken}, which is not the harness'"
    ))
}

fn applied(yaml: &str, namespace: &str) -> Option<String> {
    let own = OWN_ADDRESSES.into_iter().find(|own| yaml.contains(own));
    if let Some(own) = own {
        return Some(format!(
            "names addresses {own}*, which only --fabric netns has"
        ));
    }
    let objects = match documents(yaml, namespace) {
        Ok(objects) => objects,
        Err(error) => return Some(format!("applies what cannot be read: {error:#}")),
    };
    objects.iter().find_map(|object| {
        let kind = object["kind"].as_str().unwrap_or_default();
        let system = object["metadata"]["namespace"] == "kube-system";
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        if group.contains('.') && !group.ends_with(".k8s.io") {
            return Some(format!(
                "applies a {kind}, which the cluster need not know; --fabric netns plays it"
            ));
        }
        match kind {
            "Pod" | "Node" => {
                Some("applies pods or nodes of its own; --fabric netns plays it".to_owned())
            }
            "NetworkPolicy" => None,
            _ if system => Some(format!(
                "would take the place of a {kind} of the cluster's own"
            )),
            _ => None,
        }
    })
}

fn isolated(lab: &Lab, yaml: &str) -> Option<String> {
    let objects = match documents(yaml, "default") {
        Ok(objects) => objects,
        Err(error) => return Some(format!("applies what cannot be read: {error:#}")),
    };
    let references = objects.iter().filter_map(|o| Reference::of(o).ok());
    references
        .into_iter()
        .find_map(|reference| lab.installed().hides_isolation(&reference))
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

#[cfg(test)]
mod tests {
    use super::{applied, refusal};
    use test_case::test_case;

    #[test_case("{kind: ConfigMap, metadata: {namespace: kube-system, name: kube-proxy}}", Some("ConfigMap of the cluster's own"); "kube-proxy's settings")]
    #[test_case("{kind: Service, metadata: {namespace: kube-system, name: kube-dns}}", Some("Service of the cluster's own"); "its DNS")]
    #[test_case("{kind: NetworkPolicy, metadata: {namespace: kube-system, name: x}}", None; "a policy of the case")]
    #[test_case("{kind: ConfigMap, metadata: {namespace: x, name: kube-proxy}}", None; "in a namespace of the case")]
    #[test_case("{kind: Pod, metadata: {namespace: x, name: a}}", Some("pods"); "a pod")]
    #[test_case("{kind: NetworkPolicy, metadata: {namespace: x, name: 10.102.123.1}}", Some("addresses"); "addresses of netns")]
    #[test_case("{", Some("cannot be read"); "no YAML")]
    #[test_case("{apiVersion: installer.example.io/v1, kind: Installer, metadata: {namespace: x, name: a}}", Some("need not know"); "a kind of somebody else's")]
    #[test_case("{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {namespace: x, name: a}}", None; "a kind of Kubernetes")]
    fn what_a_cluster_is_not_asked_to_take(yaml: &str, reason: Option<&str>) {
        let whole = yaml.len() == 1 || yaml.contains("apiVersion");
        let yaml = yaml.replacen('{', "{apiVersion: v1, ", usize::from(!whole));
        let found = applied(&yaml, "x");
        assert_eq!(found.is_some(), reason.is_some(), "{found:?}");
        let found = found.unwrap_or_default();
        assert!(found.contains(reason.unwrap_or_default()), "{found}");
    }

    #[test]
    fn a_refusal_is_the_reason_and_nothing_else_is() {
        let said = "admission webhook \"policies.validate.ringfence.dev\" denied the request: no";
        let answer = |message: &str| {
            let status = kube::core::Status::failure(message, "Forbidden").boxed();
            anyhow::Error::from(kube::Error::Api(status)).context("applying NetworkPolicy x/a")
        };
        let reason = refusal(&answer(said)).unwrap();
        assert_eq!(
            reason,
            format!("the cluster's webhook refuses it ({said}); --fabric netns plays it")
        );
        assert_eq!(refusal(&answer("failed calling webhook")), None);
        assert_eq!(refusal(&anyhow::anyhow!("{said}")), None);
    }
}
