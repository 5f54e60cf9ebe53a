//! Objects as the API server keeps them, once and whole: for who judges more of them than
//! decides about packets.

use super::Kubernetes;
use anyhow::Context;
use kube::api::ListParams;
use kube::core::Request;
use ringfence_policy::snapshot::Kind;
use serde_json::Value;

/// Objects per page.
const PAGE: u32 = 500;

impl Kubernetes {
    /// All objects of a kind, in every namespace, with `apiVersion` and `kind` filled in.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn list(&self, kind: Kind) -> anyhow::Result<Vec<Value>> {
        let version = match kind {
            Kind::NetworkPolicy => "networking.k8s.io/v1",
            Kind::Pod | Kind::Namespace | Kind::Node | Kind::Service => "v1",
        };
        let root = if kind == Kind::NetworkPolicy {
            "apis"
        } else {
            "api"
        };
        let request = Request::new(format!("/{root}/{version}/{}", kind.plural()));
        let mut params = ListParams::default().limit(PAGE);
        let mut objects = Vec::new();
        loop {
            let context = || format!("cannot read {} of {}", kind.plural(), self.address);
            let ask = request.list(&params).with_context(context)?;
            let mut page: Value = self.client.request(ask).await.with_context(context)?;
            if let Value::Array(items) = page["items"].take() {
                // Items of a list do not say what they are.
                objects.extend(items.into_iter().map(|mut item| {
                    item["apiVersion"] = version.into();
                    item["kind"] = kind.as_str().into();
                    item
                }));
            }
            match page["metadata"]["continue"].as_str() {
                Some(token) if !token.is_empty() => params = params.continue_token(token),
                _ => return Ok(objects),
            }
        }
    }
}
