//! A stage's enforcers in the world of namespaces, started and ended by the harness.

use super::Stage;
use crate::fabric::Process;
use crate::objects;
use anyhow::{Context, Result};
use std::path::Path;

impl Stage {
    /// Starts the enforcer of a node. Does nothing when there is none to start.
    pub fn start_enforcer(&mut self, node: &str) -> Result<()> {
        let Some(program) = &self.setup.enforcer else {
            return Ok(());
        };
        let node = self.ground.world()?.node(node)?;
        let mut args: Vec<String> = ["--node-name", node.name()].map(Into::into).into();
        for port in ["--health-port", "--metrics-port"] {
            args.extend([port.to_owned(), objects::HEALTH_PORT.to_string()]);
        }
        args.extend([
            "--state-dir".to_owned(),
            node.folder().join("state").display().to_string(),
        ]);
        args.extend(self.objects.flags(node.name()));
        args.extend(self.flags.iter().cloned());
        let enforcer = node.spawn("enforcer", program, &args, &self.environment)?;
        self.enforcers.insert(node.name().to_owned(), enforcer);
        Ok(())
    }

    /// The enforcer's binary, for its other commands.
    pub fn enforcer_program(&self) -> Result<&Path> {
        self.setup
            .enforcer
            .as_deref()
            .context("nobody enforces anything here")
    }

    /// Environment of the enforcers that are started from now on.
    pub fn set_environment(&mut self, environment: &[(&str, &str)]) {
        let owned = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        self.environment = owned.collect();
    }

    /// The running enforcer of a node.
    pub fn enforcer(&mut self, node: &str) -> Result<&mut Process> {
        self.enforcers
            .get_mut(node)
            .with_context(|| format!("no enforcer runs on {node}"))
    }

    /// Ends a node's enforcer with SIGKILL.
    pub fn kill_enforcer(&mut self, node: &str) -> Result<()> {
        self.enforcers
            .remove(node)
            .map(drop)
            .with_context(|| format!("no enforcer runs on {node}"))
    }

    /// Ends every enforcer and takes its rules away, as its owner would.
    pub fn uninstall(&mut self) -> Result<()> {
        self.enforcers.clear();
        let program = self.enforcer_program()?.display().to_string();
        for node in self.world()?.nodes() {
            let folder = node.folder().join("state").display().to_string();
            node.exec(&program, &["cleanup", "--state-dir", &folder], "")?;
        }
        Ok(())
    }

    /// Other enforcers in the same world, with these flags. A world, and the API server in
    /// it, is seconds of work.
    pub fn reinstall(&mut self, flags: &[&str]) -> Result<()> {
        self.clear()?;
        if self.is_enforced() {
            self.uninstall()?;
        }
        self.flags = flags.iter().map(|f| (*f).to_owned()).collect();
        self.environment.clear();
        for node in self.node_names() {
            self.start_enforcer(&node)?;
        }
        self.reset()
    }
}
