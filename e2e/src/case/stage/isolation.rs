//! A stage with project isolation: its objects, and the policies that come of them. In the
//! world of namespaces the harness starts the controller; a cluster has its own.

use super::{Ground, Stage};
use crate::controlplane::ApiServer;
use crate::fabric::World;
use crate::isolation::{self, Isolation};
use crate::objects::{Reference, documents};
use crate::patience::{eventually, within};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::time::Duration;

/// For a policy. Garbage collection looks every half minute whether there are new kinds.
const PATIENCE: Duration = Duration::from_mins(2);

impl Stage {
    /// Applies objects of isolation, and waits until the policy of each of these namespaces
    /// comes from these sources (see [`isolation::sources`]) and is enforced. Starts the
    /// controller when it does not run.
    pub fn isolate(&mut self, yaml: &str, policies: &[(&str, &str)]) -> Result<()> {
        if self.isolation.is_none() && matches!(self.ground, Ground::Here { .. }) {
            let (server, world) = self.api_server()?;
            let started = Isolation::start(server, world)?;
            self.isolation = Some(started);
        }
        for object in documents(yaml, "default")? {
            self.objects.apply(&object)?;
            self.fences.push(object);
        }
        self.isolated(policies)
    }

    /// Deletes an object of isolation, `Kind namespace/name`, and waits as [`Self::isolate`].
    pub fn unisolate(&mut self, object: &str, policies: &[(&str, &str)]) -> Result<()> {
        self.objects.delete(&isolation::named(object)?)?;
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

    /// Waits until a namespace's policy has this value at this JSON pointer (null: nothing), and
    /// is enforced.
    pub(in crate::case) fn rendered(
        &mut self,
        namespace: &str,
        pointer: &str,
        value: &Value,
    ) -> Result<()> {
        self.isolated_when(namespace, &format!("{value} at {pointer}"), |policy| {
            policy.is_some_and(|p| p.pointer(pointer).unwrap_or(&Value::Null) == value)
        })
    }

    /// Waits until a namespace's policy is so, and enforced; then the oracle judges by it.
    fn isolated_when(
        &mut self,
        namespace: &str,
        what: &str,
        so: impl Fn(Option<&Value>) -> bool,
    ) -> Result<()> {
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": namespace, "name": "ringfence-isolation"},
        });
        let what = format!("the policy of {namespace} is {what}");
        let waited = within(PATIENCE, &what, || {
            let found = self.objects.adopt(&policy)?;
            if so(found.as_ref()) {
                return Ok(true);
            }
            let isolation = self.isolation.as_mut();
            isolation.map_or(Ok(()), Isolation::check_running)?;
            bail!("it is {}", isolation::sources(found.as_ref()))
        });
        if let Err(error) = waited {
            let log = self.isolation.as_ref().map(|i| i.log_tail(20));
            return Err(error.context(log.unwrap_or_else(|| isolation::WHERE_TO_LOOK.to_owned())));
        }
        self.adopt(&policy)?;
        if self.state.get(&Reference::of(&policy)?).is_none() {
            // Who deleted it did not say at which version: a later write of the kind does.
            let mut later = policy;
            later["metadata"]["name"] = "later".into();
            later["spec"] = json!({"podSelector": {"matchLabels": {"no": "pod"}}});
            self.objects.apply(&later)?;
            self.objects.delete(&later)?;
        }
        self.wait_applied()
    }

    /// Waits for a condition of `Kind namespace/name`, written `STATUS REASON`.
    pub fn condition(&mut self, object: &str, name: &str, wanted: &str) -> Result<()> {
        let named = isolation::named(object)?;
        eventually(&format!("{object}: {name} is {wanted}"), || {
            let found = self.objects.adopt(&named)?;
            let found = found.with_context(|| format!("there is no {object}"))?;
            let found = isolation::condition(&found, name);
            if found != wanted {
                bail!("it is {found}");
            }
            Ok(true)
        })
    }

    /// Ends the controller where it is ours, and takes every object of isolation away; what
    /// isolates goes first, so that nothing is rendered anew.
    pub(super) fn end_isolation(&mut self) -> Result<()> {
        if let Some(mut isolation) = self.isolation.take() {
            let (server, _) = self.api_server()?;
            isolation.kill(server)?;
        }
        let mut fences = std::mem::take(&mut self.fences);
        fences.sort_by_key(|fence| fence["kind"] != "NamespaceIsolation");
        for fence in &fences {
            self.objects.delete(fence)?;
        }
        Ok(())
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
