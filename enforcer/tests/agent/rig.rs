//! An engine over the fake kernel, with a clock that the test moves.

use crate::fake::FakeKernel;
use clap::Parser;
use ringfence_cluster::{Decoded, Event, Generation, Replacement};
use ringfence_enforcer::agent::{Engine, KINDS};
use ringfence_enforcer::config::{Cli, Settings};
use ringfence_enforcer::events::{Notice, Notices};
use ringfence_enforcer::health::Status;
use ringfence_enforcer::metrics::Metrics;
use ringfence_enforcer::system::{Error, Kernel};
use ringfence_policy::model::{
    Labels, Namespace, NamespaceMatch, Node, ObjectKey, Peer, Phase, Pod, Policy, PortMatch,
    PortSpec, Protocol, Rule, Selector,
};
use ringfence_policy::snapshot::{Kind, Object};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

pub struct Rig {
    pub engine: Engine,
    pub kernel: Arc<FakeKernel>,
    pub status: Arc<Status>,
    pub metrics: Arc<Metrics>,
    pub notices: mpsc::Receiver<Notice>,
    /// While set, the kernel cannot be opened: ipset is not installed.
    pub tools_missing: Arc<AtomicBool>,
    now: Instant,
    version: u64,
}

impl Rig {
    pub fn new(kernel: &Arc<FakeKernel>, state_dir: &Path) -> Self {
        Self::with_flags(kernel, state_dir, &[])
    }

    pub fn with_flags(kernel: &Arc<FakeKernel>, state_dir: &Path, flags: &[&str]) -> Self {
        let state_dir = format!("--state-dir={}", state_dir.display());
        let base = ["ringfence-enforcer", "--node-name=n1", &state_dir];
        let cli = Cli::try_parse_from([&base, flags].concat()).unwrap();
        let settings = Settings::resolve(&cli, None).unwrap();
        let (status, metrics) = (Arc::new(Status::default()), Arc::new(Metrics::default()));
        let (sender, notices) = Notices::to_channel(Arc::clone(&metrics));
        let tools_missing = Arc::new(AtomicBool::new(false));
        let (missing, opened) = (Arc::clone(&tools_missing), Arc::clone(kernel));
        let open = Box::new(move || {
            if missing.load(Ordering::Relaxed) {
                return Err(Error::Missing {
                    program: "ipset".to_owned(),
                    package: "ipset",
                    searched: "/usr/sbin".to_owned(),
                });
            }
            Ok(Arc::clone(&opened) as Arc<dyn Kernel>)
        });
        let now = Instant::now();
        let (s, m) = (Arc::clone(&status), Arc::clone(&metrics));
        Self {
            engine: Engine::new(settings, open, s, m, sender, now),
            kernel: Arc::clone(kernel),
            status,
            metrics,
            notices,
            tools_missing,
            now,
            version: 0,
        }
    }

    /// Everything that is due now.
    pub fn tick(&mut self) {
        self.engine.tick(self.now).unwrap();
    }

