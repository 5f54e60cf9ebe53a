//! What isolation asks of the API server.

use super::MANAGER;
use crate::failure::explain;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use ringfence_api::NamespaceIsolation;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
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

    /// Turns for what may wait: as many as statuses are written at once, and shared with them.
    pub fn turns(&self) -> Arc<Semaphore> {
        Arc::clone(&self.statuses)
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

    /// Writes the status that an object carries, beside whatever has become of its other
    /// fields since it was seen; the object as it is then.
    pub async fn status<K>(&self, object: &K) -> Result<K, Refusal>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Serialize
            + DeserializeOwned
            + Debug,
    {
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<K> = Api::namespaced(self.client.clone(), &namespace);
        let name = object.name_any();
        // Nobody closes it.
        let _turn = self.statuses.acquire().await;
        // A replacement is less work for the API server than a patch, which it would have to
        // carry out; thousands are written when a controller starts.
        let parameters = PostParams {
            field_manager: Some(CONTROLLER.to_owned()),
            ..PostParams::default()
        };
        match asked(api.replace_status(&name, &parameters, object)).await {
            // What another writes into other fields at the same time is no reason to wait.
            Err(Refusal::Changed(_)) => {}
            answer => return answer,
        }
        let parameters = PatchParams {
            field_manager: Some(CONTROLLER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Json::<()>(only_status(object)?);
        asked(api.patch_status(&name, &parameters, &patch)).await
    }
}

/// Replaces a status, whatever stands there.
fn only_status(object: &impl Serialize) -> Result<json_patch::Patch, Refusal> {
    let patch = serde_json::to_value(object).and_then(|mut object| {
        let status = object["status"].take();
        serde_json::from_value(json!([{"op": "add", "path": "/status", "value": status}]))
    });
    patch.map_err(|error| Refusal::Failed(error.to_string()))
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
    use http::{Method, Request, Response};
    use kube::client::Body;
    use kube::core::Status;
    use ringfence_api::IsolationRule;
    use std::sync::Mutex;
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

    fn rule(version: &str, status: &Value) -> Value {
        json!({
            "apiVersion": "ringfence.dev/v1alpha1", "kind": "IsolationRule",
            "metadata": {"namespace": "own", "name": "a", "resourceVersion": version},
            "spec": {"direction": "Ingress", "peer": {"namespace": "friend"}},
            "status": status,
        })
    }

    type Sent = Arc<Mutex<Vec<(Method, Value)>>>;

    /// A client of a server that has the rule in version 2, and what was sent to it.
    fn server() -> (Client, Sent) {
        let sent = Sent::default();
        let log = sent.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let log = log.clone();
            async move {
                let (parts, body) = request.into_parts();
                assert!(
                    parts
                        .uri
                        .path()
                        .ends_with("/namespaces/own/isolationrules/a/status")
                );
                let body: Value = serde_json::from_slice(&body.collect_bytes().await?)?;
                let old = parts.method == Method::PUT && body["metadata"]["resourceVersion"] != "2";
                log.lock().unwrap().push((parts.method, body));
                let answer = if old {
                    json!({"kind": "Status", "status": "Failure", "message": "no", "code": 409})
                } else {
                    rule("3", &json!({"peer": "friend"}))
                };
                let body = Body::from(serde_json::to_vec(&answer)?);
                let code = if old { 409 } else { 200 };
                Ok::<_, tower::BoxError>(Response::builder().status(code).body(body)?)
            }
        });
        (Client::new(service, "own"), sent)
    }

    #[test_case("2", &[Method::PUT]; "the version that is there")]
    #[test_case("1", &[Method::PUT, Method::PATCH]; "somebody was faster")]
    #[tokio::test]
    async fn a_status_is_written_whoever_else_writes(version: &str, methods: &[Method]) {
        let (client, sent) = server();
        let status = json!({"peer": "friend"});
        let object: IsolationRule = serde_json::from_value(rule(version, &status)).unwrap();
        let written = Server::new(client).status(&object).await.unwrap();
        assert_eq!(written.resource_version().as_deref(), Some("3"));
        let sent = sent.lock().unwrap();
        assert!(sent.iter().map(|(method, _)| method).eq(methods));
        if let Some((Method::PATCH, patch)) = sent.last() {
            let expected = json!([{"op": "add", "path": "/status", "value": status}]);
            assert_eq!(*patch, expected, "and nothing else of the object");
        }
    }
}
