//! `ringfence` against a real API server, compared with what real packets do: what explain
//! and matrix say is what probes see; without rights, or without an API server, it says so.
//!
//! Own `main`, as in `controlplane.rs`, and needs the same programs.

use anyhow::{Context, Result, bail, ensure};
use ringfence_e2e::case::{ObjectsKind, Setup, Stage};
use ringfence_e2e::controlplane::{Identity, Programs};
use ringfence_e2e::fabric::{Placement, PodKind, Topology};
use ringfence_e2e::probe::{Observation, Outcome, tcp};
use ringfence_e2e::sandbox;
use ringfence_e2e::truth::Cell;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const PODS: [&str; 5] = [
    "shop/web@node1",
    "shop/db@node2",
    "client/near@node1",
    "client/far@node2",
    "other/pod@node2",
];

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: cluster}
spec:
  type: NodePort
  selector: {pod: web}
  ports: [{port: 8080, targetPort: 80, nodePort: 31700}]
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: local}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  selector: {pod: web}
  ports: [{port: 8080, targetPort: 80, nodePort: 31701}]
";

const POLICIES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: web}
spec:
  podSelector: {matchLabels: {pod: web}}
  ingress:
  - from: [{podSelector: {}}, {namespaceSelector: {matchLabels: {ns: client}}}, {ipBlock: {cidr: 10.2.3.4/32}}]
    ports: [{port: 80}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: client, name: far}
spec:
  podSelector: {matchLabels: {pod: far}}
  policyTypes: [Egress]
  egress: [{to: [{namespaceSelector: {matchLabels: {ns: other}}}]}]
";

/// From and to as cases write them, the port, and `--from` and `--to` of the question.
const QUESTIONS: [(&str, &str, u16, &str, &str); 13] = [
    ("client/near", "shop/web", 80, "client/near", "shop/web:80"),
    ("client/far", "shop/web", 80, "client/far", "shop/web:80"),
    ("other/pod", "shop/web", 80, "other/pod", "shop/web:80"),
    (
        "client/near",
        "Service shop/cluster",
        8080,
        "client/near",
        "svc/shop/cluster:8080",
    ),
    (
        "client/far",
        "Service shop/cluster",
        8080,
        "client/far",
        "svc/shop/cluster:8080",
    ),
    (
        "other/pod",
        "Service shop/local",
        8080,
        "other/pod",
        "svc/shop/local:8080",
    ),
    ("office", "node2", 31_700, "10.2.3.4", "node2:31700"),
    ("office", "node1", 31_701, "10.2.3.4", "node1:31701"),
    ("office", "node2", 31_701, "10.2.3.4", "node2:31701"),
    ("stranger", "node1", 31_701, "198.51.100.9", "node1:31701"),
    ("other/pod", "node1", 31_701, "other/pod", "node1:31701"),
    ("client/near", "node1", 31_701, "client/near", "node1:31701"),
    ("client/near", "node2", 31_700, "client/near", "node2:31700"),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The programs of this build, and the control plane's.
fn programs() -> Result<(PathBuf, Setup)> {
    let beside = |name: &str| {
        let path = Path::new(env!("CARGO_BIN_EXE_ringfence-e2e")).with_file_name(name);
        ensure!(
            path.is_file(),
            "{} is not there: `cargo build`",
            path.display()
        );
        Ok(path)
    };
    let folder = std::env::var_os("CONTROLPLANE_BIN").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/controlplane"),
        PathBuf::from,
    );
    Programs::find(&folder)?;
    let setup = Setup {
        enforcer: Some(beside("ringfence-enforcer")?),
        objects: ObjectsKind::Apiserver,
        controlplane: Some(folder),
        ..Setup::default()
    };
    Ok((beside("ringfence")?, setup))
}

fn run() -> Result<()> {
    let (program, setup) = match programs() {
        Ok(found) => found,
        Err(error) if std::env::var_os("CI").is_some() => return Err(error),
        Err(error) => {
            println!("skipped: {error:#}");
            return Ok(());
        }
    };
    sandbox::enter()?;
    let topology = Topology::new(PodKind::Bridge, 2).pods(PODS, Placement::Spread);
    let mut stage = Stage::create(topology, &[], &setup)?;
    let kubeconfig = |stage: &mut Stage, identity| -> Result<Cli> {
        let (server, _) = stage.api_server()?;
        Ok(Cli {
            program: program.display().to_string(),
            kubeconfig: server.kubeconfig(identity).display().to_string(),
        })
    };
    let admin = kubeconfig(&mut stage, Identity::Admin)?;

    stage.apply(SERVICES, "default")?;
    explained(&stage, &admin, true)?;
    println!("ok: the address that a policy sees is the one that the server sees");
    entry_and_translations(&stage, &admin)?;
    println!("ok: entry node, DNAT, SNAT and endpoint");
    stage.apply(POLICIES, "default")?;
    explained(&stage, &admin, false)?;
    println!("ok: explain and packets agree");
    matrices(&stage, &admin)?;
    println!("ok: matrix and packets agree, over IPv4 and IPv6");
    let rules = admin.run(&stage, &["render", "--node", "node1"])?.says(0)?;
    ensure!(rules.contains("shop"), "no word of shop on node1:\n{rules}");
    println!("ok: render");

    // The enforcer has no business with Services, and the stranger with anything.
    for (identity, resource) in [
        (Identity::Enforcer, "services"),
        // All five are asked for at once; which refusal comes first is open.
        (
            Identity::Stranger,
            "add this rule to the agent's ClusterRole",
        ),
    ] {
        let cli = kubeconfig(&mut stage, identity)?;
        let said = cli.run(&stage, &["matrix"])?.says(2)?;
        for word in [resource, "list", "watch"] {
            ensure!(said.contains(word), "{identity:?}: no {word:?} in: {said}");
        }
    }
    println!("ok: a missing right is named");

    let (server, _) = stage.api_server()?;
    server.stop();
    let said = admin.run(&stage, &["matrix"])?.says(2)?;
    ensure!(
        said.contains("10.102.123.250:6443"),
        "the address is not named: {said}"
    );
    println!("ok: an API server that is away is named");
    Ok(())
}

