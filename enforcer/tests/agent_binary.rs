//! The real binary in network namespaces of its own, with a folder as source: rules
//! appear, it becomes ready, a signal leaves the rules, cleanup takes them away.
//!
//! Needs root and iptables, ipset, nsenter, unshare. Without them it says so and passes,
//! but in CI it fails.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use test_case::test_case;

const BINARY: &str = env!("CARGO_BIN_EXE_ringfence-enforcer");
/// Far more than it takes; nothing is measured by it.
const PATIENCE: Duration = Duration::from_mins(1);

const OBJECTS: &str = r"
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.9.1.0/24]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, image: x}]}
status: {phase: Running, podIP: 10.9.1.2, podIPs: [{ip: 10.9.1.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: n1, containers: [{name: c, image: x}]}
status: {phase: Running, podIP: 10.9.1.3, podIPs: [{ip: 10.9.1.3}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]
";

/// A process that holds a network namespace, killed when dropped.
struct Namespace(Child);

impl Namespace {
    /// `None` where this machine cannot, with the reason printed.
    fn new() -> Option<Self> {
        let missing = ["iptables", "ipset", "nsenter", "unshare"]
            .into_iter()
            .find(|tool| Command::new(tool).arg("--version").output().is_err());
        let root = nix::unistd::Uid::effective().is_root();
        if missing.is_some() || !root {
            let reason = missing.map_or("not root".to_owned(), |tool| format!("no {tool}"));
            assert!(
                std::env::var_os("CI").is_none(),
                "this test must not be skipped in CI: {reason}"
            );
            eprintln!("skipped: {reason}");
            return None;
        }
        let mut child = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "sh",
                "-c",
                "ip link set lo up && echo up && exec cat",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut up = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        Some(Self(child))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--net",
            "--mount",
            "--target",
            &self.0.id().to_string(),
            "--",
        ]);
        command.arg(program);
        command
    }

    fn output(&self, line: &str) -> Output {
        let mut words = line.split(' ');
        let output = self
            .command(words.next().unwrap())
            .args(words)
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        output
    }

    fn text(&self, line: &str) -> String {
        String::from_utf8(self.output(line).stdout).unwrap()
    }

    /// Status and body of a GET from inside the namespace; `None` while nobody listens.
    fn get(&self, port: u16, path: &str) -> Option<(u16, String)> {
        self.get_at("127.0.0.1", port, path)
    }

    fn get_at(&self, address: &'static str, port: u16, path: &str) -> Option<(u16, String)> {
        let target = format!("/proc/{}/ns/net", self.0.id());
        let path = path.to_owned();
        std::thread::spawn(move || {
            let namespace = fs::File::open(target).unwrap();
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let mut stream = TcpStream::connect((address, port)).ok()?;
            write!(
                stream,
                "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            )
            .ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            let (head, body) = answer.split_once("\r\n\r\n")?;
            Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
        })
        .join()
        .unwrap()
    }

    fn ours(&self, flavour: &str) -> usize {
        let sets = self.text("ipset save");
        let ours = |line: &&str| line.contains("RF4-") || line.contains("RF6-");
        self.rules(flavour) + sets.lines().filter(ours).count()
    }

    /// Lines about rules and chains of ours.
    fn rules(&self, flavour: &str) -> usize {
        let mut rules = String::new();
        for family in ["iptables", "ip6tables"] {
            let _ = write!(rules, "{}", self.text(&format!("{family}-{flavour}-save")));
        }
        rules.lines().filter(|line| line.contains("RF-")).count()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The agent, killed when a test fails half way.
struct Agent {
    child: Child,
}

impl Agent {
    fn start(namespace: &Namespace, folder: &Path, flavour: &str) -> Self {
        let child = namespace
            .command(BINARY)
            .arg("--node-name=n1")
            .arg(format!(
                "--source=folder:{}",
                folder.join("objects").display()
            ))
            .arg(format!("--state-dir={}", folder.join("state").display()))
            .arg(format!("--iptables-flavour={flavour}"))
            .spawn()
            .unwrap();
        Self { child }
    }

    fn wait_for(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "the agent ended before {what}"
            );
            assert!(start.elapsed() < PATIENCE, "{what} does not come true");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "SIGTERM does not end it");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{status}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("objects")).unwrap();
    fs::write(folder.path().join("objects/shop.yaml"), OBJECTS).unwrap();
    folder
}

#[test_case("nft"; "nft")]
#[test_case("legacy"; "legacy")]
fn from_start_to_cleanup(flavour: &str) {
    let Some(namespace) = Namespace::new() else {
        return;
    };
    let folder = folder();
    let mut agent = Agent::start(&namespace, folder.path(), flavour);
    agent.wait_for("readyz", || {
        matches!(namespace.get(20244, "/readyz"), Some((200, _)))
    });
    assert_eq!(namespace.get(20244, "/livez").unwrap().0, 200);
    assert_eq!(namespace.get(20244, "/healthz").unwrap().0, 200);
    let (_, program) = namespace.get(20244, "/program").unwrap();
    assert!(program.contains("shop/db"), "{program}");
    // Whoever comes from elsewhere (here: by another address of the node) is told how.
    namespace.output("ip addr add 198.51.100.1/32 dev lo");
    let (status, text) = namespace.get_at("198.51.100.1", 20244, "/program").unwrap();
    assert_eq!(status, 403);
    assert!(text.contains("kubectl port-forward"), "{text}");
    let (_, metrics) = namespace.get(20241, "/metrics").unwrap();
    assert!(
        metrics.contains("ringfence_enforcer_policies_local 1"),
        "{metrics}"
    );
    let sets = namespace.text("ipset save");
    assert!(sets.contains(" 10.9.1.2"), "{sets}");

    // A waiter compares digests: it knows when what it wrote is in the kernel.
    let objects = folder.path().join("objects");
    let changed = OBJECTS.replace("10.9.1.2", "10.9.1.22");
    fs::write(objects.join("shop.yaml"), changed).unwrap();
    let digest = ringfence_cluster::folder::digest(&objects).unwrap();
    agent.wait_for("the new digest", || {
        let (_, body) = namespace.get(20244, "/generation").unwrap();
        let progress: serde_json::Value = serde_json::from_str(&body).unwrap();
        progress["programmed"]["digest"] == digest.as_str()
    });
    let sets = namespace.text("ipset save");
    assert!(
        sets.contains(" 10.9.1.22") && !sets.contains(" 10.9.1.2\n"),
        "{sets}"
    );

    let before = namespace.ours(flavour);
    assert!(before > 10, "{before}");
    agent.stop();
    assert_eq!(namespace.ours(flavour), before, "rules stay");

    // A simulated reboot: the kernel is empty, the API server (the folder) is away.
    let state = format!("--state-dir={}", folder.path().join("state").display());
    let kept = fs::read(folder.path().join("state/program")).unwrap();
    namespace.output(&format!("{BINARY} cleanup {state}"));
    assert_eq!(namespace.ours(flavour), 0);
    assert!(!folder.path().join("state").exists());
    fs::create_dir(folder.path().join("state")).unwrap();
    fs::write(folder.path().join("state/program"), kept).unwrap();
    fs::rename(&objects, folder.path().join("away")).unwrap();
    let mut agent = Agent::start(&namespace, folder.path(), flavour);
    agent.wait_for("the restored program", || namespace.ours(flavour) == before);
    agent.wait_for("the reason", || {
        matches!(namespace.get(20244, "/readyz"), Some((503, text)) if text.contains("waiting for"))
    });
    agent.stop();
    namespace.output(&format!("{BINARY} cleanup {state}"));
    assert_eq!(namespace.ours(flavour), 0);
}

/// A node whose kube-proxy changed over: rules of both flavours would judge each packet
/// twice, one of them by an old program.
#[test_case("legacy", "nft"; "to nft")]
#[test_case("nft", "legacy"; "to legacy")]
fn another_flavour_than_before(before: &str, after: &str) {
    let Some(namespace) = Namespace::new() else {
        return;
    };
    let folder = folder();
    for flavour in [before, after] {
        let mut agent = Agent::start(&namespace, folder.path(), flavour);
        agent.wait_for("readyz", || {
            matches!(namespace.get(20244, "/readyz"), Some((200, _)))
        });
        agent.stop();
    }
    assert_eq!(namespace.rules(before), 0, "the old ones are gone");
    assert!(namespace.rules(after) > 10);
}

#[test]
fn a_missing_node_name_ends_it_with_a_sentence() {
    let output = Command::new(BINARY)
        .env_remove("NODE_NAME")
        .args(["--source=folder:/nonexistent", "--run-router"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--node-name is missing"), "{text}");
    assert!(
        text.contains("BGP"),
        "the warning about --run-router: {text}"
    );
}

#[test]
fn an_api_server_that_is_away_ends_it_with_the_reason() {
    let Some(namespace) = Namespace::new() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let config = "{apiVersion: v1, kind: Config, current-context: c, \
        clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], \
        users: [{name: u, user: {token: t}}], \
        contexts: [{name: c, context: {cluster: c, user: u}}]}";
    fs::write(&kubeconfig, config).unwrap();
    let output = namespace
        .command(BINARY)
        .args(["--node-name=n1", "--cache-sync-timeout=1s"])
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--state-dir={}", folder.path().display()))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    let last = text.lines().last().unwrap();
    for part in [
        "--cache-sync-timeout",
        "networkpolicies",
        "http://127.0.0.1:1",
        "refused",
    ] {
        assert!(last.contains(part), "{text}");
    }
    assert_eq!(namespace.ours("nft"), 0);
}
