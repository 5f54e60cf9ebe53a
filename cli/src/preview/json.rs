//! For programs: docs/preview.md describes it.

use super::Outcome;
use super::read::Change;
use anyhow::Result;
use ringfence_checks::impact::{End, Flows, Row, Way};
use serde::Serialize;
use std::collections::BTreeSet;

#[derive(Serialize)]
struct Answer<'a> {
    changes: &'a [Change],
    cut: Side<'a>,
    opened: Side<'a>,
    /// What could not be worked out.
    unknown: Vec<&'static str>,
}

#[derive(Serialize)]
struct Side<'a> {
    /// Pairs of pods, by port.
    flows: u64,
    rows: Vec<Flow<'a>>,
    /// There are more rows than these.
    more: bool,
    ways: Vec<Road<'a>>,
}

#[derive(Serialize)]
struct Flow<'a> {
    from: Workload<'a>,
    to: Workload<'a>,
    /// Absent where nothing tells the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    flows: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    monitoring: bool,
}

#[derive(Serialize)]
struct Workload<'a> {
    namespace: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
enum Road<'a> {
    Backend {
        namespace: &'a str,
        service: &'a str,
        port: u16,
    },
    Webhook {
        namespace: &'a str,
        service: &'a str,
    },
    ApiServer {
        from: Workload<'a>,
    },
}

/// The whole answer.
pub(super) fn render(outcome: &Outcome) -> Result<String> {
    let unknown: BTreeSet<&str> = outcome.ways.unknown.into_iter().flatten().collect();
    let answer = Answer {
        changes: &outcome.changes,
        cut: side(outcome, &outcome.impact.cut, &outcome.ways.cut),
        opened: side(outcome, &outcome.impact.opened, &outcome.ways.opened),
        unknown: unknown.into_iter().collect(),
    };
    Ok(serde_json::to_string_pretty(&answer)? + "\n")
}

fn side<'a>(outcome: &Outcome, flows: &'a Flows, ways: &'a BTreeSet<Way>) -> Side<'a> {
    let row = |(row, count): (&'a Row, &u64)| Flow {
        from: workload(&row.from),
        to: workload(&row.to),
        protocol: row.port.map(|(protocol, _)| protocol.to_string()),
        port: row.port.map(|(_, port)| port),
        flows: *count,
        monitoring: outcome
            .monitoring
            .iter()
            .any(|name| **name == *row.from.namespace),
    };
    Side {
        flows: flows.count,
        rows: flows.rows.iter().map(row).collect(),
        more: flows.more,
        ways: ways.iter().map(road).collect(),
    }
}

fn workload(end: &End) -> Workload<'_> {
    Workload {
        namespace: &end.namespace,
        name: &end.name,
    }
}

fn road(way: &Way) -> Road<'_> {
    match way {
        Way::Backend {
            namespace,
            service,
            port,
        } => Road::Backend {
            namespace,
            service,
            port: *port,
        },
        Way::Webhook { namespace, service } => Road::Webhook { namespace, service },
        Way::ApiServer(from) => Road::ApiServer {
            from: workload(from),
        },
    }
}
