//! Where the programs are, and the flags that each is started with.

use super::Options;
use super::certificates::Certificates;
use super::identity::{Credentials, Identity};
use anyhow::{Result, bail};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// etcd's address: loopback of the control machine's namespace.
pub const ETCD: &str = "127.0.0.1:2379";
const ETCD_PEERS: &str = "http://127.0.0.1:2380";

/// What `make controlplane` builds.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    const NAMES: [&'static str; 5] = [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kubectl",
    ];

    /// The programs in `folder`.
    ///
    /// # Errors
    /// When one is missing; the message says which, and how to build it.
    pub fn find(folder: &Path) -> Result<Self> {
        for name in Self::NAMES {
            if !folder.join(name).is_file() {
                bail!(
                    "{} is missing: run `make controlplane` (needs Go)",
                    folder.join(name).display()
                );
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// For tests: the programs in `$CONTROLPLANE_BIN`, or those of `make controlplane`.
    /// `None`, and a line that says so: they are not there.
    ///
    /// # Errors
    /// They are not there although `CI` is set: a test must not be skipped silently.
    pub(super) fn for_tests() -> Result<Option<Self>> {
        let folder = std::env::var_os("CONTROLPLANE_BIN").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/controlplane"),
            PathBuf::from,
        );
        match Self::find(&folder) {
            Ok(programs) => Ok(Some(programs)),
            Err(error) if std::env::var_os("CI").is_some() => Err(error),
            Err(error) => {
                println!("skipped: {error:#}");
                Ok(None)
            }
        }
    }

    /// The path of one of them.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// etcd keeps everything in the run's private memory: nothing needs to survive.
pub fn etcd_flags(folder: &Path) -> Vec<String> {
    let client = format!("http://{ETCD}");
    vec![
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={ETCD_PEERS}"),
        format!("--initial-advertise-peer-urls={ETCD_PEERS}"),
        format!("--initial-cluster=default={ETCD_PEERS}"),
        "--unsafe-no-fsync".into(),
        "--log-level=error".into(),
    ]
}

/// kube-apiserver. Pods need no token, so the `ServiceAccount` admission plugin, which
/// would wait for each namespace's account, is off; everything else is as on a cluster.
pub fn apiserver_flags(
    folder: &Path,
    address: SocketAddr,
    options: &Options,
    certificates: &Certificates,
    credentials: &Credentials,
) -> Vec<String> {
    let cidrs: Vec<String> = options
        .service_cidrs
        .iter()
        .map(ToString::to_string)
        .collect();
    vec![
        format!("--etcd-servers=http://{ETCD}"),
        "--bind-address=0.0.0.0".into(),
        format!("--advertise-address={}", address.ip()),
        format!("--secure-port={}", address.port()),
        format!("--cert-dir={}", folder.display()),
        format!("--tls-cert-file={}", certificates.server.display()),
        format!(
            "--tls-private-key-file={}",
            certificates.server_key.display()
        ),
        format!("--token-auth-file={}", credentials.tokens_file.display()),
        "--allow-privileged=true".into(),
        "--anonymous-auth=false".into(),
        "--authorization-mode=RBAC".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!(
            "--service-account-key-file={}",
            certificates.accounts_public.display()
        ),
        format!(
            "--service-account-signing-key-file={}",
            certificates.accounts_key.display()
        ),
        format!("--service-cluster-ip-range={}", cidrs.join(",")),
        // Webhooks are called at their endpoints: there is no kube-proxy on this machine.
        "--enable-aggregator-routing=true".into(),
        "--disable-admission-plugins=ServiceAccount".into(),
        "--endpoint-reconciler-type=none".into(),
    ]
}

/// Go's collector takes a quarter of what this API server does when it runs as often as by
/// default; here the two cores it shares with all others are short, and memory is not.
pub fn go_memory() -> [(String, String); 2] {
    [("GOGC", "400"), ("GOMEMLIMIT", "2GiB")].map(|(name, value)| (name.into(), value.into()))
}

/// kube-controller-manager, without the controllers that would doubt nodes which nobody
/// runs a kubelet on.
pub fn controller_manager_flags(
    certificates: &Certificates,
    credentials: &Credentials,
) -> Vec<String> {
    let kubeconfig = credentials.kubeconfig(Identity::ControllerManager);
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--leader-elect=false".into(),
        "--controllers=*,-node-lifecycle-controller,-node-ipam-controller,-node-route-controller,\
         -taint-eviction-controller"
            .into(),
        "--use-service-account-credentials".into(),
        format!(
            "--service-account-private-key-file={}",
            certificates.accounts_key.display()
        ),
        format!("--root-ca-file={}", certificates.ca.display()),
        "--secure-port=0".into(),
        "--kube-api-qps=500".into(),
        "--kube-api-burst=1000".into(),
    ]
}
