//! Objects out: as YAML on standard output, or into the cluster by server-side apply.

use super::ask::{self, Ask};
use anyhow::{Context, Result, bail};
use kube::api::{Patch, PatchParams};
use kube::client::Body;
use kube::core::Request;
use kube::core::request::Error as RequestError;
use serde_json::Value;
use std::path::PathBuf;

/// Who owns the fields that `--apply` writes.
const MANAGER: &str = "ringfence-cli";

/// Flags of commands that make objects.
#[derive(Debug, clap::Args)]
pub struct WriteArgs {
    /// Write to the cluster instead of printing YAML.
    #[arg(long)]
    pub apply: bool,
    /// Path of a kubeconfig; without it $KUBECONFIG, ~/.kube/config, or the pod's own account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// An object and where the API server keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The object, with apiVersion and kind.
    pub value: Value,
    /// The plural of its kind.
    pub plural: &'static str,
}

impl WriteArgs {
    /// Prints the objects, or writes them in their order; warnings of the API server go to
    /// standard error.
    pub fn write(&self, objects: &[Made]) -> Result<()> {
        if !self.apply {
            return print(objects);
        }
        ask::with(self.kubeconfig.as_deref(), async |ask| {
            for made in objects {
                println!("{}", apply(ask, made).await?);
            }
            Ok(())
        })
    }

    /// Deletes an object. Without it there is nothing to do.
    pub fn delete(&self, made: &Made) -> Result<()> {
        ask::with(self.kubeconfig.as_deref(), async |ask| {
            let request = Request::new(made.collection()?);
            let request = request.delete(made.name(), &kube::api::DeleteParams::default());
            let answer = send(ask, request).await;
            let gone = answer.with_context(|| format!("deleting {}", made.label()))?;
            let what = if gone.is_some() {
                "deleted"
            } else {
                "was not there"
            };
            println!("{} {what}", made.label());
            Ok(())
        })
    }
}

fn print(objects: &[Made]) -> Result<()> {
    for (at, made) in objects.iter().enumerate() {
        if at > 0 {
            println!("---");
        }
        print!("{}", yaml_serde::to_string(&made.value)?);
    }
    Ok(())
}

async fn apply(ask: &Ask, made: &Made) -> Result<String> {
    let parameters = PatchParams::apply(MANAGER);
    let patch = Patch::Apply(&made.value);
    let request = Request::new(made.collection()?).patch(made.name(), &parameters, &patch);
    let answer = send(ask, request).await;
    let answer = answer.with_context(|| format!("applying {}", made.label()))?;
    if answer.is_none() {
        bail!(
            "applying {}: the cluster does not know this kind (apply the CustomResourceDefinitions \
             of manifests/base), or has no such namespace",
            made.label()
        );
    }
    Ok(format!("{} applied", made.label()))
}

/// What the server answers; `None` for 404. Its warnings say what happens to traffic, and
/// kube's own calls drop them.
async fn send(
    ask: &Ask,
    request: Result<http::Request<Vec<u8>>, RequestError>,
) -> Result<Option<Value>> {
    let request = request?.map(Body::from);
    let answer = ask.client().send(request).await?;
    for warning in answer.headers().get_all("warning") {
        if let Ok(text) = warning.to_str() {
            eprintln!("Warning: {}", told(text));
        }
    }
    let status = answer.status();
    let bytes = answer.into_body().collect_bytes().await?;
    if status.is_success() {
        return Ok(Some(serde_json::from_slice(&bytes)?));
    }
    if status == http::StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    match said["message"].as_str() {
        Some(message) => bail!("{message}"),
        None => bail!("HTTP {status}: {}", String::from_utf8_lossy(&bytes)),
    }
}

/// The text of `299 - "the text"`.
fn told(warning: &str) -> String {
    let text = warning.splitn(3, ' ').nth(2).unwrap_or(warning);
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    text.unwrap_or(warning).replace("\\\"", "\"")
}

// === impl Made ===

impl Made {
    /// An object of `ringfence.dev` from its type, without what only a server fills in.
    pub fn new(object: &impl serde::Serialize, plural: &'static str) -> Result<Self> {
        let mut value = serde_json::to_value(object).context("an object that is no JSON")?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("status");
        }
        Ok(Self { value, plural })
    }

    fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    fn namespace(&self) -> Option<&str> {
        self.value["metadata"]["namespace"].as_str()
    }

    /// `isolationrule shop/from-friend`
    fn label(&self) -> String {
        let kind = self.value["kind"].as_str().unwrap_or_default();
        match self.namespace() {
            Some(namespace) => format!("{kind} {namespace}/{}", self.name()),
            None => format!("{kind} {}", self.name()),
        }
    }

    fn collection(&self) -> Result<String> {
        let version = self.value["apiVersion"].as_str().context("no apiVersion")?;
        let plural = self.plural;
        Ok(match self.namespace() {
            Some(namespace) => format!("/apis/{version}/namespaces/{namespace}/{plural}"),
            None => format!("/apis/{version}/{plural}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case(r#"299 - "shop/r: a \"b\"""#, r#"shop/r: a "b""#; "as the API server writes it")]
    #[test_case("odd", "odd"; "anything else")]
    fn warnings(header: &str, expected: &str) {
        assert_eq!(told(header), expected);
    }
}
