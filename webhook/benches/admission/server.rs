//! The servers that are measured, each a process of its own.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

/// Writes a pair; returns what trusts it.
pub fn certificates(folder: &Path) -> Arc<ClientConfig> {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &ca).unwrap();
    fs::write(folder.join("tls.crt"), leaf.pem()).unwrap();
    fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Server {
    /// The binary, and how long it took to be ready.
    pub async fn webhook(folder: &Path) -> (Self, Duration) {
        let (port, health) = (free_port(), free_port());
        let here = folder.display();
        let started = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_ringfence-webhook"))
            // As manifests/base sets it.
            .env("MIMALLOC_PURGE_DELAY", "10")
            .arg(format!("--tls-cert={here}/tls.crt"))
            .arg(format!("--tls-key={here}/tls.key"))
            .arg(format!("--kubeconfig={here}/kubeconfig"))
            .arg(format!("--port={port}"))
            .arg(format!("--health-port={health}"))
            .arg("--bind-address=127.0.0.1")
            .stderr(File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        let server = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        let health = SocketAddr::from(([127, 0, 0, 1], health));
        server.wait(|| is_ready(health)).await;
        (server, started.elapsed())
    }

    /// This program itself, as a server that does less.
    pub async fn yardstick(folder: &Path, what: &str) -> Self {
        let port = free_port();
        let child = Command::new(std::env::current_exe().unwrap())
            .env("MIMALLOC_PURGE_DELAY", "10")
            .args(["--yardstick", what, &format!("{port}:{}", folder.display())])
            .stderr(File::create(folder.join(format!("log-{what}"))).unwrap())
            .spawn()
            .unwrap();
        let server = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        server
            .wait(|| TcpStream::connect(server.address).is_ok())
            .await;
        server
    }

    async fn wait(&self, is_there: impl Fn() -> bool) {
        let from = Instant::now();
        while !is_there() {
            assert!(from.elapsed() < Duration::from_mins(1), "no server");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Processor time that it has used.
    pub fn processor(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name in brackets may hold anything.
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .map(|f| f.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory now, in MiB.
    pub fn resident(&self) -> f64 {
        self.memory("VmRSS:")
    }

    /// The most since [`Self::forget_peak`], in MiB.
    pub fn peak(&self) -> f64 {
        self.memory("VmHWM:")
    }

    pub fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    fn memory(&self, field: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024.0
    }
}

fn is_ready(health: SocketAddr) -> bool {
    let Ok(mut tcp) = TcpStream::connect(health) else {
        return false;
    };
    let request = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    tcp.write_all(request).is_ok()
        && tcp.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
