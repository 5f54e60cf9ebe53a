//! Questions to an API server, one object or list each: with the rights of whoever asks,
//! which may be few.

use anyhow::{Context, Result, bail};
use ringfence_cluster::Kubernetes;
use serde_json::Value;
use std::path::Path;

/// A connection.
pub struct Ask {
    cluster: Kubernetes,
}

/// Connects, and does some work.
pub fn with<T>(kubeconfig: Option<&Path>, work: impl AsyncFnOnce(&Ask) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let cluster = Kubernetes::new(kubeconfig).await?;
        work(&Ask { cluster }).await
    })
}

impl Ask {
    /// The client.
    pub fn client(&self) -> &kube::Client {
        self.cluster.client()
    }

    /// The objects of a path, which do not say what they are; `None`: there is no such API.
    pub async fn list(&self, path: &str) -> Result<Option<Vec<Value>>> {
        let Some(mut list) = self.get(path).await? else {
            return Ok(None);
        };
        Ok(list["items"].as_array_mut().map(std::mem::take))
    }

    /// An object; `None`: it is not there.
    pub async fn get(&self, path: &str) -> Result<Option<Value>> {
        let request = http::Request::get(path).body(Vec::new())?;
        match self.client().request::<Value>(request).await {
            Ok(value) => Ok(Some(value)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(kube::Error::Api(status)) => bail!("{path} cannot be read: {}", status.message),
            Err(error) => Err(error).with_context(|| format!("{path} cannot be read")),
        }
    }
}

/// An item of a list, saying what it is.
pub fn as_kind(mut object: Value, version: &str, kind: &str) -> Value {
    object["apiVersion"] = version.into();
    object["kind"] = kind.into();
    object
}
