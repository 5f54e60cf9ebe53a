//! Who turns NetworkPolicies into packets that do not pass.

use super::{list, text};
use ringfence_policy::model::{Name, ObjectKey};
use serde_json::Value;
use std::collections::BTreeSet;

/// The enforcers of a cluster, as far as its `DaemonSets` and our pods tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enforcement {
    /// Ringfence's enforcer is installed.
    pub installed: bool,
    /// The nodes on which a pod of it is ready.
    pub ready: BTreeSet<Name>,
    /// Other enforcers.
    pub others: Vec<Other>,
}

/// A `DaemonSet` that enforces NetworkPolicies as well.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Other {
    /// Namespace and name.
    pub daemon_set: ObjectKey,
    /// How to make it one enforcer again.
    pub remedy: &'static str,
}

/// Our objects carry it in the label `app.kubernetes.io/name`.
pub const ENFORCER: &str = "ringfence-enforcer";

// === impl Enforcement ===

impl Enforcement {
    /// From all `DaemonSets` and (at least) the pods of our enforcer.
    pub fn of<'a>(
        daemon_sets: impl IntoIterator<Item = &'a Value>,
        pods: impl IntoIterator<Item = &'a Value>,
    ) -> Self {
        let mut enforcement = Self::default();
        for set in daemon_sets {
            enforcement.installed |= is_ours(set);
            enforcement.others.extend(other(set));
        }
        enforcement.others.sort();
        let agents = pods.into_iter().filter(|pod| is_ours(pod) && is_ready(pod));
        enforcement.ready = agents
            .map(|pod| Name::from(text(&pod["spec"]["nodeName"])))
            .collect();
        enforcement
    }
}

fn is_ours(object: &Value) -> bool {
    object["metadata"]["labels"]["app.kubernetes.io/name"] == ENFORCER
}

fn is_ready(pod: &Value) -> bool {
    let conditions = list(&pod["status"]["conditions"]).iter();
    conditions
        .filter(|c| c["type"] == "Ready")
        .any(|c| c["status"] == "True")
}

/// A `DaemonSet` that enforces NetworkPolicies, as far as its name and arguments tell.
pub fn other(daemon_set: &Value) -> Option<Other> {
    let containers = list(&daemon_set["spec"]["template"]["spec"]["containers"]);
    let says = |word: &str| {
        let words = containers
            .iter()
            .flat_map(|c| list(&c["args"]).iter().chain(list(&c["command"])));
        words
            .into_iter()
            .any(|argument| text(argument).contains(word))
    };
    let has = |container: &str| containers.iter().any(|c| c["name"] == container);
    let metadata = &daemon_set["metadata"];
    let remedy = match text(&metadata["name"]) {
        "kube-router" if says("--run-firewall=false") => return None,
        "kube-router" => {
            "give it --run-firewall=false, then `kube-router --cleanup-config` where nothing else of it is used (docs/replacing.md)"
        }
        "calico-node" | "canal" => {
            "Felix enforces whatever NetworkPolicies there are: keep one of the two (docs/replacing.md)"
        }
        "cilium" | "anetd" => {
            "set enable-policy=never in its ConfigMap, or keep Cilium's and remove the enforcer (docs/replacing.md)"
        }
        "antrea-agent" => {
            "its datapath is Open vSwitch: keep Antrea's enforcement and remove the enforcer"
        }
        "ovnkube-node" | "kube-ovn-cni" => {
            "its datapath is Open vSwitch: keep its enforcement and remove the enforcer"
        }
        "weave-net" if has("weave-npc") => {
            "take the container weave-npc out of it (docs/replacing.md)"
        }
        "azure-npm" => "turn the cluster's network policy engine off, or remove the enforcer",
        "kube-network-policies" => "delete this DaemonSet (docs/replacing.md)",
        "kindnet" => {
            "newer kindnet enforces too: make the cluster with `make e2e`, or with disableDefaultCNI"
        }
        "aws-node" if says("--enable-network-policy=true") => {
            "set enable-network-policy=false (docs/replacing.md)"
        }
        _ => return None,
    };
    Some(Other {
        daemon_set: ObjectKey::new(text(&metadata["namespace"]), text(&metadata["name"])),
        remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::document;
    use serde_json::json;
    use test_case::test_case;

    fn daemon_set(name: &str, container: &str) -> Value {
        document(&format!(
            "{{metadata: {{name: {name}, namespace: kube-system}}, \
             spec: {{template: {{spec: {{containers: [{container}]}}}}}}}}"
        ))
    }

    #[test_case("calico-node", "{}", true; "Calico")]
    #[test_case("kube-router", "{args: [--run-router=true]}", true; "kube-router")]
    #[test_case("kube-router", "{args: [--run-firewall=false]}", false; "its firewall is off")]
    #[test_case("weave-net", "{name: weave-npc}", true; "Weave")]
    #[test_case("weave-net", "{name: weave}", false; "Weave without its policies")]
    #[test_case("aws-node", "{args: [--enable-network-policy=true]}", true; "Amazon")]
    #[test_case("aws-node", "{}", false; "Amazon, off")]
    #[test_case("kube-flannel-ds", "{}", false; "flannel")]
    fn others(name: &str, container: &str, expected: bool) {
        assert_eq!(other(&daemon_set(name, container)).is_some(), expected);
    }

    #[test]
    fn a_node_counts_while_our_pod_on_it_is_ready() {
        let pod = |node: &str, ready: &str| {
            json!({"metadata": {"labels": {"app.kubernetes.io/name": ENFORCER}},
                "spec": {"nodeName": node},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}})
        };
        let foreign = json!({"spec": {"nodeName": "c"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let pods = [pod("a", "True"), pod("b", "False"), foreign];
        let found = Enforcement::of([], &pods);
        assert_eq!(found.ready, ["a".into()].into());
        assert!(!found.installed);
        let ours = json!({"metadata": {"labels": {"app.kubernetes.io/name": ENFORCER}}});
        assert!(Enforcement::of([&ours], &pods).installed);
    }
}
