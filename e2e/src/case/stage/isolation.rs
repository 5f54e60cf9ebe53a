//! A stage with project isolation: its objects, and the policies that come of them.

use super::Stage;
use crate::admission::eventually;
use crate::controlplane::ApiServer;
use crate::fabric::World;
use crate::isolation::{self, Isolation};
use crate::objects::{Reference, documents};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

impl Stage {
    /// Applies objects of isolation, and waits until the policy of each of these namespaces
    /// comes from these sources (see [`isolation::sources`]) and is enforced. Starts the
    /// controller when it does not run.
    pub fn isolate(&mut self, yaml: &str, policies: &[(&str, &str)]) -> Result<()> {
        if self.isolation.is_none() {
            let (server, world) = self.api_server()?;
            let started = Isolation::start(server, world)?;
            self.isolation = Some(started);
        }
        let objects = documents(yaml, "default")?;
        let (server, _) = self.api_server()?;
        objects
            .iter()
            .try_for_each(|object| server.install(object))?;
        self.isolated(policies)
    }

    /// Deletes an object of isolation, `Kind namespace/name`, and waits as [`Self::isolate`].
    pub fn unisolate(&mut self, object: &str, policies: &[(&str, &str)]) -> Result<()> {
        let (kind, key) = object
            .split_once(' ')
            .context("write Kind namespace/name")?;
        let (namespace, name) = key.split_once('/').context("write Kind namespace/name")?;
        let (server, _) = self.api_server()?;
        server.uninstall(&json!({
            "apiVersion": "ringfence.dev/v1alpha1", "kind": kind,
            "metadata": {"namespace": namespace, "name": name},
        }))?;
        self.isolated(policies)
    }

    /// Waits until policies come from these sources, and are enforced.
    pub fn isolated(&mut self, policies: &[(&str, &str)]) -> Result<()> {
        for (namespace, wanted) in policies {
            self.isolated_when(namespace, wanted, |policy| {
                isolation::sources(policy) == *wanted
            })?;
        }
        Ok(())
    }

    /// Waits until a namespace's policy is so, and enforced; then the oracle judges by it.
    pub fn isolated_when(
        &mut self,
        namespace: &str,
        what: &str,
        so: impl Fn(Option<&Value>) -> bool,
    ) -> Result<()> {
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": namespace, "name": "ringfence-isolation"},
        });
        let waited = eventually(&format!("the policy of {namespace} is {what}"), || {
            let (server, _) = self.api_server()?;
            let found = server.adopt(&policy)?;
            if so(found.as_ref()) {
                return Ok(true);
            }
            let isolation = self.isolation.as_mut();
            isolation.map_or(Ok(()), Isolation::check_running)?;
            bail!("it is {}", isolation::sources(found.as_ref()))
        });
        if let Err(error) = waited {
            let log = self.isolation.as_ref().map(|i| i.log_tail(20));
            return Err(error.context(log.unwrap_or_default()));
        }
        self.adopt(&policy)?;
        if self.state.get(&Reference::of(&policy)?).is_none() {
            // Who deleted it did not say at which version: a later write of the kind does.
            let mut later = policy;
            later["metadata"] = json!({"namespace": "default", "name": "later"});
            later["spec"] = json!({"podSelector": {"matchLabels": {"no": "pod"}}});
            self.objects.apply(&later)?;
            self.objects.delete(&later)?;
        }
        self.wait_applied()
    }

    /// Waits for a condition of `Kind namespace/name`, written `STATUS REASON`.
    pub fn condition(&mut self, object: &str, name: &str, wanted: &str) -> Result<()> {
        let (server, _) = self.api_server()?;
        eventually(&format!("{object}: {name} is {wanted}"), || {
            let found = isolation::condition(server, object, name)?;
            if found != wanted {
                bail!("it is {found}");
            }
            Ok(true)
        })
    }

    /// Runs `work` with the controller, the API server and the world.
    pub fn with_isolation(
        &mut self,
        work: impl FnOnce(&mut Isolation, &mut ApiServer, &World) -> Result<()>,
    ) -> Result<()> {
        let mut isolation = self.isolation.take();
        let found = isolation.as_mut().context("nothing is isolated yet");
        let result = found.and_then(|isolation| {
            let (server, world) = self.api_server()?;
            work(isolation, server, world)
        });
        self.isolation = isolation;
        result
    }
}
