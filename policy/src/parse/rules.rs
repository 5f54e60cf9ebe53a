//! Rules, peers and ports from raw JSON.

use super::errors::Errors;
use super::json::Field;
use super::selector::selector;
use super::{address, names};
use crate::model::{
    Direction, IpBlock, NamespaceMatch, Peer, PortMatch, PortSpec, Protocol, Rule, Selector,
};
use ipnet::IpNet;

/// A rule; `{}` allows everything from or to everyone.
pub(super) fn rule(field: &Field, direction: Direction, errors: &mut Errors) -> Rule {
    let far_end = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    field.only(&[far_end, "ports"], errors);
    let peers = field.list(far_end, errors);
    let peers = peers.filter_map(|item| peer(&item, errors)).collect();
    let ports = field.list("ports", errors);
    let ports = ports.filter_map(|item| port(&item, errors)).collect();
    Rule { peers, ports }
}

fn peer(field: &Field, errors: &mut Errors) -> Option<Peer> {
    field.only(&["podSelector", "namespaceSelector", "ipBlock"], errors);
    if !field.value.is_object() {
        return None;
    }
    let pods = field.get("podSelector");
    let namespaces = field.get("namespaceSelector");
    let block = field.get("ipBlock");
    if pods.is_none() && namespaces.is_none() && block.is_none() {
        field.fault(
            errors,
            "add a podSelector, a namespaceSelector or an ipBlock; for everyone leave the \
             whole list out",
        );
        return None;
    }
    let selects = pods.is_some() || namespaces.is_some();
    let pods = pods.map(|s| selector(&s, errors));
    let namespaces = namespaces.map(|s| selector(&s, errors));
    let Some(block) = block else {
        return Some(Peer::Pods {
            namespaces: namespaces.map_or(NamespaceMatch::Own, NamespaceMatch::Labels),
            pods: pods.unwrap_or_else(Selector::everything),
        });
    };
    if selects {
        block.fault(
            errors,
            "move ipBlock into an item of its own: it excludes selectors",
        );
    }
    ip_block(&block, errors).map(Peer::Block)
}

fn ip_block(field: &Field, errors: &mut Errors) -> Option<IpBlock> {
    field.only(&["cidr", "except"], errors);
    let cidr = field.get("cidr");
    if cidr.is_none() && field.value.is_object() {
        field.fault(errors, "add cidr, a network such as 10.0.0.0/8");
    }
    let cidr = cidr.and_then(|cidr| network(&cidr, errors));
    let mut except = Vec::new();
    for item in field.list("except", errors) {
        let Some(net) = network(&item, errors) else {
            continue;
        };
        // Equal to the cidr is a range of nothing: useless, but clear.
        if cidr.is_none_or(|cidr: IpNet| cidr.contains(&net)) {
            except.push(net);
        } else {
            item.fault(errors, "write a network inside of cidr, or leave it out");
        }
    }
    cidr.map(|cidr| IpBlock { cidr, except })
}

fn network(field: &Field, errors: &mut Errors) -> Option<IpNet> {
    match address::network(field.text(errors)?) {
        Ok(net) => Some(net),
        Err(remedy) => {
            field.fault(errors, remedy);
            None
        }
    }
}

fn port(field: &Field, errors: &mut Errors) -> Option<PortMatch> {
    field.only(&["protocol", "port", "endPort"], errors);
    let protocol = match field.get("protocol") {
        None => Some(Protocol::Tcp),
        Some(protocol) => known_protocol(&protocol, errors),
    };
    let port = field.get("port");
    let end = field.get("endPort");
    let first = match &port {
        None => Some(PortSpec::Any),
        Some(port) => port_spec(port, errors),
    };
    let Some(end) = end else {
        return Some(PortMatch {
            protocol: protocol?,
            port: first?,
        });
    };
    let last = number(&end);
    if last.is_none() {
        end.fault(errors, "write a number from 1 to 65535");
    }
    match (first?, last?) {
        (PortSpec::Range(first, _), last) if last >= first => Some(PortMatch {
            protocol: protocol?,
            port: PortSpec::Range(first, last),
        }),
        (PortSpec::Range(first, _), _) => {
            end.fault(
                errors,
                format!("write a number that is not below port {first}"),
            );
            None
        }
        (PortSpec::Named(_), _) => {
            end.fault(errors, "leave endPort out, or write port as a number");
            None
        }
        (PortSpec::Any, _) => {
            end.fault(errors, "add port, the first number of the range");
            None
        }
    }
}

fn known_protocol(field: &Field, errors: &mut Errors) -> Option<Protocol> {
    let text = field.value.as_str();
    let protocol = Protocol::ALL
        .into_iter()
        .find(|p| text.is_some_and(|t| t == p.to_string()));
    if protocol.is_none() {
        field.fault(errors, "write TCP, UDP or SCTP, in capitals");
    }
    protocol
}

fn port_spec(field: &Field, errors: &mut Errors) -> Option<PortSpec> {
    if let Some(port) = number(field) {
        return Some(PortSpec::Range(port, port));
    }
    match field.value.as_str() {
        Some(name) if names::port(name) => return Some(PortSpec::Named(name.into())),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) && !digits.is_empty() => {
            field.fault(errors, "write the number without quotes");
        }
        Some(_) => field.fault(
            errors,
            "write a container port's name: at most 15 lower-case letters, digits and single \
             dashes, at least one letter",
        ),
        None => field.fault(
            errors,
            "write a number from 1 to 65535, or a container port's name",
        ),
    }
    None
}

fn number(field: &Field) -> Option<u16> {
    let number = field.value.as_u64().and_then(|n| u16::try_from(n).ok());
    number.filter(|n| *n > 0)
}
