//! A world with a real API server, full of objects, and one measured enforcer on `node1`.

use super::{Options, usage};
use crate::controlplane::{ApiServer, Identity, Options as Plane, Programs};
use crate::fabric::netns::CONTROL_ADDRESS;
use crate::fabric::{Node, NodeSpec, Process, Topology, World};
use crate::objects::{self, HEALTH_PORT};
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The node that is measured.
pub const NODE: &str = "node1";
/// How long an enforcer may take to start.
const START: Duration = Duration::from_mins(2);
/// How long it may take to stop.
const STOP: Duration = Duration::from_secs(10);
/// Between two looks at `/generation`.
const LOOK: Duration = Duration::from_millis(2);

/// The cluster.
pub struct Lab {
    // Ended in this order.
    enforcer: Option<Process>,
    api: ApiServer,
    world: World,
    program: PathBuf,
}

/// How long a start took, from the start of the process.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Until every list was complete.
    pub lists: Duration,
    /// Until ready with all of it in the kernel.
    pub programmed: Duration,
}

// === impl Lab ===

impl Lab {
    /// Builds the world, starts the control plane, registers the nodes.
    pub fn create(options: &Options, topology: Topology) -> Result<Self> {
        let programs = Programs::find(&options.controlplane)?;
        let world = World::create(topology)?;
        let plane = Plane::new(CONTROL_ADDRESS.into());
        let api = ApiServer::start(&programs, world.control(), plane)?;
        for node in &world.topology().nodes {
            api.block_on(api.kubelet().register(node))?;
        }
        Ok(Self {
            enforcer: None,
            api,
            world,
            program: options.enforcer.clone(),
        })
    }

    /// The API server.
    pub fn api(&self) -> &ApiServer {
        &self.api
    }

    /// As above, to write with.
    pub fn api_mut(&mut self) -> &mut ApiServer {
        &mut self.api
    }

    /// The world.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The measured node.
    pub fn node(&self) -> Result<&Node> {
        self.world.node(NODE)
    }

    /// The measured node's addresses and ranges.
    pub fn spec(&self) -> Result<&NodeSpec> {
        let spec = self.world.topology().node(NODE);
        spec.with_context(|| format!("the world has no {NODE}"))
    }

    // === The enforcer ===

    /// Starts the enforcer and waits until it is ready.
    pub fn start(&mut self) -> Result<Start> {
        let node = self.world.node(NODE)?;
        let flags = [
            format!("--node-name={NODE}"),
            format!("--health-port={HEALTH_PORT}"),
            format!("--metrics-port={HEALTH_PORT}"),
            format!("--state-dir={}", node.folder().join("state").display()),
            format!(
                "--kubeconfig={}",
                self.api.kubeconfig(Identity::Enforcer).display()
            ),
        ];
        let begin = Instant::now();
        let mut enforcer = node.spawn("enforcer", &self.program, &flags, &[])?;
        let started = node
            .netns()
            .run(|| wait_ready(&mut enforcer, begin))
            .with_context(|| format!("its log ends:\n{}", enforcer.log_tail(20)))?;
        self.enforcer = Some(enforcer);
        Ok(started)
    }

    /// Stops the enforcer and removes what it has left: rules, sets, state.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut enforcer) = self.enforcer.take() {
            enforcer.stop(Signal::SIGTERM, STOP)?;
        }
        let node = self.world.node(NODE)?;
        let state = node.folder().join("state");
        let flag = format!("--state-dir={}", state.display());
        node.exec(&self.program.to_string_lossy(), &["cleanup", &flag], "")?;
        if state.exists() {
            fs::remove_dir_all(&state).with_context(|| format!("removing {}", state.display()))?;
        }
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> Result<u32> {
        let enforcer = self.enforcer.as_ref();
        Ok(enforcer.context("no enforcer is running")?.pid())
    }

    /// Its memory now.
    pub fn memory(&self) -> Result<usage::Memory> {
        usage::memory(self.pid()?)
    }

    /// A page of the enforcer.
    pub fn page(&self, page: &str) -> Result<String> {
        self.node()?.netns().run(|| objects::get(page))
    }

    /// Waits until everything that was received is in the kernel.
    pub fn settle(&mut self) -> Result<()> {
        let node = self.world.node(NODE)?;
        let enforcer = self.enforcer.as_mut().context("no enforcer is running")?;
        node.netns()
            .run(|| wait_ready(enforcer, Instant::now()))
            .map(drop)
    }
}

/// Polls `/generation`, in the node's namespace.
fn wait_ready(enforcer: &mut Process, begin: Instant) -> Result<Start> {
    let mut lists = None;
    loop {
        // Nobody listens yet, in the first moments.
        if let Ok(text) = objects::get("/generation") {
            let generation: Value = serde_json::from_str(&text)?;
            let now = begin.elapsed();
            if generation["synced"] == true {
                lists.get_or_insert(now);
            }
            let applied = &generation["applied"];
            if let Some(lists) = lists
                && generation["ready"] == true
                && applied == &generation["observed"]
            {
                return Ok(Start {
                    lists,
                    programmed: now,
                });
            }
        }
        enforcer.check_running()?;
        if begin.elapsed() > START {
            bail!("the enforcer is not ready after {START:?}");
        }
        std::thread::sleep(LOOK);
    }
}
