//! A world with its enforcers and objects, on which cases are played one after another.

mod admission;
mod edits;
mod enforcers;
mod ground;
mod isolation;
mod probes;

pub(super) use edits::{labelled, reference};

use self::ground::Ground;
use super::arrive::{self, Names};
use super::base;
use super::streams::Flow;
use crate::admission::Admission;
use crate::admission::dns::Dns;
use crate::controlplane::{self, ApiServer, Programs};
use crate::fabric::netns::CONTROL_ADDRESS;
use crate::fabric::{Cluster, Lab, Process, Topology, World};
use crate::isolation::Isolation;
use crate::objects::{self, Folder, Mark, Objects, Reference, State, Watcher};
use crate::probe::{Net, Transport};
use crate::sandbox;
use anyhow::{Context, Result};
use clap::ValueEnum;
use ipnet::IpNet;
use ringfence_policy::model::Protocol;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where enforcers get their objects from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ObjectsKind {
    /// A watched folder.
    #[default]
    Folder,
    /// A real kube-apiserver.
    Apiserver,
}

/// How long an enforcer may take to apply something. Usually milliseconds.
const APPLY: Duration = Duration::from_secs(15);

/// How stages are set up.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The enforcer's binary; `None`: nobody enforces anything (self-test).
    pub enforcer: Option<PathBuf>,
    /// Where objects come from.
    pub objects: ObjectsKind,
    /// Where the control plane's programs are.
    pub controlplane: Option<PathBuf>,
    /// Whether the webhook is there and registered.
    pub webhook: bool,
    /// The cluster to play on, instead of namespaces of this machine.
    pub cluster: Option<Arc<Lab>>,
}

/// A world in use.
pub struct Stage {
    // Fields end in this order: enforcers before the world that they run in.
    pub(super) flows: BTreeMap<&'static str, Flow>,
    dns: Option<Dns>,
    admission: Option<Admission>,
    isolation: Option<Isolation>,
    /// Objects of isolation that were applied.
    fences: Vec<Value>,
    enforcers: BTreeMap<String, Process>,
    objects: Box<dyn Objects>,
    ground: Ground,
    base: State,
    state: State,
    setup: Setup,
    flags: Vec<String>,
    waited: Duration,
    environment: Vec<(String, String)>,
    spoiled: bool,
    had_services: bool,
    /// Changes of labels and patches are waited for.
    pub(super) is_patient: bool,
}

impl Stage {
    /// Builds the world and starts an enforcer on every node.
    pub fn create(topology: Topology, flags: &[&str], setup: &Setup) -> Result<Self> {
        if let Some(lab) = &setup.cluster {
            let cluster = Cluster::create(lab, &topology)?;
            if setup.webhook {
                cluster.wait_for_webhook()?;
            }
            let (base, objects) = (cluster.base()?, cluster.objects());
            return Ok(Self::on(
                Ground::There(cluster),
                objects,
                base,
                flags,
                setup,
            ));
        }
        let world = World::create(topology)?;
        let net = Net::start(&world)?;
        let objects: Box<dyn Objects> = match setup.objects {
            ObjectsKind::Folder => {
                Box::new(Folder::create(&Path::new(sandbox::RUN).join(world.name()))?)
            }
            ObjectsKind::Apiserver => {
                let folder = setup.controlplane.as_deref().context(
                    "--objects apiserver needs --controlplane FOLDER (`make controlplane` fills it)",
                )?;
                let mut options = controlplane::Options::new(CONTROL_ADDRESS.into());
                let (address, length) = world.topology().services.range;
                options.service_cidrs[0] = IpNet::new(address.into(), length)?;
                let programs = Programs::find(folder)?;
                Box::new(ApiServer::start(&programs, world.control(), options)?)
            }
        };
        let base = base::objects(world.topology())?;
        let mut stage = Self::on(
            Ground::Here { net, world },
            objects,
            State::default(),
            flags,
            setup,
        );
        stage.base = base.clone();
        for (_, object) in base.iter() {
            stage.put(object)?;
        }
        stage.objects.start_services(stage.ground.world()?)?;
        for node in stage.node_names() {
            stage.start_enforcer(&node)?;
        }
        if setup.webhook {
            stage.start_admission()?;
        }
        stage.wait_applied()?;
        Ok(stage)
    }

