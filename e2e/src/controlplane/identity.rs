//! Who talks to the API server: tokens, kubeconfigs, and the rights of each.

use anyhow::{Context, Result};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, PostParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A user of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// May do everything: the harness itself, in the role of kubelet and of people.
    Admin,
    /// kube-controller-manager, with the role that Kubernetes gives it.
    ControllerManager,
    /// kube-proxy, with the role that Kubernetes gives it.
    Proxy,
    /// The enforcer's service account, with the least rights that it needs
    /// (see [`enforcer_role`]).
    Enforcer,
    /// The webhook's service account, with the rights of its manifest.
    Webhook,
    /// The controller's service account, with the rights of its manifest.
    Controller,
    /// Somebody of a team: may edit policies and pods in every namespace, and is in no
    /// group of administrators.
    Tenant,
    /// Known, but without any right: to see what a program says about a missing role.
    Stranger,
}

impl Identity {
    /// Every identity.
    pub const ALL: [Self; 8] = [
        Self::Admin,
        Self::ControllerManager,
        Self::Proxy,
        Self::Enforcer,
        Self::Webhook,
        Self::Controller,
        Self::Tenant,
        Self::Stranger,
    ];

    /// The user's name in the API server.
    pub fn user(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::ControllerManager => "system:kube-controller-manager",
            Self::Proxy => "system:kube-proxy",
            Self::Enforcer => "system:serviceaccount:ringfence-system:ringfence-enforcer",
            Self::Webhook => "system:serviceaccount:ringfence-system:ringfence-webhook",
            Self::Controller => "system:serviceaccount:ringfence-system:ringfence-controller",
            Self::Tenant => "tenant",
            Self::Stranger => "system:serviceaccount:default:stranger",
        }
    }

    fn groups(self) -> &'static str {
        match self {
            Self::Admin => "system:masters",
            Self::ControllerManager | Self::Proxy => "",
            Self::Tenant => "team",
            Self::Enforcer | Self::Webhook | Self::Controller => {
                "system:serviceaccounts,system:serviceaccounts:ringfence-system"
            }
            Self::Stranger => "system:serviceaccounts,system:serviceaccounts:default",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Admin => "admin.kubeconfig",
            Self::ControllerManager => "controller-manager.kubeconfig",
            Self::Proxy => "proxy.kubeconfig",
            Self::Enforcer => "enforcer.kubeconfig",
            Self::Webhook => "webhook.kubeconfig",
            Self::Controller => "controller.kubeconfig",
            Self::Tenant => "tenant.kubeconfig",
            Self::Stranger => "stranger.kubeconfig",
        }
    }
}

/// The tokens of one control plane, random for each run, and its kubeconfigs.
#[derive(Debug)]
pub struct Credentials {
    /// For `--token-auth-file`.
    pub tokens_file: PathBuf,
    tokens: BTreeMap<Identity, String>,
    folder: PathBuf,
}

impl Credentials {
    /// Writes the token file and one kubeconfig for each identity.
    pub fn create(folder: &Path, server: &str, ca: &Path) -> Result<Self> {
        let mut tokens = BTreeMap::new();
        let mut table = String::new();
        for identity in Identity::ALL {
            let token = random_token()?;
            let (user, groups) = (identity.user(), identity.groups());
            let _ = writeln!(table, "{token},{user},{user},\"{groups}\"");
            let path = folder.join(identity.file());
            fs::write(&path, kubeconfig(server, ca, &token))
                .with_context(|| format!("writing {}", path.display()))?;
            tokens.insert(identity, token);
        }
        let tokens_file = folder.join("tokens.csv");
        fs::write(&tokens_file, table)
            .with_context(|| format!("writing {}", tokens_file.display()))?;
        Ok(Self {
            tokens_file,
            tokens,
            folder: folder.to_owned(),
        })
    }

    /// The bearer token of an identity.
    pub fn token(&self, identity: Identity) -> &str {
        &self.tokens[&identity]
    }

    /// The kubeconfig of an identity. It names the API server by its address on the node
    /// network, so it works on every node.
    pub fn kubeconfig(&self, identity: Identity) -> PathBuf {
        self.folder.join(identity.file())
    }
}

fn random_token() -> Result<String> {
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// JSON is YAML, and every reader of kubeconfigs takes it.
fn kubeconfig(server: &str, ca: &Path, token: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "e2e", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": "e2e", "user": {"token": token}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e"}}],
        "current-context": "e2e",
    })
    .to_string()
}

/// The enforcer's rights: it reads four kinds and writes Events, nothing else.
pub fn enforcer_role() -> Result<ClusterRole> {
    serde_json::from_value(json!({
        "metadata": {"name": "ringfence-enforcer"},
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["pods", "namespaces", "nodes"],
                "verbs": ["get", "list", "watch"],
            },
            {
                "apiGroups": ["networking.k8s.io"],
                "resources": ["networkpolicies"],
                "verbs": ["get", "list", "watch"],
            },
            {
                "apiGroups": ["", "events.k8s.io"],
                "resources": ["events"],
                "verbs": ["create", "patch"],
            },
        ],
    }))
    .context("the enforcer's ClusterRole")
}

/// Creates the enforcer's role and binds it to [`Identity::Enforcer`].
pub async fn grant(client: &kube::Client) -> Result<()> {
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "ringfence-enforcer"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "ringfence-enforcer",
        },
        "subjects": [{
            "kind": "ServiceAccount",
            "namespace": "ringfence-system",
            "name": "ringfence-enforcer",
        }],
    }))?;
    let post = PostParams::default();
    Api::all(client.clone())
        .create(&post, &enforcer_role()?)
        .await
        .context("creating the enforcer's ClusterRole")?;
    Api::all(client.clone())
        .create(&post, &binding)
        .await
        .context("creating the enforcer's ClusterRoleBinding")?;
    Ok(())
}
