//! A cluster's API server as the place where a case's objects go. Nodes and pods are the
//! cluster's own: of what a case changes about them only labels and annotations are written.

use super::{Mark, Objects, Reference, Watcher, Written};
use crate::controlplane::{Applier, ResourceVersion};
use crate::fabric::cluster::{MADE, mark_as_made};
use crate::fabric::{Lab, Topology};
use anyhow::{Context, Result, bail, ensure};
use kube::ResourceExt;
use serde_json::{Value, json};
use std::sync::Arc;

/// Namespaces that an API server never deletes.
const PERMANENT: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Objects of a case in a cluster.
pub struct ClusterObjects {
    lab: Arc<Lab>,
    applier: Applier,
    pods: Vec<String>,
    made: Written,
}

impl ClusterObjects {
    /// In the cluster of `lab`, whose pods are those of `topology`. Objects of these kinds
    /// were `written` at these times, if at all.
    pub fn new(
        lab: &Arc<Lab>,
        topology: &Topology,
        written: &[(&str, Option<ResourceVersion>)],
    ) -> Self {
        let pods = topology.pods.iter();
        let mut objects = Self {
            applier: Applier::new(lab.client().clone()),
            pods: pods
                .map(|p| format!("{}/{}", p.namespace, p.name))
                .collect(),
            lab: Arc::clone(lab),
            made: Written::default(),
        };
        for (kind, version) in written {
            if let Some(version) = version {
                objects.made.wrote(kind, *version);
            }
        }
        objects
    }

    /// What is written of an object.
    fn as_written(&self, object: &Value, reference: &Reference) -> Result<Value> {
        let mut object = object.clone();
        match reference.kind.as_str() {
            "Node" => {
                let metadata = json!({
                    "name": self.lab.real_name(&reference.name),
                    "labels": object["metadata"]["labels"],
                });
                object = json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata });
            }
            "Pod" => {
                let key = format!("{}/{}", reference.namespace, reference.name);
                if !self.pods.contains(&key) {
                    bail!("Pod {key} is none of the case's pods");
                }
                let node = object["spec"]["nodeName"].as_str().unwrap_or_default();
                object["spec"]["nodeName"] = self.lab.real_name(node).into();
                if let Some(object) = object.as_object_mut() {
                    object.remove("status");
                }
            }
            "Namespace" => {}
            _ => mark_as_made(&mut object),
        }
        Ok(object)
    }
}

impl Objects for ClusterObjects {
    fn flags(&self, _: &str) -> Vec<String> {
        Vec::new()
    }

    fn apply(&mut self, object: &Value) -> Result<()> {
        let reference = Reference::of(object)?;
        let written = self.as_written(object, &reference)?;
        if !matches!(reference.kind.as_str(), "Node" | "Pod" | "Namespace") {
            let there = self.lab.block_on(self.applier.read(object, "default"))?;
            let foreign = there.is_some_and(|o| !o.labels().contains_key(MADE));
            ensure!(
                !foreign,
                "{reference} is the cluster's own: a case may not change it"
            );
        }
        let version = self.lab.block_on(self.applier.apply(written, "default"))?;
        self.made.wrote(&reference.kind, version);
        Ok(())
    }

    fn delete(&mut self, object: &Value) -> Result<()> {
        let reference = Reference::of(object)?;
        if matches!(reference.kind.as_str(), "Node" | "Pod") {
            bail!("{reference} is the cluster's: it is not deleted");
        }
        if reference.kind == "Namespace" && PERMANENT.contains(&reference.name.as_str()) {
            // All that can go is what was applied: its labels.
            let metadata = json!({ "name": reference.name });
            let bare = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
            return self.apply(&bare);
        }
        let gone = self.lab.block_on(self.applier.delete(object, "default"))?;
        if let Some(version) = gone {
            self.made.wrote(&reference.kind, version);
        }
        Ok(())
    }

    fn stored(&self, object: &Value) -> Result<Value> {
        let found = self.lab.block_on(self.applier.read(object, "default"))?;
        let found = found.context("what was applied is not there")?;
        Ok(plain(serde_json::to_value(found)?, object))
    }

    fn adopt(&mut self, object: &Value) -> Result<Option<Value>> {
        let found = self.lab.block_on(self.applier.read(object, "default"))?;
        let Some(found) = found else { return Ok(None) };
        let kind = Reference::of(object)?.kind;
        self.made.wrote(&kind, ResourceVersion::of(&found)?);
        Ok(Some(plain(serde_json::to_value(&found)?, object)))
    }

    fn mark(&self, watcher: Watcher) -> Result<Mark> {
        Ok(self.made.mark(watcher))
    }
}

/// An object without what servers write into its metadata: it can be applied again.
fn plain(mut stored: Value, object: &Value) -> Value {
    stored["apiVersion"] = object["apiVersion"].clone();
    stored["kind"] = object["kind"].clone();
    if let Some(metadata) = stored["metadata"].as_object_mut() {
        metadata.retain(|key, _| {
            matches!(
                key.as_str(),
                "name" | "namespace" | "labels" | "annotations"
            )
        });
    }
    stored
}