    /// As time goes by: every deadline on the way is kept.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut rounds = 0;
        while self.engine.deadline() <= end {
            rounds += 1;
            assert!(rounds < 10_000, "the engine spins");
            self.now = self.now.max(self.engine.deadline());
            self.tick();
        }
        self.now = end;
        self.tick();
    }

    pub fn try_tick_after(&mut self, time: Duration) -> anyhow::Result<()> {
        self.now += time;
        self.engine.tick(self.now)
    }

    pub fn event(&mut self, event: Event) {
        self.engine.take(event, self.now);
    }

    /// A watch event, and the time that a batch may take.
    pub fn apply(&mut self, object: Object) {
        let event = Event::Apply(self.decoded(object));
        self.event(event);
        self.pass(Duration::from_millis(50));
    }

    pub fn delete(&mut self, kind: Kind, namespace: &str, name: &str) {
        self.event(Event::Delete(kind, ObjectKey::new(namespace, name)));
        self.pass(Duration::from_millis(50));
    }

    /// The first lists, or the same again.
    pub fn list(&mut self, objects: Vec<Object>) {
        for kind in KINDS {
            self.event(Event::ListStarted(kind));
        }
        for object in objects {
            let event = Event::Apply(self.decoded(object));
            self.event(event);
        }
        for kind in KINDS {
            self.event(Event::ListDone {
                kind,
                resource_version: "100".into(),
            });
        }
        self.pass(Duration::from_millis(50));
    }

    /// A folder of this content.
    pub fn folder(&mut self, objects: Vec<Object>, digest: &str) {
        let objects = objects.into_iter().map(|o| self.decoded(o)).collect();
        self.event(Event::Replace(Box::new(Replacement {
            objects,
            problems: Vec::new(),
            generation: Generation {
                number: 1,
                digest: digest.to_owned(),
            },
        })));
        self.pass(Duration::from_millis(50));
    }

    pub fn decoded(&mut self, object: Object) -> Decoded {
        self.version += 1;
        let (kind, key) = match &object {
            Object::Pod(o) => (Kind::Pod, o.key.clone()),
            Object::Policy(o) => (Kind::NetworkPolicy, o.key.clone()),
            Object::Service(o) => (Kind::Service, o.key.clone()),
            Object::Namespace(o) => (Kind::Namespace, ObjectKey::new("", Arc::clone(&o.name))),
            Object::Node(o) => (Kind::Node, ObjectKey::new("", Arc::clone(&o.name))),
        };
        Decoded {
            kind,
            key,
            object: Some(object),
            problems: Vec::new(),
            resource_version: Some((1000 + self.version).to_string().into()),
        }
    }

    pub fn progress(&self) -> serde_json::Value {
        serde_json::from_str(&self.status.progress().unwrap()).unwrap()
    }

    pub fn is_applied(&self) -> bool {
        let progress = self.progress();
        progress["observed"] == progress["applied"]
    }

    /// The value of a metric, by its whole name with labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.render().unwrap();
        let prefix = format!("ringfence_enforcer_{name} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .map_or(0.0, |value| value.parse().unwrap())
    }
}

/// An agent that has programmed the shop.
pub fn running() -> (Rig, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(&Arc::default(), folder.path());
    rig.list(shop());
    assert_eq!(rig.status.unready(), None);
    (rig, folder)
}

pub fn node() -> Object {
    Object::Node(Node {
        name: "n1".into(),
        addresses: vec!["192.168.0.1".parse().unwrap()],
        pod_cidrs: vec!["10.1.0.0/24".parse().unwrap()],
    })
}

pub fn namespace(name: &str) -> Object {
    Object::Namespace(Namespace {
        name: name.into(),
        labels: Labels::new([("kubernetes.io/metadata.name", name)]),
    })
}

/// On node n1 when the address lies in its range, else on n2.
pub fn pod(name: &str, address: &str) -> Object {
    let node = if address.starts_with("10.1.0.") {
        "n1"
    } else {
        "n2"
    };
    Object::Pod(Pod {
        key: ObjectKey::new("shop", name),
        labels: Labels::new([("app", name)]),
        node: node.into(),
        ips: vec![address.parse().unwrap()],
        host_network: false,
        phase: Phase::Running,
        terminating: false,
        api_client: false,
        ports: Arc::default(),
    })
}

/// Ingress to `to` on TCP 80, from `from` only.
pub fn policy(to: &str, from: &[&str]) -> Object {
    let peer = |name: &&str| Peer::Pods {
        namespaces: NamespaceMatch::Own,
        pods: Selector::labels([("app", *name)]),
    };
    let rule = Rule {
        peers: from.iter().map(peer).collect(),
        ports: vec![PortMatch {
            protocol: Protocol::Tcp,
            port: PortSpec::Range(80, 80),
        }],
    };
    Object::Policy(Policy {
        key: ObjectKey::new("shop", to),
        pod_selector: Selector::labels([("app", to)]),
        // A rule without peers would be for everyone.
        ingress: Some(if from.is_empty() { vec![] } else { vec![rule] }),
        egress: None,
        fault: None,
        allow_only: false,
    })
}

/// db (local), web (remote, allowed to db), other (remote, not allowed).
pub fn shop() -> Vec<Object> {
    vec![
        node(),
        namespace("shop"),
        pod("db", "10.1.0.5"),
        pod("web", "10.2.0.5"),
        pod("other", "10.2.0.6"),
        policy("db", &["web"]),
    ]
}

/// The members of the one pod set of the shop: who may reach db.
pub fn web_addresses(kernel: &FakeKernel) -> Vec<String> {
    let state = kernel.state();
    let peers: BTreeMap<_, _> = state
        .sets
        .iter()
        .filter(|(_, members)| members.iter().any(|m| m.starts_with("10.2.")))
        .collect();
    peers.values().flat_map(|m| m.iter().cloned()).collect()
}
