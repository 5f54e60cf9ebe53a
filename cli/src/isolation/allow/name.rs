//! Names for rules: the same peer and ports give the same name.

use anyhow::{Result, bail};
use ringfence_api::{Direction, IsolationRuleSpec, PortNumber, RulePort};

/// What the API server allows.
const LONGEST: usize = 253;

/// `from-friend`, `to-10-1-0-1-32-80-tcp`
pub fn of(spec: &IsolationRuleSpec) -> Result<String> {
    let word = match spec.direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let peer = &spec.peer;
    let mut name = word.to_owned();
    let mut add = |text: &str| {
        let letters = text.chars().map(|c| {
            let c = c.to_ascii_lowercase();
            if c.is_ascii_alphanumeric() { c } else { '-' }
        });
        let letters: String = letters.collect();
        // `fd00::/8` would put dashes beside each other.
        for part in letters.split('-').filter(|part| !part.is_empty()) {
            name.push('-');
            name.push_str(part);
        }
    };
    if let Some(namespace) = &peer.namespace {
        add(namespace);
    }
    if let Some(service) = &peer.service {
        add(&service.namespace);
        add(&service.name);
    }
    if let Some(cidr) = &peer.cidr {
        add(&cidr.cidr);
    }
    for port in &spec.ports {
        add(&text(port));
    }
    if name.len() > LONGEST {
        bail!(
            "a name of the peer and {} ports is too long: write --name",
            spec.ports.len()
        );
    }
    Ok(name)
}

fn text(port: &RulePort) -> String {
    if let Some(service) = &port.service_port {
        return service.clone();
    }
    let number = match &port.port {
        Some(PortNumber::Number(number)) => number.to_string(),
        Some(PortNumber::Name(name)) => name.clone(),
        None => String::new(),
    };
    let last = port
        .end_port
        .map(|last| format!("-{last}"))
        .unwrap_or_default();
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    format!("{number}{last}-{protocol}")
}
