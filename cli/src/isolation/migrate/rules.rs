//! A `NamespaceNetworkPolicy`: one `IsolationRule` for each of its peers.

use super::kubesphere::text;
use ipnet::IpNet;
use ringfence_api::{
    Cidr, Direction, IsolationRule, IsolationRuleSpec, Peer, RulePort, ServiceRef,
};
use serde_json::Value;

/// What became of one.
#[derive(Debug, Default)]
pub struct Told {
    /// In the order of its peers.
    pub rules: Vec<IsolationRule>,
    /// What is not as it was.
    pub differs: Vec<String>,
    /// What has no equal.
    pub left_out: Vec<String>,
    /// It restricts egress.
    pub egress: bool,
}

/// `NamespaceNetworkPolicy shop/allow-web`
pub fn label(object: &Value) -> String {
    let (namespace, name) = (
        text(object, "/metadata/namespace"),
        text(object, "/metadata/name"),
    );
    format!("NamespaceNetworkPolicy {namespace}/{name}")
}

/// What it becomes.
pub fn translate(object: &Value) -> Told {
    let mut told = Told::default();
    let sections = [
        (Direction::Ingress, "ingress", "from"),
        (Direction::Egress, "egress", "to"),
    ];
    let mut specs = Vec::new();
    for (direction, section, end) in sections {
        let rules = list(&object["spec"][section]);
        told.egress |= direction == Direction::Egress && !rules.is_empty();
        for (at, rule) in rules.iter().enumerate() {
            let place = format!("{}: spec.{section}[{at}]", label(object));
            let peers = list(&rule[end]);
            if peers.is_empty() {
                told.left_out.push(match direction {
                    Direction::Ingress => format!(
                        "{place} names nobody and lets everyone in; to mean that, write a rule \
                         with cidr 0.0.0.0/0 (and ::/0)"
                    ),
                    Direction::Egress => format!(
                        "{place} names nobody; KubeSphere makes a deny of it, and so it stays here"
                    ),
                });
            }
            let ports = match ports(&rule["ports"]) {
                Ok(ports) => ports,
                Err(found) => {
                    told.left_out
                        .push(format!("{place}.ports: found {found}, which is no port"));
                    continue;
                }
            };
            for (number, written) in peers.iter().enumerate() {
                let place = format!("{place}.{end}[{number}]");
                match peer(written, &place, &mut told.differs) {
                    Err(why) => told.left_out.push(format!("{place}: {why}")),
                    Ok(peer) => {
                        let mut ports = ports.clone();
                        if direction == Direction::Egress && peer.service.is_some() {
                            of_service(&place, &mut ports, &mut told.differs);
                        }
                        specs.push(IsolationRuleSpec {
                            direction,
                            peer,
                            ports,
                            expires_at: None,
                            reason: Some(format!("from KubeSphere: {}", label(object))),
                        });
                    }
                }
            }
        }
    }
    let name = text(object, "/metadata/name");
    let several = specs.len() > 1;
    for (at, spec) in specs.into_iter().enumerate() {
        let name = if several {
            format!("{name}-{}", at + 1)
        } else {
            name.to_owned()
        };
        let mut rule = IsolationRule::new(&name, spec);
        rule.metadata.namespace = Some(text(object, "/metadata/namespace").to_owned());
        told.rules.push(rule);
    }
    told
}

/// KubeSphere ignores the ports of such a rule, and allows the Service's numbers where the
/// pods' are needed.
fn of_service(place: &str, ports: &mut Vec<RulePort>, differs: &mut Vec<String>) {
    differs.push(format!(
        "{place}: KubeSphere allows the Service's port numbers, here the pods' (targetPort), which \
         is what policies see"
    ));
    if !ports.is_empty() {
        ports.clear();
        differs.push(format!(
            "{place}: KubeSphere ignores the ports of a rule to a Service, so they are left out; \
             here they would count"
        ));
    }
}

fn peer(written: &Value, place: &str, differs: &mut Vec<String>) -> Result<Peer, String> {
    let mut peer = Peer::default();
    // KubeSphere looks at them in this order, and at no second one.
    if written["service"].is_object() {
        let (namespace, name) = (
            text(written, "/service/namespace"),
            text(written, "/service/name"),
        );
        if namespace.is_empty() || name.is_empty() {
            return Err("a service without namespace or name".to_owned());
        }
        peer.service = Some(ServiceRef {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        });
    } else if written["namespace"].is_object() {
        peer.namespace = Some(text(written, "/namespace/name").to_owned());
    } else if written["ipBlock"].is_object() {
        let mut masked = |field: &str, text: &str| {
            let range: IpNet = text
                .parse()
                .map_err(|_| format!("{field}: found {text:?}, which is no CIDR"))?;
            if range.trunc() != range {
                differs.push(format!("{place}: {text} is written as {}", range.trunc()));
            }
            Ok::<IpNet, String>(range.trunc())
        };
        let cidr = masked("cidr", text(written, "/ipBlock/cidr"))?;
        let mut except = Vec::new();
        for hole in list(&written["ipBlock"]["except"]) {
            let hole = masked("except", hole.as_str().unwrap_or_default())?;
            if !cidr.contains(&hole) {
                return Err(format!("except: {hole} is not inside of {cidr}"));
            }
            except.push(hole.to_string());
        }
        peer.cidr = Some(Cidr {
            cidr: cidr.to_string(),
            except,
        });
    } else {
        return Err("neither service, namespace nor ipBlock".to_owned());
    }
    Ok(peer)
}

/// Ports are written alike; what is not like one is the error.
fn ports(written: &Value) -> Result<Vec<RulePort>, String> {
    let ports = list(written).iter();
    ports
        .map(|port| serde_json::from_value(port.clone()).map_err(|_| port.to_string()))
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