/// The program, run on node1 as somebody.
struct Cli {
    program: String,
    kubeconfig: String,
}

struct Said {
    args: String,
    code: Option<i32>,
    out: String,
    err: String,
}

impl Cli {
    fn run(&self, stage: &Stage, args: &[&str]) -> Result<Said> {
        let all = [args, &["--kubeconfig", &self.kubeconfig]].concat();
        let output = stage
            .world()?
            .node("node1")?
            .output(&self.program, &all, "")?;
        Ok(Said {
            args: args.join(" "),
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn explain(&self, stage: &Stage, from: &str, to: &str) -> Result<Value> {
        let said = self.run(stage, &["explain", "--from", from, "--to", to, "-ojson"])?;
        let answer: Value = serde_json::from_str(&said.out)
            .with_context(|| format!("{} says {} {}", said.args, said.out, said.err))?;
        let code = i32::from(answer["allowed"] != true);
        said.says(code)?;
        Ok(answer)
    }
}

impl Said {
    /// Its words, if it ended with this code: the answer, or why there is none.
    fn says(self, code: i32) -> Result<String> {
        let Self {
            args,
            code: ended,
            out,
            err,
        } = self;
        ensure!(
            ended == Some(code),
            "{args} ended with {ended:?}, not {code}: {out}{err}"
        );
        Ok(if code == 2 { err } else { out })
    }
}

fn cell(from: &str, to: &str, port: u16, v4: bool) -> Cell {
    Cell {
        from: from.into(),
        to: to.into(),
        v4,
        transport: tcp(port),
    }
}

/// Asks every question, and sends the packet.
fn explained(stage: &Stage, cli: &Cli, open: bool) -> Result<()> {
    for (from, to, port, asked_from, asked_to) in QUESTIONS {
        let answer = cli.explain(stage, asked_from, asked_to)?;
        let allowed = answer["allowed"] == true;
        // What is said to pass is given more time.
        let expected = if allowed {
            Outcome::Allowed
        } else {
            Outcome::Dropped
        };
        let cell = cell(from, to, port, true);
        let seen = stage.probe(&[(&cell, expected)])?.pop();
        let Observation { outcome, seen, .. } = seen.context("no observation")?;
        ensure!(
            matches!(
                (allowed, outcome),
                (true, Outcome::Allowed) | (false, Outcome::Rejected | Outcome::Dropped)
            ),
            "{cell}: observed {outcome}, and the answer is {answer:#}"
        );
        if let (true, Some(peer)) = (allowed, seen) {
            let service = &answer["ways"][0]["service"];
            if let Some(says) = service["policy_sees"].as_str() {
                ensure!(
                    says == peer.ip().to_string(),
                    "{cell}: the server saw {peer}, the answer is {answer:#}"
                );
            }
        }
        let passes = (to, port) != ("node2", 31_701);
        ensure!(!open || allowed == passes, "{cell}: {answer:#}");
    }
    Ok(())
}

/// Seed 002's loss of the client's address, step by step.
fn entry_and_translations(stage: &Stage, cli: &Cli) -> Result<()> {
    let answer = cli.explain(stage, "10.2.3.4", "node2:31700")?;
    let service = &answer["ways"][0]["service"];
    let web = stage.world()?.host("shop/web")?.addresses[0];
    let expected = [
        ("entry_node", "node2".to_owned()),
        ("dnat", format!("{web}:80")),
        ("snat", "10.102.123.12".to_owned()),
        ("endpoint", "shop/web".to_owned()),
        ("endpoint_node", "node1".to_owned()),
        ("policy_sees", "10.102.123.12".to_owned()),
    ];
    for (key, value) in expected {
        ensure!(service[key] == *value, "{key} is not {value}: {answer:#}");
    }
    Ok(())
}

/// Every cell of the matrix is probed.
fn matrices(stage: &Stage, cli: &Cli) -> Result<()> {
    for v4 in [true, false] {
        let family: &[&str] = if v4 { &[] } else { &["--ipv6"] };
        let args = [&["matrix", "--port", "80", "-ojson"], family].concat();
        let cells: Vec<Value> = serde_json::from_str(&cli.run(stage, &args)?.says(0)?)?;
        ensure!(
            cells.len() == PODS.len() * PODS.len(),
            "{} cells",
            cells.len()
        );
        let mut refused = 0;
        for said in &cells {
            let (Some(from), Some(to)) = (said["from"].as_str(), said["to"].as_str()) else {
                bail!("a cell without ends: {said}")
            };
            let cell = cell(from, to, 80, v4);
            let allowed = said["allowed"] == true;
            let seen = stage.probe(&[(&cell, Outcome::Allowed)])?.pop();
            let outcome = seen.context("no observation")?.outcome;
            ensure!(
                allowed == (outcome == Outcome::Allowed),
                "{cell}: observed {outcome}, the matrix says {said}"
            );
            refused += usize::from(!allowed);
        }
        ensure!(
            refused > 0,
            "nothing is refused: the comparison is worth nothing"
        );
    }
    Ok(())
}
