//! `ringfence status`: who may come in, who may go out, and who says so.

mod doors;
mod print;
mod read;
mod who;

use crate::args::Output;
use anyhow::Result;
use doors::Door;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use read::Known;
use ringfence_api::{IsolationRule, Mode, NamespaceIsolation};
use ringfence_isolation::render::{Dns, Input, peer_text, render};
use ringfence_isolation::{Condition as Type, POLICY};
use ringfence_policy::model::{Direction, Name};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use who::Side;

/// `ringfence status`
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// The namespace.
    namespace: String,
    /// A folder (or file) of manifests; without it the cluster of --kubeconfig is read.
    #[arg(short = 'f', long, value_name = "PATH")]
    folder: Option<PathBuf>,
    /// Path of a kubeconfig; without it $KUBECONFIG, ~/.kube/config, or the pod's own account.
    #[arg(long, value_name = "FILE", conflicts_with = "folder")]
    kubeconfig: Option<PathBuf>,
    /// A client outside of the cluster, for the question which address arrives.
    #[arg(long, value_name = "ADDRESS", default_value = "203.0.113.7")]
    client: IpAddr,
    /// For people or for programs.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// The whole answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    isolation: Option<Isolation>,
    /// How many nodes carry policies out.
    #[serde(skip_serializing_if = "Option::is_none")]
    enforced: Option<Enforced>,
    ingress: Side,
    egress: Side,
    rules: Vec<Rule>,
    /// The doors of the namespace's Services, and whose address arrives through each node.
    doors: Vec<Door>,
    /// What could not be looked up, and why.
    unknown: Vec<String>,
}

/// Nodes with Ringfence's enforcer, ready.
#[derive(Debug, Serialize)]
struct Enforced {
    ready: usize,
    nodes: usize,
    /// `DaemonSet`s that enforce policies as well.
    others: Vec<String>,
}

/// How the namespace is isolated.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Isolation {
    scope: String,
    egress: String,
    mode: String,
    /// NetworkPolicy ringfence-isolation is there; a folder does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_force: Option<bool>,
    conditions: Vec<Said>,
}

/// A condition.
#[derive(Debug, Serialize)]
struct Said {
    r#type: String,
    status: String,
    message: String,
}

/// An IsolationRule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: String,
    direction: String,
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// It lets somebody pass.
    ready: bool,
    /// What is to be said about it.
    notes: Vec<String>,
}

/// Runs the subcommand.
pub fn run(args: &StatusArgs) -> Result<ExitCode> {
    let known = match &args.folder {
        Some(path) => read::folder(path, &args.namespace)?,
        None => read::cluster(args.kubeconfig.as_deref(), &args.namespace)?,
    };
    let status = status(args, known, Timestamp::now());
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
        Output::Text => print!("{}", print::text(&status)),
    }
    Ok(ExitCode::SUCCESS)
}

fn status(args: &StatusArgs, mut known: Known, now: Timestamp) -> Status {
    let namespace = &*args.namespace;
    let rules: BTreeMap<Name, &IsolationRule> = known
        .rules
        .iter()
        .map(|rule| {
            (
                rule.metadata.name.as_deref().unwrap_or_default().into(),
                rule,
            )
        })
        .collect();
    let rendered = known.isolation.as_ref().map(|isolation| {
        render(&Input {
            namespace,
            config: &known.config,
            isolation: &isolation.spec,
            rules: &rules,
            snapshot: &known.snapshot,
            dns: &Dns::find(&known.snapshot, &known.config),
            now,
        })
    });
    let notes: Vec<Rule> = rules
        .iter()
        .map(|(name, rule)| {
            let outcome = rendered.as_ref().and_then(|r| r.rules.get(name));
            // What the controller sees in the whole cluster counts for more than what can
            // be looked up with the rights of whoever asks.
            let told = rule.status.as_ref().filter(|_| !known.folder);
            let said: Vec<Said> = match (told, outcome) {
                (Some(status), _) => status.conditions.iter().map(Said::from).collect(),
                (None, Some(outcome)) => outcome.statements.iter().map(Said::from).collect(),
                (None, None) => vec![Said {
                    r#type: Type::Ready.to_string(),
                    status: "False".to_owned(),
                    message: "the namespace is not isolated".to_owned(),
                }],
            };
            Rule::of(name, rule, &said)
        })
        .collect();
    let in_force = known.has_policy(POLICY);
    let preview = known
        .isolation
        .as_ref()
        .is_some_and(|i| i.spec.mode == Mode::Preview);
    if let (true, Some(rendered)) = (known.folder && !in_force && !preview, &rendered) {
        known.object(&rendered.object(None));
    }
    Status {
        namespace: namespace.to_owned(),
        isolation: known
            .isolation
            .as_ref()
            .map(|isolation| Isolation::of(isolation, (!known.folder).then_some(in_force))),
        enforced: known.enforcement.as_ref().map(|found| Enforced {
            ready: found.ready.len(),
            nodes: known.snapshot.nodes.len(),
            others: found
                .others
                .iter()
                .map(|o| o.daemon_set.to_string())
                .collect(),
        }),
        ingress: who::side(&known, namespace, Direction::Ingress),
        egress: who::side(&known, namespace, Direction::Egress),
        rules: notes,
        doors: doors::of(&known, namespace, args.client),
        unknown: known.unknown,
    }
}

impl Isolation {
    fn of(isolation: &NamespaceIsolation, in_force: Option<bool>) -> Self {
        let spec = isolation.spec;
        let conditions = isolation.status.iter().flat_map(|s| &s.conditions);
        Self {
            scope: format!("{:?}", spec.scope),
            egress: format!("{:?}", spec.egress),
            mode: match spec.mode {
                Mode::Enforce => "Enforce".to_owned(),
                Mode::Preview => "Preview".to_owned(),
            },
            in_force,
            conditions: conditions.map(Said::from).collect(),
        }
    }
}

impl Rule {
    fn of(name: &str, rule: &IsolationRule, said: &[Said]) -> Self {
        let is = |said: &Said, what: Type| said.r#type == what.as_str();
        let ready = said.iter().find(|s| is(s, Type::Ready));
        let bad = |s: &&Said| {
            let holds = s.status == "True";
            if is(s, Type::Expired) {
                holds
            } else {
                s.status == "False"
            }
        };
        let mut notes: Vec<String> = said.iter().filter(bad).map(|s| s.message.clone()).collect();
        notes.dedup();
        Self {
            name: name.to_owned(),
            direction: format!("{:?}", rule.spec.direction),
            peer: peer_text(&rule.spec),
            expires_at: rule.spec.expires_at.as_ref().map(|t| t.0.to_string()),
            reason: rule.spec.reason.clone(),
            ready: ready.is_some_and(|s| s.status == "True"),
            notes,
        }
    }
}

impl From<&Condition> for Said {
    fn from(condition: &Condition) -> Self {
        Self {
            r#type: condition.type_.clone(),
            status: condition.status.clone(),
            message: condition.message.clone(),
        }
    }
}

impl From<&ringfence_isolation::Statement> for Said {
    fn from(statement: &ringfence_isolation::Statement) -> Self {
        Self {
            r#type: statement.condition.to_string(),
            status: statement.status.as_str().to_owned(),
            message: statement.message.clone(),
        }
    }
}