    /// A stage without enforcers, whose `base` is there already.
    fn on(
        ground: Ground,
        objects: Box<dyn Objects>,
        base: State,
        flags: &[&str],
        setup: &Setup,
    ) -> Self {
        Self {
            flows: BTreeMap::new(),
            dns: None,
            admission: None,
            isolation: None,
            fences: Vec::new(),
            enforcers: BTreeMap::new(),
            objects,
            ground,
            state: base.clone(),
            base,
            setup: setup.clone(),
            flags: flags.iter().map(|f| (*f).to_owned()).collect(),
            waited: Duration::ZERO,
            environment: Vec::new(),
            spoiled: false,
            had_services: false,
            is_patient: true,
        }
    }

    /// The world of namespaces.
    ///
    /// # Errors
    /// On a cluster, whose nodes and pods are not this machine's.
    pub fn world(&self) -> Result<&World> {
        self.ground.world()
    }

    /// Servers and probes in the world of namespaces.
    pub fn net(&self) -> Result<&Net> {
        self.ground.here().map(|(net, _)| net)
    }

    /// More servers in the world of namespaces.
    pub fn net_mut(&mut self) -> Result<(&mut Net, &World)> {
        self.ground.here_mut()
    }

    /// Nodes, pods and externals, with the addresses that they have.
    pub fn topology(&self) -> &Topology {
        self.ground.topology()
    }

    /// The names of all nodes.
    pub fn node_names(&self) -> Vec<String> {
        let nodes = self.topology().nodes.iter();
        nodes.map(|node| node.name.clone()).collect()
    }

    /// Whether anybody enforces.
    pub fn is_enforced(&self) -> bool {
        match &self.ground {
            Ground::Here { .. } => self.setup.enforcer.is_some(),
            Ground::There(cluster) => cluster.is_enforced(),
        }
    }

    /// The world is not what it was: it is built anew for the next case.
    pub fn spoil(&mut self) {
        self.spoiled = true;
    }

    pub(super) fn is_spoiled(&self) -> bool {
        self.spoiled
    }

    /// Waits until every running enforcer has everything in the kernel.
    pub fn wait_applied(&mut self) -> Result<()> {
        let start = Instant::now();
        let mark: Mark = self.objects.mark(Watcher::Enforcer)?;
        for (node, enforcer) in &mut self.enforcers {
            let node = self.ground.world()?.node(node)?;
            objects::wait_applied(node, enforcer, &mark, APPLY)?;
        }
        if let Ground::There(cluster) = &self.ground {
            cluster.wait_applied(&mark, APPLY)?;
        }
        self.waited += start.elapsed();
        self.wait_services()
    }

    /// Waits until Services lead where they should, when there are or were any.
    fn wait_services(&mut self) -> Result<()> {
        let has = self.state.iter().any(|(r, _)| r.kind == "Service");
        if has || self.had_services {
            let leads = arrive::leads(&self.snapshot()?);
            match &self.ground {
                Ground::Here { world, .. } => self.objects.wait_services(world, &leads)?,
                Ground::There(cluster) => cluster.wait_services(&leads)?,
            }
            self.had_services = has;
        }
        Ok(())
    }

    /// How long this stage has waited for enforcers so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// More servers on every host.
    pub fn serve(&mut self, transports: &[Transport]) -> Result<()> {
        let ports: Vec<(Protocol, u16)> = transports
            .iter()
            .filter_map(|transport| match transport {
                Transport::Port(protocol, port) => Some((*protocol, *port)),
                Transport::Icmp => None,
            })
            .collect();
        self.ground.listen(&ports)
    }

    /// Whose addresses cells may name.
    pub(super) fn names(&self) -> Names<'_> {
        Names {
            topology: self.ground.topology(),
            state: &self.state,
        }
    }

    /// The objects that every case finds, and no others; does not wait.
    pub(super) fn clear(&mut self) -> Result<()> {
        self.is_patient = true;
        self.flows.clear();
        self.dns = None;
        self.end_isolation()?;
        let extra: Vec<Reference> = self
            .state
            .iter()
            .map(|(r, _)| r.clone())
            .filter(|r| self.base.get(r).is_none())
            .collect();
        for reference in extra {
            let gone = self.state.take(&reference)?;
            self.objects.delete(&gone)?;
        }
        for object in self.base.iter().map(|(_, o)| o.clone()).collect::<Vec<_>>() {
            self.put(&object)?;
        }
        Ok(())
    }

    /// Back to what every case finds.
    pub fn reset(&mut self) -> Result<()> {
        self.clear()?;
        self.wait_applied()?;
        // What earlier cases left in conntrack is not this case's history.
        self.ground.forget_flows()
    }
}
