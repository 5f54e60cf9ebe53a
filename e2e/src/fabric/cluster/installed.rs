//! What of Ringfence is installed in a cluster besides its enforcers, and what people type
//! there.

use super::lab::{Lab, SYSTEM};
use crate::admission::{CONFIG, HEALTH_PORT as WEBHOOK_HEALTH, Said};
use crate::case::policy;
use crate::objects::{Mark, Reference};
use crate::patience::eventually;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

/// What every overlay calls the webhook, its configuration and its registration.
const WEBHOOK: &str = "ringfence-webhook";
const REGISTRATION: &str = "ringfence";
const CONTROLLER: &str = "ringfence-controller";

/// What is installed.
#[derive(Clone, Debug, Default)]
pub struct Installed {
    controller: bool,
    /// `IsolationConfig default` of somebody else's.
    isolation_config: bool,
    /// `config.yaml` of the webhook that is registered.
    webhook: Option<String>,
}

impl Installed {
    /// Asks the API server.
    pub(super) async fn find(client: &Client) -> Result<Self> {
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), SYSTEM);
        let controller = deployments.get_opt(CONTROLLER).await;
        let controller = controller.context("looking for the controller")?.is_some();
        let registrations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
        let registered = registrations.get_opt(REGISTRATION).await;
        let registered = registered.context("looking for the webhook")?.is_some();
        let configurations: Api<ConfigMap> = Api::namespaced(client.clone(), SYSTEM);
        let found = configurations.get_opt(WEBHOOK).await;
        let found = found.context("reading the webhook's configuration")?;
        let text = found.and_then(|map| map.data?.remove("config.yaml"));
        Ok(Self {
            controller,
            isolation_config: controller && has_isolation_config(client).await?,
            webhook: registered.then(|| text.unwrap_or_default()),
        })
    }

    /// Whether policies go through a webhook on their way.
    pub fn has_webhook(&self) -> bool {
        self.webhook.is_some()
    }

    /// Whether objects of isolation are listened to.
    pub fn has_controller(&self) -> bool {
        self.controller
    }

    /// Why the webhook cannot be shown here.
    pub fn hides_webhook(&self) -> Option<String> {
        let Some(text) = &self.webhook else {
            return Some("needs the webhook, which is not installed".into());
        };
        let same = settings(text).is_ok_and(|found| settings(CONFIG).is_ok_and(|own| own == found));
        (!same).then(|| {
            format!(
                "needs a webhook with {:?}; ConfigMap {SYSTEM}/{WEBHOOK} says something else",
                CONFIG.trim()
            )
        })
    }

    /// Why this object of isolation cannot be applied here.
    pub fn hides_isolation(&self, object: &Reference) -> Option<String> {
        if !self.controller {
            return Some("needs the controller, which is not installed".into());
        }
        (self.isolation_config && object.kind == "IsolationConfig")
            .then(|| format!("would take the place of the cluster's own {object}"))
    }
}

/// Kinds of isolation, in the order in which they are deleted: what isolates goes first.
pub(super) const FENCES: [&str; 3] = ["NamespaceIsolation", "IsolationRule", "IsolationConfig"];

/// A kind of isolation.
pub(super) fn fences(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("ringfence.dev", "v1alpha1", kind))
}

async fn has_isolation_config(client: &Client) -> Result<bool> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &fences("IsolationConfig"));
    let found = api.get_opt("default").await;
    let found = found.context("looking for IsolationConfig default")?;
    Ok(found.is_some_and(|config| super::pods::is_foreign(&config)))
}

/// What a configuration says, without what goes without saying.
fn settings(yaml: &str) -> Result<Value> {
    let read: Option<Value> = serde_saphyr::from_str(yaml).context("the webhook's config.yaml")?;
    let mut read = read.unwrap_or_default();
    if let Some(fields) = read.as_object_mut() {
        fields.retain(|key, value| match key.as_str() {
            "apiVersion" | "kind" => false,
            "profile" => value != "baseline",
            _ => true,
        });
    }
    Ok(read)
}

