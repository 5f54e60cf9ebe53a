//! What the scan asks of the API server: reports, of one of two kinds.

use super::report::{LABEL, NAME};
use crate::failure::explain;
use kube::Client;
use kube::api::{
    Api as Kube, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch,
    PatchParams,
};
use ringfence_policy::model::Name;
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// Who writes.
const MANAGER: &str = "ringfence-controller";
/// A server that does not answer for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Reports in a page.
const PAGE: u32 = 500;

/// Which reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `openreports.io/v1alpha1 Report`
    OpenReports,
    /// `wgpolicyk8s.io/v1alpha2 PolicyReport`
    PolicyReports,
}

/// The API server.
#[derive(Clone)]
pub struct Server {
    client: Client,
    api: Api,
    resource: ApiResource,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The server does not know the kind: its CRD is not installed.
    Missing(&'static str),
    /// The namespace is gone or going.
    Gone,
    /// Anything else, in words.
    Failed(String),
}

// === impl Api ===

impl Api {
    /// `apiVersion`
    pub fn version(self) -> &'static str {
        match self {
            Self::OpenReports => "openreports.io/v1alpha1",
            Self::PolicyReports => "wgpolicyk8s.io/v1alpha2",
        }
    }

    /// `kind`
    pub fn kind(self) -> &'static str {
        match self {
            Self::OpenReports => "Report",
            Self::PolicyReports => "PolicyReport",
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::OpenReports => "reports",
            Self::PolicyReports => "policyreports",
        }
    }

    fn crd(self) -> &'static str {
        match self {
            Self::OpenReports => "CRD reports.openreports.io",
            Self::PolicyReports => "CRD policyreports.wgpolicyk8s.io",
        }
    }
}

// === impl Server ===

impl Server {
    /// With a client.
    pub fn new(client: Client, api: Api) -> Self {
        let (group, version) = api.version().split_once('/').unwrap_or(("", api.version()));
        let kind = GroupVersionKind::gvk(group, version, api.kind());
        Self {
            client,
            api,
            resource: ApiResource::from_gvk_with_plural(&kind, api.plural()),
        }
    }

    /// Which reports it writes.
    pub fn api(&self) -> Api {
        self.api
    }

    /// The namespaces in which there is one of ours.
    pub async fn existing(&self) -> Result<Vec<Name>, Refusal> {
        let all: Kube<DynamicObject> = Kube::all_with(self.client.clone(), &self.resource);
        let (key, value) = LABEL;
        let mut params = ListParams::default()
            .labels(&format!("{key}={value}"))
            .limit(PAGE);
        let mut namespaces = Vec::new();
        loop {
            // Of reports only their places matter.
            let list = self.asked(all.list_metadata(&params)).await;
            let page = list.map_err(|refusal| match refusal {
                Refusal::Gone => Refusal::Missing(self.api.crd()),
                other => other,
            })?;
            let ours = page
                .items
                .into_iter()
                .filter(|report| report.metadata.name.as_deref() == Some(NAME));
            namespaces
                .extend(ours.filter_map(|report| Some(Name::from(report.metadata.namespace?))));
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => params = params.continue_token(&token),
                _ => return Ok(namespaces),
            }
        }
    }

    /// Writes a report.
    pub async fn apply(&self, namespace: &str, report: &Value) -> Result<(), Refusal> {
        let params = PatchParams::apply(MANAGER).force();
        let reports = self.reports(namespace);
        let patch = Patch::Apply(report);
        self.asked(reports.patch(NAME, &params, &patch))
            .await
            .map(drop)
    }

    /// Takes a report away.
    pub async fn delete(&self, namespace: &str) -> Result<(), Refusal> {
        let reports = self.reports(namespace);
        let params = DeleteParams::default();
        self.asked(reports.delete(NAME, &params)).await.map(drop)
    }

    fn reports(&self, namespace: &str) -> Kube<DynamicObject> {
        Kube::namespaced_with(self.client.clone(), namespace, &self.resource)
    }

    async fn asked<T>(
        &self,
        question: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Refusal> {
        match timeout(PATIENCE, question).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(Refusal::Gone),
            // A namespace that terminates takes no new objects.
            Ok(Err(kube::Error::Api(status)))
                if status.code == 403 && status.message.contains("is being terminated") =>
            {
                Err(Refusal::Gone)
            }
            Ok(Err(error)) => Err(Refusal::Failed(explain(&error))),
            Err(_) => Err(Refusal::Failed(format!("no answer within {PATIENCE:?}"))),
        }
    }
}
