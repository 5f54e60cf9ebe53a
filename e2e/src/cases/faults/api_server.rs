//! The API server goes away and comes back, or does not answer an enforcer at all.

use super::fault;
use crate::case::{Case, ObjectsKind, Stage, matrix};
use crate::cases::hands::{self, eventually, metric, page, see};
use crate::cases::watch::{Always, Watch};
use crate::controlplane::Identity;
use crate::fabric::netns::CONTROL_ADDRESS;
use crate::objects::Objects;
use crate::probe::{Outcome, tcp, udp};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::path::Path;

const FROM_Y: &str =
    "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}";
const FROM_Z: &str =
    "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: z}}}]}]}";

/// The cases.
pub fn cases() -> Vec<Case> {
    // Whoever starts meanwhile waits as long as the server needs to come back.
    let server = |name| {
        fault(name)
            .only(ObjectsKind::Apiserver)
            .flags(&["--cache-sync-timeout=5m"])
    };
    vec![
        server("the-api-server-goes-away-and-comes-back")
            .policy("x/from-y", FROM_Y)
            .open("tcp", "y/a", "x/b", tcp(80))
            .open6("udp6", "y/b", "x/a", udp(80))
            .act("the policy stands and nothing flaps", away)
            .kept(&["tcp", "udp6"])
            .policy("x/from-y", FROM_Z)
            .cut(&["tcp", "udp6"])
            .expect(matrix(&[tcp(80), udp(80)])),
        server("lists-that-never-come-end-the-process")
            .policy("x/from-y", FROM_Y)
            .act(
                "no right to read pods, then a port where nobody listens",
                no_lists,
            ),
    ]
}

fn away(stage: &mut Stage) -> Result<()> {
    let watch = Watch::start(
        stage,
        &[
            ("z/a", "x/a", Always::Denied),
            ("z/b", "x/b", Always::Denied),
            ("y/a", "x/b", Always::Allowed),
            ("x/a", "z/a", Always::Allowed),
        ],
    )?;
    let before = programmed(stage)?;
    let (transactions, repairs) = written(stage)?;
    let errors = metric(stage, "node2", "errors_total{kind=\"source\"}")?;

    stage.api_server()?.0.stop();
    hands::grows(stage, "node2", "errors_total{kind=\"source\"}", errors)?;
    new_flows(stage)?;
    stage.kill_enforcer("node1")?;
    stage.start_enforcer("node1")?;
    eventually("it says what it waits for", || {
        let ready = page(stage, "node1", "/readyz")?;
        let named = ["pods", "networkpolicies", "connection refused"];
        ensure!(
            named.iter().all(|word| ready.contains(word)),
            "/readyz says {ready}"
        );
        page(stage, "node1", "/livez").map(drop)
    })?;
    new_flows(stage)?;
    let ready = page(stage, "node2", "/readyz")?;
    ensure!(
        !ready.contains("waiting"),
        "what is enforced is complete, yet /readyz of node2 says {ready}"
    );
    let during = programmed(stage)?;
    ensure!(during == before, "{before:#?}\nbecame\n{during:#?}");

    let (server, world) = stage.api_server()?;
    server.resume(world.control())?;
    // No policy asks for this label; that it is known says that every watch works again.
    let mut pod = stage.object("Pod z/c")?;
    pod["metadata"]["labels"]["round"] = "two".into();
    stage.hand_over(&pod.to_string(), "z")?;
    // Half a minute is the longest pause between two attempts.
    if stage.wait_applied().is_err() && stage.wait_applied().is_err() {
        stage.wait_applied()?;
    }
    new_flows(stage)?;
    let after = programmed(stage)?;
    ensure!(after == before, "{before:#?}\nbecame\n{after:#?}");
    let (now, repaired) = written(stage)?;
    // kube-proxy may have come after us and taken the first place.
    ensure!(
        now - transactions <= repaired - repairs,
        "{} transactions, {} of them repairs, although nothing had changed",
        now - transactions,
        repaired - repairs
    );
    watch.finish().map(drop)
}

