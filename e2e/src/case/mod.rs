//! Cases: what is applied, and who must reach whom then. Plain data; [`run`] plays it.

mod arrive;
pub(crate) mod base;
mod crew;
mod diagnose;
mod expect;
mod oracle;
mod run;
mod stage;
mod step;
mod streams;

pub use crew::play;
pub use expect::{Expect, cells, matrix};
pub use oracle::rehearse;
pub use run::{CaseResult, Failure, Fault, Kinds, Options, Runner, Status, Variant};
pub use stage::{ObjectsKind, Setup, Stage};
pub use step::{Recorded, Step};

use crate::fabric::{Placement, PodKind, Services, Topology};
use crate::probe::Transport;
use anyhow::Result;
use std::net::Ipv4Addr;

/// The pods of upstream's suite: namespaces x, y, z with pods a, b, c.
pub const NINE: [&str; 9] = [
    "x/a", "x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/b", "z/c",
];

/// A case; [`Case::new`] and the methods that follow build it.
#[derive(Clone, Debug)]
#[must_use]
pub struct Case {
    /// A unique name.
    pub name: &'static str,
    /// Which document, trap or suite it comes from.
    pub source: &'static str,
    /// Titles of Kubernetes' own suite that it shows.
    pub shows: Vec<&'static str>,
    /// Words to select cases by.
    pub tags: Vec<&'static str>,
    /// Pods, `namespace/name` or `namespace/name@node`.
    pub pods: Vec<&'static str>,
    /// How many nodes there are.
    pub nodes: u8,
    /// Traffic between nodes goes through an overlay.
    pub overlay: bool,
    /// Where nodes are and which pod range they have, where a document says so.
    pub places: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// kube-proxy and the range of Services, where there is an API server.
    pub services: Services,
    /// Ports on which every host listens, besides 80 and 81.
    pub serves: Vec<Transport>,
    /// Kinds of pod to run it with.
    pub kinds: Vec<PodKind>,
    /// Any other kind will do where these are not to be had.
    pub any_kind: bool,
    /// Placements to run it with.
    pub placements: Vec<Placement>,
    /// More flags of the enforcer.
    pub flags: Vec<&'static str>,
    /// Its world has the webhook, registered in the API server.
    pub webhook: bool,
    /// Runs with this source of objects only.
    pub only: Option<ObjectsKind>,
    /// Why no cluster can play it.
    pub only_here: Option<&'static str>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

impl Case {
    /// A case over [`NINE`] pods on two nodes, with every pod on one node and spread, for
    /// bridge and routed pods.
    pub fn new(name: &'static str, source: &'static str) -> Self {
        Self {
            name,
            source,
            shows: Vec::new(),
            tags: Vec::new(),
            pods: NINE.to_vec(),
            nodes: 2,
            overlay: false,
            places: Vec::new(),
            serves: Vec::new(),
            services: Services::default(),
            kinds: PodKind::ALL.to_vec(),
            any_kind: false,
            placements: Placement::ALL.to_vec(),
            flags: Vec::new(),
            webhook: false,
            only: None,
            only_here: None,
            steps: Vec::new(),
        }
    }

