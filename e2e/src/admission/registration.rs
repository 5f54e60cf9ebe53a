//! What the manifests put into the API server, as far as the webhook needs it.

use crate::controlplane::ApiServer;
use crate::objects::documents;
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// A file below `manifests/base`.
macro_rules! manifest {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../manifests/base/",
            $name
        ))
    };
}

const RIGHTS: [&str; 3] = [
    manifest!("namespace.yaml"),
    manifest!("webhook/rbac.yaml"),
    manifest!("webhook/service.yaml"),
];
const CONTROLLER: [&str; 2] = [manifest!("probe.yaml"), manifest!("controller/rbac.yaml")];
const CONFIGURATIONS: &str = manifest!("webhook/configurations.yaml");
/// Somebody of a team: what most clusters give to the owners of a namespace.
const TENANT: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: tenant}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: team}]
";

/// The namespace, the webhook's rights and its Service; and kube-proxy's configuration as
/// kubeadm keeps it, which checks look at.
pub fn install(server: &mut ApiServer, masquerade_all: bool) -> Result<()> {
    let kube_proxy = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "kube-system", "name": "kube-proxy"},
        "data": {"config.conf": format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
             iptables: {{masqueradeAll: {masquerade_all}}}\n"
        )},
    });
    server.install(&kube_proxy)?;
    for text in RIGHTS.into_iter().chain([TENANT]) {
        for object in documents(text, "default")? {
            server.install(&object)?;
        }
    }
    Ok(())
}

/// Both configurations, with this CA; `failurePolicy` as shipped unless something else is
/// given for the entries about policies.
pub fn register(server: &mut ApiServer, ca: &str, failure_policy: Option<&str>) -> Result<()> {
    for mut object in configurations()? {
        let hooks = object["webhooks"].as_array_mut();
        for hook in hooks.context("a configuration without webhooks")? {
            hook["clientConfig"]["caBundle"] = ca.into();
            let name = hook["name"].as_str().unwrap_or_default();
            if let Some(policy) = failure_policy.filter(|_| name.starts_with("policies.")) {
                hook["failurePolicy"] = policy.into();
            }
        }
        server.install(&object)?;
    }
    Ok(())
}

/// What the controller needs besides.
pub fn install_controller(server: &mut ApiServer) -> Result<()> {
    for text in CONTROLLER {
        for object in documents(text, "default")? {
            server.install(&object)?;
        }
    }
    Ok(())
}

/// Both configurations as shipped.
pub fn configurations() -> Result<Vec<Value>> {
    documents(CONFIGURATIONS, "default")
}
