//! What isolation asks of the API server.

use super::MANAGER;
use crate::failure::explain;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use ringfence_api::NamespaceIsolation;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Who writes statuses and the objects of `KubeSphere`'s annotation.
const CONTROLLER: &str = "ringfence-controller";
/// A write may pass through two webhooks of 3 s.
const PATIENCE: Duration = Duration::from_secs(15);

/// Statuses that are written at once, of all namespaces: the API server has others to serve.
pub const STATUSES: usize = 16;

/// The API server; clones share it.
#[derive(Clone)]
pub struct Server {
    client: Client,
    statuses: Arc<Semaphore>,
}

/// Why a write did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The namespace, or the object, is gone or going: nothing to do any more.
    Gone,
    /// What we looked at has changed meanwhile: look again.
    Changed(String),
    /// Anything else, in words.
    Failed(String),
}

// === impl Server ===

impl Server {
    /// With a client.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            statuses: Arc::new(Semaphore::new(STATUSES)),
        }
    }

    fn policies(&self, namespace: &str) -> Api<DynamicObject> {
        let kind = ApiResource::erase::<NetworkPolicy>(&());
        Api::namespaced_with(self.client.clone(), namespace, &kind)
    }

    /// Writes a policy of ours. `ours`: it is there and ours, so that our fields win over
    /// whoever changed them. A new one never takes fields from somebody else's of that name.
    pub async fn apply(
        &self,
        namespace: &str,
        name: &str,
        object: &Value,
        ours: bool,
    ) -> Result<DynamicObject, Refusal> {
        let mut parameters = PatchParams::apply(MANAGER);
        parameters.force = ours;
        let policies = self.policies(namespace);
        asked(policies.patch(name, &parameters, &Patch::Apply(object))).await
    }

    /// Deletes a policy of ours as it was seen.
    pub async fn delete(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        version: &str,
    ) -> Result<(), Refusal> {
        let parameters = seen(uid, version);
        asked(self.policies(namespace).delete(name, &parameters))
            .await
            .map(drop)
    }

    /// Creates a `NamespaceIsolation`.
    pub async fn create(&self, isolation: &NamespaceIsolation) -> Result<(), Refusal> {
        let namespace = isolation.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<NamespaceIsolation> = Api::namespaced(self.client.clone(), namespace);
        let parameters = PostParams {
            field_manager: Some(CONTROLLER.to_owned()),
            ..PostParams::default()
        };
        asked(api.create(&parameters, isolation)).await.map(drop)
    }

    /// Deletes a `NamespaceIsolation` as it was seen.
    pub async fn remove(&self, namespace: &str, uid: &str, version: &str) -> Result<(), Refusal> {
        let api: Api<NamespaceIsolation> = Api::namespaced(self.client.clone(), namespace);
        let parameters = seen(uid, version);
        asked(api.delete(ringfence_api::SINGLETON, &parameters))
            .await
            .map(drop)
    }

    /// Replaces the fields of a status that stand in `status`.
    pub async fn status<K>(&self, namespace: &str, name: &str, status: &Value) -> Result<K, Refusal>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let parameters = PatchParams {
            field_manager: Some(CONTROLLER.to_owned()),
            ..PatchParams::default()
        };
        // Nobody closes it.
        let _turn = self.statuses.acquire().await;
        asked(api.patch_status(name, &parameters, &Patch::Merge(status))).await
    }
}

fn seen(uid: &str, version: &str) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: Some(version.to_owned()),
    })
}

async fn asked<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Refusal> {
    match timeout(PATIENCE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(refusal(&error)),
        Err(_) => Err(Refusal::Failed(format!("no answer within {PATIENCE:?}"))),
    }
}

fn refusal(error: &kube::Error) -> Refusal {
    let text = explain(error);
    let kube::Error::Api(status) = error else {
        return Refusal::Failed(text);
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let terminating = causes
        .into_iter()
        .any(|c| c.reason == "NamespaceTerminating");
    match status.code {
        404 => Refusal::Gone,
        403 if terminating => Refusal::Gone,
        409 => Refusal::Changed(text),
        _ => Refusal::Failed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;
    use test_case::test_case;

    fn api(code: u16, cause: &str) -> kube::Error {
        let status = serde_json::json!({
            "status": "Failure", "message": "no", "code": code,
            "details": {"causes": [{"reason": cause, "message": "it is", "field": "metadata.namespace"}]},
        });
        let status: Status = serde_json::from_value(status).unwrap();
        kube::Error::Api(Box::new(status))
    }

    #[test_case(404, "", &Refusal::Gone; "no namespace")]
    #[test_case(403, "NamespaceTerminating", &Refusal::Gone; "a terminating namespace")]
    #[test_case(403, "", &Refusal::Failed("no (403)".into()); "a missing right")]
    #[test_case(409, "", &Refusal::Changed("no (409)".into()); "a conflict")]
    fn refusals(code: u16, cause: &str, expected: &Refusal) {
        assert_eq!(refusal(&api(code, cause)), *expected);
    }
}
