//! Objects of a case: put, changed and taken away, each waited for unless its name says
//! otherwise.

use super::Stage;
use crate::case::arrive;
use crate::controlplane::ApiServer;
use crate::fabric::World;
use crate::objects::{Reference, State, documents};
use anyhow::{Context, Result};
use serde_json::{Value, json};

impl Stage {
    pub(super) fn put(&mut self, object: &Value) -> Result<()> {
        let mut object = object;
        let as_written;
        if self.has_webhook() && !self.setup.webhook && object["kind"] == "NetworkPolicy" {
            as_written = without_injection(object);
            object = &as_written;
        }
        if self.state.put(object.clone())? {
            self.objects.apply(object)?;
            if object["kind"] == "Service" {
                self.state.put(self.objects.stored(object)?)?;
            } else if self.has_webhook() && object["kind"] == "NetworkPolicy" {
                // The webhook may have added to it.
                self.adopt(object)?;
            }
        }
        Ok(())
    }

    /// The API server that objects go to, and the world that it serves.
    ///
    /// # Errors
    /// When objects come from elsewhere.
    pub fn api_server(&mut self) -> Result<(&mut ApiServer, &World)> {
        let server = self.objects.api_server();
        let server = server.context("objects do not come from an API server here")?;
        Ok((server, self.ground.world()?))
    }

    /// Applies the objects of a YAML text and waits until they are enforced.
    pub fn apply(&mut self, yaml: &str, namespace: &str) -> Result<()> {
        self.hand_over(yaml, namespace)?;
        self.wait_applied()
    }

    /// Applies without waiting.
    pub fn hand_over(&mut self, yaml: &str, namespace: &str) -> Result<()> {
        for object in documents(yaml, namespace)? {
            let object = arrive::scheduled(object, self.ground.topology())?;
            self.put(&object)?;
        }
        Ok(())
    }

    /// An object as it is now, by `Kind namespace/name` or `Kind name`.
    pub fn object(&self, object: &str) -> Result<Value> {
        let found = self.state.get(&reference(object)?);
        found
            .cloned()
            .with_context(|| format!("there is no {object}"))
    }

    /// Replaces an object, or creates it, and waits until that is enforced.
    pub fn replace(&mut self, object: &Value) -> Result<()> {
        self.put(object)?;
        self.wait_applied()
    }

    /// Deletes `Kind namespace/name` or `Kind name`.
    pub fn delete(&mut self, object: &str) -> Result<()> {
        let gone = self.state.take(&reference(object)?)?;
        self.objects.delete(&gone)?;
        self.wait_applied()
    }

    /// Changes an object by a JSON merge patch, written in YAML.
    pub fn patch(&mut self, object: &str, patch: &str) -> Result<()> {
        let changed = arrive::patched(&self.state, &reference(object)?, patch)?;
        self.put(&changed)?;
        if self.is_patient {
            self.wait_applied()?;
        }
        Ok(())
    }

    /// Changes labels.
    pub fn label(&mut self, object: &str, labels: &[(&str, Option<&str>)]) -> Result<()> {
        let changed = labelled(&self.state, object, labels)?;
        self.put(&changed)?;
        if self.is_patient {
            self.wait_applied()?;
        }
        Ok(())
    }

    /// Writes or removes a file beside the objects.
    pub fn file(&mut self, name: &str, content: Option<&str>) -> Result<()> {
        self.objects.file(name, content)?;
        self.wait_applied()
    }
}

/// An object with other labels.
pub(in crate::case) fn labelled(
    state: &State,
    object: &str,
    labels: &[(&str, Option<&str>)],
) -> Result<Value> {
    let mut changed = state
        .get(&reference(object)?)
        .with_context(|| format!("there is no {object} to label"))?
        .clone();
    let all = changed["metadata"]["labels"]
        .as_object_mut()
        .with_context(|| format!("{object} has no labels"))?;
    for (key, value) in labels {
        match value {
            Some(value) => all.insert((*key).to_owned(), (*value).into()),
            None => all.remove(*key),
        };
    }
    Ok(changed)
}

/// A policy to which a webhook adds nothing: a case that is not about the webhook says what
/// becomes of packets by what it wrote.
fn without_injection(policy: &Value) -> Value {
    let mut policy = policy.clone();
    let metadata = policy.get_mut("metadata").and_then(Value::as_object_mut);
    let annotations = metadata.map(|m| m.entry("annotations").or_insert_with(|| json!({})));
    if let Some(Value::Object(annotations)) = annotations {
        for part in ["dns", "monitoring"] {
            annotations.insert(format!("inject.ringfence.dev/{part}"), "off".into());
        }
    }
    policy
}

/// `Kind namespace/name` or `Kind name`.
pub(in crate::case) fn reference(text: &str) -> Result<Reference> {
    let (kind, key) = text
        .split_once(' ')
        .with_context(|| format!("{text:?}: write Kind namespace/name"))?;
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    Ok(Reference {
        kind: kind.into(),
        namespace: namespace.into(),
        name: name.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_keeps_its_annotations_and_asks_for_no_more_rules() {
        let policy = json!({"metadata": {"annotations": {"a": "b"}}, "spec": {}});
        let expected = json!({"metadata": {"annotations": {
            "a": "b", "inject.ringfence.dev/dns": "off", "inject.ringfence.dev/monitoring": "off",
        }}, "spec": {}});
        assert_eq!(without_injection(&policy), expected);
        let bare = without_injection(&json!({"metadata": {"name": "p"}}));
        assert_eq!(
            bare["metadata"]["annotations"]["inject.ringfence.dev/dns"],
            "off"
        );
    }
}