    /// Says which titles of Kubernetes' own suite it shows.
    pub fn shows(mut self, titles: &[&'static str]) -> Self {
        self.shows.extend(titles);
        self
    }

    /// Adds words to select it by.
    pub fn tags(mut self, tags: &[&'static str]) -> Self {
        self.tags.extend(tags);
        self
    }

    /// Replaces the pods.
    pub fn pods(mut self, pods: &[&'static str]) -> Self {
        self.pods = pods.to_vec();
        self
    }

    /// Runs on this many nodes.
    pub fn nodes(mut self, nodes: u8) -> Self {
        self.nodes = nodes;
        self
    }

    /// With a VXLAN overlay between nodes.
    pub fn overlay(mut self) -> Self {
        self.overlay = true;
        self
    }

    /// On as many nodes as there are places, with these addresses and pod ranges (a /24 each).
    pub fn places(mut self, places: &[(Ipv4Addr, Ipv4Addr)]) -> Self {
        self.places = places.to_vec();
        self.nodes(u8::try_from(places.len()).unwrap_or(u8::MAX))
    }

    /// With another kube-proxy, or other addresses of Services.
    pub fn services(mut self, services: Services) -> Self {
        self.services = services;
        self
    }

    /// With servers on more ports of every host.
    pub fn serves(mut self, transports: &[Transport]) -> Self {
        self.serves.extend(transports);
        self
    }

    /// With these kinds of pod only.
    pub fn kinds(mut self, kinds: &[PodKind]) -> Self {
        self.kinds = kinds.to_vec();
        self
    }

    /// With one kind of pod, whichever it is: what is shown does not depend on it.
    pub fn any_kind(mut self) -> Self {
        self.any_kind = true;
        self.kinds(&[PodKind::Bridge])
    }

    /// With these placements only.
    pub fn placements(mut self, placements: &[Placement]) -> Self {
        self.placements = placements.to_vec();
        self
    }

    /// With more flags for the enforcer.
    pub fn flags(mut self, flags: &[&'static str]) -> Self {
        self.flags.extend(flags);
        self
    }

    /// In a world with the webhook, which needs an API server.
    pub fn webhook(mut self) -> Self {
        self.webhook = true;
        self.only(ObjectsKind::Apiserver)
    }

    /// With one source of objects only.
    pub fn only(mut self, kind: ObjectsKind) -> Self {
        self.only = Some(kind);
        self
    }

    /// Not on a cluster, and why.
    pub fn only_here(mut self, reason: &'static str) -> Self {
        self.only_here = Some(reason);
        self
    }

    /// Appends any step.
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Applies YAML; objects without a namespace go to `default`.
    pub fn apply(self, yaml: impl Into<String>) -> Self {
        self.apply_in("default", yaml)
    }

    /// Applies YAML; objects without a namespace go to `namespace`.
    pub fn apply_in(self, namespace: &'static str, yaml: impl Into<String>) -> Self {
        self.step(Step::Apply {
            yaml: yaml.into(),
            namespace,
        })
    }

    /// Applies a file through the webhook and compares the answer.
    pub fn admit(self, recorded: Recorded) -> Self {
        self.step(Step::Admit(recorded))
    }

    /// What a person types, through the webhook.
    pub fn typed(self, what: &'static str, act: fn(&mut Stage) -> Result<()>) -> Self {
        self.step(Step::Type(what, act))
    }

    /// With a DNS Service.
    pub fn dns(self) -> Self {
        self.step(Step::Dns)
    }

    /// A pod resolves a name, or must not.
    pub fn resolves(self, from: &'static str, name: &'static str, it_does: bool) -> Self {
        self.step(Step::Resolve(from, name, it_does))
    }

    /// Applies objects of isolation; namespaces and where their policies' rules come from.
    pub fn isolate(
        self,
        yaml: impl Into<String>,
        policies: &[(&'static str, &'static str)],
    ) -> Self {
        self.step(Step::Isolate(yaml.into(), policies.to_vec()))
    }

    /// Deletes an object of isolation, `Kind namespace/name`.
    pub fn unisolate(
        self,
        object: &'static str,
        policies: &[(&'static str, &'static str)],
    ) -> Self {
        self.step(Step::Unisolate(object, policies.to_vec()))
    }

    /// Waits until a namespace's policy has this value at this JSON pointer.
    pub fn rendered(
        self,
        namespace: &'static str,
        pointer: &'static str,
        value: impl Into<serde_json::Value>,
    ) -> Self {
        self.step(Step::Rendered(namespace, pointer, value.into()))
    }

    /// Waits for a condition of an object of isolation, written `STATUS REASON`.
    pub fn condition(self, object: &'static str, name: &'static str, wanted: &'static str) -> Self {
        self.step(Step::Condition(object, name, wanted))
    }

    /// Applies a NetworkPolicy, `namespace/name`, with this `spec` (YAML, one line will do).
    pub fn policy(self, key: &str, spec: &str) -> Self {
        self.apply(policy(key, spec))
    }

    /// Changes `Kind namespace/name` by a JSON merge patch, written in YAML.
    pub fn patch(self, object: &'static str, patch: &'static str) -> Self {
        self.step(Step::Patch(object, patch))
    }

    /// Deletes `Kind namespace/name`.
    pub fn delete(self, object: &'static str) -> Self {
        self.step(Step::Delete(object))
    }

    /// Sets labels of `Kind namespace/name`.
    pub fn label(self, object: &'static str, labels: &[(&'static str, &'static str)]) -> Self {
        self.step(Step::Label(
            object,
            labels.iter().map(|(k, v)| (*k, Some(*v))).collect(),
        ))
    }

    /// Takes a label of `Kind namespace/name` away.
    pub fn unlabel(self, object: &'static str, key: &'static str) -> Self {
        self.step(Step::Label(object, vec![(key, None)]))
    }

    /// Probes and compares.
    pub fn expect(self, expect: Expect) -> Self {
        self.step(Step::Expect(expect))
    }

    /// Opens a flow over IPv4.
    pub fn open(
        self,
        name: &'static str,
        from: &'static str,
        to: &'static str,
        transport: Transport,
    ) -> Self {
        self.step(Step::Open {
            name,
            from,
            to,
            transport,
            v4: true,
        })
    }

    /// Opens a flow over IPv6.
    pub fn open6(
        self,
        name: &'static str,
        from: &'static str,
        to: &'static str,
        transport: Transport,
    ) -> Self {
        self.step(Step::Open {
            name,
            from,
            to,
            transport,
            v4: false,
        })
    }

    /// These flows must be dead.
    pub fn cut(self, names: &[&'static str]) -> Self {
        self.step(Step::Cut(names.to_vec()))
    }

    /// These flows must be alive.
    pub fn kept(self, names: &[&'static str]) -> Self {
        self.step(Step::Kept(names.to_vec()))
    }

    /// Does anything else.
    pub fn act(self, what: &'static str, act: fn(&mut Stage) -> Result<()>) -> Self {
        self.step(Step::Do(what, act))
    }

    /// The world it needs.
    pub fn topology(&self, kind: PodKind, placement: Placement) -> Topology {
        let mut topology = Topology::new(kind, self.nodes);
        for (node, (address, pods)) in topology.nodes.iter_mut().zip(&self.places) {
            (node.v4, node.pods4) = (*address, *pods);
        }
        topology = topology.pods(self.pods.iter().copied(), placement);
        topology.services = self.services;
        topology.overlay = self.overlay;
        topology
    }
}

/// A NetworkPolicy as YAML: key `namespace/name` and the text of `spec`.
pub fn policy(key: &str, spec: &str) -> String {
    let (namespace, name) = key.split_once('/').unwrap_or(("default", key));
    let indented = spec.replace('\n', "\n  ");
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{namespace: {namespace}, name: {name}}}\nspec:\n  {indented}\n"
    )
}