/// Transactions of node2's enforcer, and how much it has repaired after others.
fn written(stage: &Stage) -> Result<(u64, u64)> {
    let mut repairs = 0;
    for line in page(stage, "node2", "/metrics")?.lines() {
        if line.starts_with("ringfence_enforcer_drift_total{") {
            let (_, number) = line.rsplit_once(' ').context("a series without a value")?;
            repairs += number.parse::<u64>()?;
        }
    }
    Ok((metric(stage, "node2", "transactions_total")?, repairs))
}

fn new_flows(stage: &Stage) -> Result<()> {
    see(stage, "z/a", "x/a", tcp(80), Outcome::Rejected)?;
    see(stage, "z/a", "x/b", tcp(80), Outcome::Rejected)?;
    see(stage, "y/a", "x/a", tcp(80), Outcome::Allowed)?;
    see(stage, "y/a", "x/b", tcp(80), Outcome::Allowed)
}

/// Our rules and sets on every node.
fn programmed(stage: &Stage) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for node in stage.node_names() {
        let text = hands::everything(stage, &node)?;
        let ours = text.lines().filter(|line| {
            let is_rule = line.starts_with("-A") || line.starts_with("create RF");
            is_rule && line.contains("RF") || line.starts_with("add RF")
        });
        let mut ours: Vec<String> = ours.map(|line| format!("{node} {line}")).collect();
        ensure!(!ours.is_empty(), "{node} has nothing of ours:\n{text}");
        // Sets are printed in the order of their hashes; rules come in theirs.
        ours[..].sort_by_key(|line| (!line.contains(" -A")).then(|| line.clone()));
        all.append(&mut ours);
    }
    Ok(all)
}

fn no_lists(stage: &mut Stage) -> Result<()> {
    stage.kill_enforcer("node1")?;
    let (server, _) = stage.api_server()?;
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "stranger"},
        "rules": [{
            "apiGroups": ["", "networking.k8s.io"],
            "resources": ["namespaces", "nodes", "networkpolicies"],
            "verbs": ["list", "watch"],
        }],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "stranger"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "stranger",
        },
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "stranger"}],
    });
    server.apply(&role)?;
    server.apply(&binding)?;
    let kubeconfig = server.kubeconfig(Identity::Stranger);
    let said = last_words(stage, "no-right", &kubeconfig)?;
    let missing = "apiGroups: [\"\"], resources: [\"pods\"], verbs: [\"list\", \"watch\"]";
    ensure!(
        said.contains(missing),
        "no word of the missing rule:\n{said}"
    );
    for readable in ["networkpolicies", "namespaces", "nodes"] {
        let resources = format!("resources: [\"{readable}\"]");
        ensure!(
            !said.contains(&resources),
            "{readable} can be read:\n{said}"
        );
    }

    let text = std::fs::read_to_string(&kubeconfig)?;
    let nobody = kubeconfig.with_extension("nobody");
    std::fs::write(&nobody, text.replace(":6443", ":6444"))?;
    let said = last_words(stage, "no-server", &nobody)?;
    ensure!(
        said.contains(&format!("{CONTROL_ADDRESS}:6444")) && said.contains("connection refused"),
        "no word of the address:\n{said}"
    );
    // Whoever ended has left what was enforced.
    new_flows(stage)?;
    stage.start_enforcer("node1")
}

/// What an enforcer says last that gets no lists on node1.
fn last_words(stage: &Stage, name: &str, kubeconfig: &Path) -> Result<String> {
    let node = stage.world()?.node("node1")?;
    let args = [
        "--node-name=node1".to_owned(),
        "--cache-sync-timeout=3s".to_owned(),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--state-dir={}", node.folder().join(name).display()),
    ];
    let mut process = node.spawn(name, stage.enforcer_program()?, &args, &[])?;
    let mut said = String::new();
    eventually("it ends", || match process.check_running() {
        Ok(()) => bail!("it still runs:\n{}", process.log_tail(20)),
        Err(error) => {
            said = error.to_string();
            Ok(())
        }
    })?;
    ensure!(said.contains("exit status: 1"), "{said}");
    // The log has earlier warnings too: what counts is the reason it gives at its end.
    let last = said.rfind("--cache-sync-timeout");
    let Some(last) = last else {
        bail!("it does not say why it ended:\n{said}")
    };
    Ok(said.split_off(last))
}
