//! A real control plane on the control machine of a world: etcd, kube-apiserver and
//! kube-controller-manager, and one real kube-proxy for each node. The harness itself
//! plays kubelet ([`Kubelet`]).
//!
//! ```text
//!   control machine                               node1
//!     etcd (loopback) <- kube-apiserver <--------   kube-proxy -> nat rules
//!                          ^      ^                 enforcer   (Identity::Enforcer)
//!     kube-controller-manager    harness (admin: ApiServer, Kubelet, scale::populate)
//! ```
//!
//! The programs are built by `make controlplane` (`e2e/controlplane`). They run in
//! namespaces of the world, keep everything in the run's private folder, and end with it.

mod api_server;
mod apply;
mod certificates;
mod client;
mod harness;
mod identity;
mod kubelet;
mod leads;
mod programs;
mod proxy;
pub mod scale;
mod services;

pub use api_server::ApiServer;
pub use apply::{Applier, ResourceVersion};
pub use client::connect;
pub use harness::test;
pub use identity::{Identity, enforcer_role};
pub use kubelet::Kubelet;
pub use leads::Leads;
pub use programs::Programs;
pub use proxy::{KubeProxy, ProxyMode, ProxyOptions};

use crate::fabric::{Node, Process};
use anyhow::{Context, Result, bail};
use certificates::Certificates;
use identity::Credentials;
use ipnet::IpNet;
use kube::Client;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a program may take until it answers. It takes 3 s; a machine that also
/// compiles takes longer.
const PATIENCE: Duration = Duration::from_mins(3);
/// Between two looks at something that is about to happen.
const LOOK: Duration = Duration::from_millis(25);

/// What a control plane is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The control machine's address, by which nodes reach the API server.
    pub address: IpAddr,
    /// Addresses of Services: one range, or one of each family.
    pub service_cidrs: Vec<IpNet>,
}

impl Options {
    /// Services in 10.96.0.0/16 and `fd00:10:96::/112`.
    pub fn new(address: IpAddr) -> Self {
        let v4 = IpNet::new_assert(Ipv4Addr::new(10, 96, 0, 0).into(), 16);
        let v6 = IpNet::new_assert([0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0].into(), 112);
        Self {
            address,
            service_cidrs: vec![v4, v6],
        }
    }
}

/// A running control plane. Dropping it ends its programs.
pub struct ControlPlane {
    // Ended in this order: nobody should log that its server has gone.
    controller_manager: Option<Process>,
    apiserver: Option<Process>,
    etcd: Process,
    programs: Programs,
    options: Options,
    address: SocketAddr,
    folder: PathBuf,
    certificates: Certificates,
    credentials: Credentials,
    admin: Client,
}

impl ControlPlane {
    /// Starts everything on the control machine and returns when the API server is ready
    /// and the enforcer has its rights.
    ///
    /// Must be called inside a tokio runtime. `control` must outlive what is returned.
    ///
    /// # Errors
    /// When a program ends or does not answer in time; the message has the end of its log.
    pub async fn start(programs: &Programs, control: &Node, options: Options) -> Result<Self> {
        let folder = control.folder().join("controlplane");
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let address = SocketAddr::new(options.address, 6443);
        let first_service = options.service_cidrs.first().and_then(|c| c.hosts().next());
        let mut names = vec![options.address, Ipv4Addr::LOCALHOST.into()];
        names.extend(first_service);
        let certificates = Certificates::create(&folder, &names)?;
        let credentials =
            Credentials::create(&folder, &format!("https://{address}"), &certificates.ca)?;
        let token = credentials.token(Identity::Admin);
        let admin = client::connect(control.netns(), address, &certificates.ca_der, token)?;

        let mut etcd = control.spawn(
            "etcd",
            &programs.path("etcd"),
            &programs::etcd_flags(&folder),
            &[],
        )?;
        wait_for_port(control, &mut etcd, programs::ETCD.parse()?).await?;
        let mut plane = Self {
            controller_manager: None,
            apiserver: None,
            etcd,
            programs: programs.clone(),
            options,
            address,
            folder,
            certificates,
            credentials,
            admin,
        };
        plane.start_apiserver(control).await?;
        identity::grant(&plane.admin).await?;
        let flags = programs::controller_manager_flags(&plane.certificates, &plane.credentials);
        let program = programs.path("kube-controller-manager");
        plane.controller_manager =
            Some(control.spawn("kube-controller-manager", &program, &flags, &[])?);
        Ok(plane)
    }

    /// Starts the API server, after [`Self::stop_apiserver`] again, and waits until it is
    /// ready.
    pub async fn start_apiserver(&mut self, control: &Node) -> Result<()> {
        let flags = programs::apiserver_flags(
            &self.folder,
            self.address,
            &self.options,
            &self.certificates,
            &self.credentials,
        );
        let program = self.programs.path("kube-apiserver");
        let mut process =
            control.spawn("kube-apiserver", &program, &flags, &programs::go_memory())?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            process.check_running()?;
            let ready = http::Request::get("/readyz").body(Vec::new())?;
            match self.admin.request_text(ready).await {
                Ok(_) => break,
                Err(error) if Instant::now() >= deadline => bail!(
                    "kube-apiserver is not ready after {PATIENCE:?} ({error}); its log ends:\n{}",
                    process.log_tail(20)
                ),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
        self.apiserver = Some(process);
        Ok(())
    }

    /// Kills the API server, as an outage does: watches end, connections are refused.
    pub fn stop_apiserver(&mut self) {
        self.apiserver = None;
    }

    /// The API server's address on the node network.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.admin.clone()
    }

    /// A client with the rights of `identity`, connecting from `node`.
    pub fn client_as(&self, identity: Identity, node: &Node) -> Result<Client> {
        let token = self.credentials.token(identity);
        client::connect(node.netns(), self.address, &self.certificates.ca_der, token)
    }

    /// A kubeconfig for programs on any machine of the world.
    pub fn kubeconfig(&self, identity: Identity) -> PathBuf {
        self.credentials.kubeconfig(identity)
    }

    /// Starts kube-proxy on a node. Its Node object must exist: kube-proxy asks it for
    /// the node's addresses.
    pub fn kube_proxy(&self, node: &Node, options: &ProxyOptions) -> Result<KubeProxy> {
        let kubeconfig = self.kubeconfig(Identity::Proxy);
        KubeProxy::start(
            &self.programs.path("kube-proxy"),
            node,
            &kubeconfig,
            options,
        )
    }

    /// Fails with the end of its log when one of the programs has ended by itself.
    pub fn check_running(&mut self) -> Result<()> {
        self.etcd.check_running()?;
        [&mut self.apiserver, &mut self.controller_manager]
            .into_iter()
            .flatten()
            .try_for_each(Process::check_running)
    }

    /// Copies the programs' logs to `folder`, which outlives the run.
    pub fn save_logs(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let processes = [
            Some(&self.etcd),
            self.apiserver.as_ref(),
            self.controller_manager.as_ref(),
        ];
        for process in processes.into_iter().flatten() {
            let name = process.log().file_name().context("a log without a name")?;
            fs::copy(process.log(), folder.join(name))
                .with_context(|| format!("copying {}", process.log().display()))?;
        }
        Ok(())
    }
}

/// Waits until something listens at `address`, as seen on `node`.
async fn wait_for_port(node: &Node, process: &mut Process, address: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        process.check_running()?;
        let netns = node.netns();
        if netns.run(|| Ok(TcpStream::connect(address).is_ok()))? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!(
                "nothing listens at {address} after {PATIENCE:?}:\n{}",
                process.log_tail(20)
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}
