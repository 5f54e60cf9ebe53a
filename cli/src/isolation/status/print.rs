//! The answer for people.

use super::doors::{Arrival, Door};
use super::who::{Pass, Side};
use super::{Isolation, Rule, Status};
use comfy_table::{Table, presets};
use std::fmt::Write as _;

/// All of it.
pub fn text(status: &Status) -> String {
    let mut text = String::new();
    let head = match &status.isolation {
        None => "not isolated".to_owned(),
        Some(isolation) => heading(isolation),
    };
    let _ = writeln!(text, "namespace {}: {head}", status.namespace);
    for condition in status.isolation.iter().flat_map(|i| &i.conditions) {
        let _ = writeln!(
            text,
            "  {} {}: {}",
            condition.r#type, condition.status, condition.message
        );
    }
    if let Some(enforced) = &status.enforced {
        let others = match &*enforced.others {
            [] => String::new(),
            others => format!("; beside it: {}", others.join(", ")),
        };
        let (ready, nodes) = (enforced.ready, enforced.nodes);
        let _ = writeln!(
            text,
            "  Ringfence enforces on {ready} of {nodes} nodes{others}"
        );
    }
    side(&mut text, "Who may come in", &status.ingress);
    side(&mut text, "Who may be reached from here", &status.egress);
    rules(&mut text, &status.rules);
    doors(&mut text, &status.doors);
    if !status.unknown.is_empty() {
        let _ = writeln!(text, "\nNot known");
        for line in &status.unknown {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

fn heading(isolation: &Isolation) -> String {
    let force = match (&*isolation.mode, isolation.in_force) {
        ("Preview", _) => "preview, nothing is cut",
        (_, None) => "as the manifests say",
        (_, Some(true)) => "in force",
        (_, Some(false)) => "its NetworkPolicy is not written yet",
    };
    format!(
        "isolated (scope {}, egress {}; {force})",
        isolation.scope, isolation.egress
    )
}

fn side(text: &mut String, title: &str, side: &Side) {
    let _ = writeln!(text, "\n{title}");
    let mut table = table();
    if side.open_pods > 0 || (side.pods == 0 && !side.closed) {
        let pods = format!("{} of {} pods", side.open_pods, side.pods);
        table.add_row(["everyone", "all ports", &pods, "no policy selects them"]);
    }
    for pass in &side.allowed {
        table.add_row(row(pass));
    }
    if table.is_empty() {
        table.add_row(["nobody"]);
    }
    add(text, &table);
}

fn row(pass: &Pass) -> [String; 4] {
    let ports = if pass.ports.is_empty() {
        "all ports".to_owned()
    } else {
        pass.ports.join(", ")
    };
    let pods = if pass.pods.is_empty() {
        "all pods".to_owned()
    } else {
        format!("pods with {}", pass.pods)
    };
    [pass.who.join(", "), ports, pods, pass.because.clone()]
}

fn rules(text: &mut String, rules: &[Rule]) {
    if rules.is_empty() {
        return;
    }
    let _ = writeln!(text, "\nRules");
    let mut table = table();
    for rule in rules {
        let state = if rule.ready {
            "ready"
        } else {
            "without effect"
        };
        let mut notes = rule.notes.clone();
        if rule.ready {
            notes.extend(rule.expires_at.iter().map(|end| format!("until {end}")));
        }
        notes.extend(rule.reason.clone());
        table.add_row([
            rule.name.clone(),
            format!("{} {}", rule.direction, rule.peer),
            state.to_owned(),
            notes.join("; "),
        ]);
    }
    add(text, &table);
}

fn doors(text: &mut String, doors: &[Door]) {
    if doors.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\nWhich address arrives from outside (what a CIDR rule has to name)"
    );
    let mut table = table();
    for door in doors {
        for arrival in &door.arrives {
            table.add_row([
                format!(
                    "{} {} (node port {})",
                    door.service, door.port, door.node_port
                ),
                door.external_traffic_policy.to_owned(),
                format!("through {}", arrival.node),
                arrived(arrival),
            ]);
        }
    }
    add(text, &table);
    if doors
        .iter()
        .any(|d| d.arrives.iter().any(|a| a.masqueraded))
    {
        text.push_str(
            "  A node's address stands for everybody who enters there, pods too: set \
             externalTrafficPolicy\n  to Local and name the client's address instead.\n",
        );
    }
}

fn arrived(arrival: &Arrival) -> String {
    if arrival.no_answer.is_some() {
        return "nobody answers there".to_owned();
    }
    let sources: Vec<String> = arrival.sources.iter().map(ToString::to_string).collect();
    let sources = sources.join(" or ");
    if arrival.masqueraded {
        format!("{sources} (not the client's alone)")
    } else {
        format!("{sources} (the client's own)")
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn add(text: &mut String, table: &Table) {
    for line in table.lines() {
        let _ = writeln!(text, "  {}", line.trim());
    }
}
