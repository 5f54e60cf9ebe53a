//! The binary, running.

use crate::certificates::{Ca, Secret};
use crate::client::{self, Answer};
use rustls::ClientConfig;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A condition that does not come true within this time is a failure.
pub const LIMIT: Duration = Duration::from_secs(30);

pub struct Binary {
    child: Child,
    pub address: SocketAddr,
    pub health: SocketAddr,
    pub log: Arc<Mutex<String>>,
    pub ca: Ca,
    pub secret: Secret,
    pub trust: Arc<ClientConfig>,
    pub folder: TempDir,
}

/// The cluster that the binary knows.
const OBJECTS: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {kubernetes.io/metadata.name: shop}}
---
apiVersion: v1
kind: Namespace
metadata: {name: kube-system, labels: {kubernetes.io/metadata.name: kube-system}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: node1, containers: [{name: c}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec: {nodeName: node1, containers: [{name: c, ports: [{name: dns, containerPort: 53, protocol: UDP}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.2}]}
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.10
  selector: {k8s-app: kube-dns}
  ports:
    - {name: dns, port: 53, protocol: UDP, targetPort: 53}
    - {name: dns-tcp, port: 53, protocol: TCP, targetPort: 53}
";

impl Binary {
    pub async fn start() -> Self {
        Self::start_with(&[], |_| {}).await
    }

    /// With more flags (`{}` is the test's folder), and files that `prepare` puts there.
    pub async fn start_with(flags: &[&str], prepare: impl FnOnce(&Self)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("objects")).unwrap();
        fs::write(at("objects/cluster.yaml"), OBJECTS).unwrap();
        let ca = Ca::new();
        let secret = Secret::new(&at("tls"), &ca.leaf());
        let trust = client::trust(&ca, None);
        // Nothing runs yet; `prepare` sees the files.
        let placeholder = Command::new("true").spawn().unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut binary = Self {
            child: placeholder,
            address: nowhere,
            health: nowhere,
            log: Arc::default(),
            ca,
            secret,
            trust,
            folder,
        };
        binary.child.wait().unwrap();
        prepare(&binary);
        let here = binary.folder.path().display().to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence-webhook"))
            .arg(format!("--tls-cert={here}/tls/tls.crt"))
            .arg(format!("--tls-key={here}/tls/tls.key"))
            .arg(format!("--objects=folder:{here}/objects"))
            .args(["--bind-address=127.0.0.1", "--port=0", "--health-port=0"])
            .args(["--reload-period=50ms", "--drain=2s"])
            .args(flags.iter().map(|flag| flag.replace("{}", &here)))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::clone(&binary.log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                log.lock().unwrap().extend([&*line, "\n"]);
            }
        });
        binary.child = child;
        binary.health = binary.address_after("serving health address=").await;
        binary
    }

    /// Waits until it serves and is ready.
    pub async fn ready(mut self) -> Self {
        self.address = self.address_after("serving address=").await;
        self.until("it is ready", async |b| b.get("/readyz").await.0 == 200)
            .await;
        self
    }

    async fn address_after(&mut self, mark: &str) -> SocketAddr {
        self.until(mark, async |b| b.logged().contains(mark)).await;
        let log = self.logged();
        let rest = log.split(mark).nth(1).unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub fn logged(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a condition.
    pub async fn until(&self, what: &str, condition: impl AsyncFn(&Self) -> bool) {
        let from = Instant::now();
        while !condition(self).await {
            assert!(from.elapsed() < LIMIT, "{what}: never\n{}", self.logged());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        client::post(self.address, &self.trust, path, body.as_ref())
            .await
            .unwrap()
    }

    /// Status and body of a path of the health port.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let mut tcp = TcpStream::connect(self.health).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// The value of a metric, by the beginning of its line.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let line = text.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name} is missing in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(killed.unwrap().success());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let from = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(from.elapsed() < LIMIT, "it never ends\n{}", self.logged());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