/// kubectl, as whoever owns the kubeconfig; `input` goes to its standard input (`-f -`).
pub(super) fn kubectl(lab: &Lab, args: &[&str], input: &str) -> Result<Said> {
    let mut command = Command::new("kubectl");
    if let Some(kubeconfig) = lab.kubeconfig() {
        command.arg("--kubeconfig").arg(kubeconfig);
    }
    command.args(args).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting kubectl")?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading its input says why in its status.
        let _ = stdin.write_all(input.as_bytes());
    }
    Said::of(&child.wait_with_output().context("waiting for kubectl")?)
}

/// Waits until the API server refuses by the webhook what must be refused.
pub(super) fn wait_for_webhook(lab: &Lab) -> Result<()> {
    let spec = "{podSelector: {}, policyTypes: [Ingress], egress: [{}]}";
    let mixed = policy("default/is-anybody-there", spec);
    eventually("the webhook is asked, and answers", || {
        let said = kubectl(lab, &["create", "--dry-run=server", "-f", "-"], &mixed)?;
        said.refused(&["types-mismatch"]).map(|_| true)
    })
}

/// Waits until every replica of the webhook, where there are any, judges by everything up to
/// `mark`. What it says comes through the API server: a node's own way to a pod may be shut.
pub(super) fn wait_judged(lab: &Lab, mark: &Mark) -> Result<()> {
    if !lab.installed().has_webhook() {
        return Ok(());
    }
    let pods: Api<Pod> = Api::namespaced(lab.client().clone(), SYSTEM);
    let selected = ListParams::default().labels(&format!("app.kubernetes.io/name={WEBHOOK}"));
    eventually(&format!("the webhook judges by {mark:?}"), || {
        lab.block_on(async {
            for pod in pods.list(&selected).await?.items {
                // One that ends is asked nothing any more.
                if pod.metadata.deletion_timestamp.is_some() {
                    continue;
                }
                let name = pod.name_any();
                let page = format!(
                    "{}/{name}:{WEBHOOK_HEALTH}/proxy/generation",
                    Pod::url_path(&(), Some(SYSTEM))
                );
                let said = lab
                    .client()
                    .request_text(http::Request::get(page).body(Vec::new())?);
                let said = said.await.with_context(|| format!("asking {name}"))?;
                ensure!(mark.is_reached(&said), "/generation of {name} says {said}");
            }
            Ok(true)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    const SHIPPED: &str =
        "apiVersion: ringfence.dev/v1alpha1\nkind: CheckConfiguration\nprofile: baseline\n";

    fn with(webhook: Option<String>) -> Installed {
        Installed {
            webhook,
            ..Installed::default()
        }
    }

    #[test_case(None => Some("is not installed".to_owned()); "no webhook")]
    #[test_case(Some(SHIPPED.into()) => Some("says something else".to_owned()); "as shipped")]
    #[test_case(Some(format!("{SHIPPED}{CONFIG}")) => None; "as the cases want it")]
    #[test_case(Some(format!("{CONFIG}profile: strict\n")) => Some("says something else".to_owned()); "stricter")]
    #[test_case(Some("{".into()) => Some("says something else".to_owned()); "no YAML")]
    fn a_webhook_that_can_be_shown(webhook: Option<String>) -> Option<String> {
        let reason = with(webhook).hides_webhook()?;
        let words = ["is not installed", "says something else"];
        let word = words.into_iter().find(|word| reason.contains(word));
        Some(word.unwrap_or(&reason).to_owned())
    }

    #[test]
    fn a_clusters_own_configuration_of_isolation_stays() {
        let reference = |kind: &str| Reference {
            kind: kind.into(),
            namespace: String::new(),
            name: "default".into(),
        };
        let mut installed = Installed {
            controller: true,
            ..Installed::default()
        };
        assert_eq!(
            installed.hides_isolation(&reference("IsolationConfig")),
            None
        );
        installed.isolation_config = true;
        assert!(
            installed
                .hides_isolation(&reference("IsolationConfig"))
                .is_some()
        );
        assert_eq!(installed.hides_isolation(&reference("IsolationRule")), None);
        installed.controller = false;
        assert!(
            installed
                .hides_isolation(&reference("IsolationRule"))
                .is_some()
        );
    }
}
