//! What the doctor has seen of a cluster, before anybody judges it.

use super::isolation::Isolation;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};

/// Something that was asked for: what came, or why not in the API server's words.
pub type Asked<T> = Result<T, String>;

/// Everything.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Where Ringfence is installed.
    pub namespace: String,
    /// All nodes.
    pub nodes: Asked<Vec<Node>>,
    /// The enforcer's pods, with what each said of itself.
    pub agents: Asked<Vec<Agent>>,
    /// Every `DaemonSet`: other enforcers are among them.
    pub daemon_sets: Asked<Vec<DaemonSet>>,
    /// kube-proxy's configuration as kubeadm keeps it; `None` where there is none.
    pub kube_proxy: Asked<Option<ConfigMap>>,
    /// Ours, when they are installed.
    pub validating: Asked<Option<ValidatingWebhookConfiguration>>,
    /// Ours, when they are installed.
    pub mutating: Asked<Option<MutatingWebhookConfiguration>>,
    /// The webhook's and the controller's.
    pub deployments: Asked<Vec<Deployment>>,
    /// Which of `validate` and `mutate` answered a question that went through the API
    /// server; not asked where nothing is registered.
    pub answered: Option<Asked<Vec<&'static str>>>,
    /// What packets showed; not asked with `--no-probe`.
    pub isolation: Option<Asked<Isolation>>,
    /// Seconds since the epoch.
    pub now: i64,
}

/// The enforcer on one node.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its pod.
    pub pod: Pod,
    /// `/readyz`: nothing, or why it is not.
    pub ready: Asked<Option<String>>,
    /// `/generation`.
    pub generation: Asked<serde_json::Value>,
    /// `/metrics`.
    pub metrics: Asked<String>,
}
