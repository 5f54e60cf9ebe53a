//! What the keeper asks of the API server.

use super::{Configuration, Contents, Edit, Hook, Probe, Proof, Settings, hooks};
use crate::failure::explain;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::client::Body;
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// Who owns the fields that we write.
const MANAGER: &str = "ringfence-controller";
/// Both hooks may take their 5 s; more means that somebody does not answer at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of what the API server says to a probe, at most this much is repeated.
const MAX_REASON: usize = 300;

/// The API server, and the names of what is ours there.
#[derive(Clone)]
pub struct Server {
    client: Client,
    secrets: Api<Secret>,
    secret: String,
    configurations: [Api<DynamicObject>; 2],
    configuration: String,
    probe_namespace: String,
}

/// What became of a write.
#[derive(Debug)]
pub enum Written<T> {
    /// It is in; this is what stands there now.
    Yes(T),
    /// What we looked at is no longer there: look again.
    Conflict,
    /// It is not in, and why.
    Failed(String),
}

// === impl Server ===

impl Server {
    /// With the names of `settings`.
    pub fn new(client: Client, settings: &Settings) -> Self {
        let kinds = Hook::ALL.map(|hook| match hook {
            Hook::Mutate => ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            Hook::Validate => ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
        });
        let secret = settings.certificates.as_ref().map(|c| c.secret.clone());
        Self {
            secrets: Api::namespaced(client.clone(), &settings.namespace),
            secret: secret.unwrap_or_default(),
            configurations: kinds.map(|kind| Api::all_with(client.clone(), &kind)),
            configuration: settings.configuration.clone(),
            probe_namespace: settings.probe_namespace.clone(),
            client,
        }
    }

    /// Secrets of our namespace.
    pub fn secrets(&self) -> &Api<Secret> {
        &self.secrets
    }

    /// The Secret's name.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Configurations of one kind.
    pub fn configurations(&self, hook: Hook) -> &Api<DynamicObject> {
        match hook {
            Hook::Mutate => &self.configurations[0],
            Hook::Validate => &self.configurations[1],
        }
    }

    /// The configurations' name.
    pub fn configuration(&self) -> &str {
        &self.configuration
    }

    /// Creates or replaces the Secret, as it was seen.
    pub async fn write_secret(
        &self,
        before: Option<&Secret>,
        contents: &Contents,
    ) -> Written<Secret> {
        let mut secret = before.cloned().unwrap_or_default();
        secret.metadata.name = Some(self.secret.clone());
        secret.metadata.managed_fields = None;
        contents.write(&mut secret);
        let post = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let request = async {
            match before {
                Some(_) => self.secrets.replace(&self.secret, &post, &secret).await,
                None => self.secrets.create(&post, &secret).await,
            }
        };
        written(request).await
    }

    /// Patches a configuration, as it was seen.
    pub async fn write_configuration(
        &self,
        seen: &Configuration,
        edits: &[Edit],
    ) -> Written<DynamicObject> {
        let patch = match hooks::patch(seen, edits) {
            Ok(patch) => patch,
            Err(error) => return Written::Failed(error.to_string()),
        };
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = self.configurations(seen.hook);
        let patch = Patch::Json::<()>(patch);
        written(api.patch(&self.configuration, &parameters, &patch)).await
    }

    /// Creates a probe, dry, and listens for who was called.
    ///
    /// # Errors
    /// Nobody was, and the API server says why; or it does not answer.
    pub async fn probe(&self, probe: &Probe) -> Result<Proof, String> {
        let path = format!(
            "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies?dryRun=All&fieldManager={MANAGER}",
            self.probe_namespace
        );
        let body = probe.policy().to_string().into_bytes();
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        let request = request.body(Body::from(body)).map_err(|e| e.to_string())?;
        let answer = timeout(PATIENCE, self.client.send(request)).await;
        let answer = answer.map_err(|_| format!("no answer within {PATIENCE:?}"))?;
        let answer = answer.map_err(|e| explain(&e))?;
        let proof = probe.heard(answer.headers());
        if answer.status().is_success() || proof != Proof::default() {
            return Ok(proof);
        }
        Err(reason(answer).await.replace(probe.nonce(), "..."))
    }
}

async fn written<T>(request: impl Future<Output = kube::Result<T>>) -> Written<T> {
    match timeout(PATIENCE, request).await {
        Ok(Ok(object)) => Written::Yes(object),
        // 422: a test of the patch failed. 404: deleted meanwhile.
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Written::Conflict,
        Ok(Err(kube::Error::Api(status))) if is_stale(&status) => Written::Conflict,
        Ok(Err(error)) => Written::Failed(explain(&error)),
        Err(_) => Written::Failed(format!("no answer within {PATIENCE:?}")),
    }
}

/// A failed `test` of a JSON Patch, or an object (and not its namespace) that is gone.
fn is_stale(status: &kube::core::Status) -> bool {
    let details = status.details.as_ref();
    match status.code {
        404 => details.is_none_or(|d| d.kind != "namespaces"),
        422 => details.is_none_or(|d| d.name.is_empty()),
        _ => false,
    }
}

async fn reason(answer: Response<Body>) -> String {
    let code = answer.status();
    let bytes = answer.into_body().collect_bytes().await.unwrap_or_default();
    let status: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let message = status["message"].as_str().unwrap_or_default();
    format!(
        "{code}: {}",
        message.chars().take(MAX_REASON).collect::<String>()
    )
}
