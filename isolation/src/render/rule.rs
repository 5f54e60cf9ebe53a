//! One rule.

use super::{Input, faults_of, inside, ports};
use crate::{Condition, Statement, Status};
use ipnet::IpNet;
use ringfence_api::{Cidr, Direction, IsolationRuleSpec, ServiceRef};
use ringfence_checks::inject::dns::NAMESPACE_NAME;
use ringfence_policy::model::{IpBlock, NamespaceMatch, Peer, PortMatch, Rule, Selector};

/// What became of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// As it stands in the policy; `None` while it does not.
    pub rule: Option<Rule>,
    /// The peer in a few words.
    pub peer: String,
    /// `Ready`, `PeersResolved` and `Expired`, in this order.
    pub statements: [Statement; 3],
}

impl Outcome {
    /// Whether its peer, or one of its ports, could not be looked up.
    pub fn is_unresolved(&self) -> bool {
        self.statements[1].status == Status::False
    }

    /// Whether its time is over.
    pub fn is_expired(&self) -> bool {
        self.statements[2].status == Status::True
    }
}

/// A rule's peer in a few words: `namespace a`, `service a/b` or `10.0.0.0/8`.
pub fn peer_text(spec: &IsolationRuleSpec) -> String {
    let peer = &spec.peer;
    match (&peer.namespace, &peer.service, &peer.cidr) {
        (Some(namespace), None, None) => format!("namespace {namespace}"),
        (None, Some(service), None) => format!("service {}/{}", service.namespace, service.name),
        (None, None, Some(cidr)) if cidr.except.is_empty() => cidr.cidr.clone(),
        (None, None, Some(cidr)) => format!("{} except {}", cidr.cidr, cidr.except.join(", ")),
        _ => "none".to_owned(),
    }
}

/// A rule with the reason and the message why it is not all that was asked for.
struct Found {
    rule: Option<Rule>,
    fault: Option<(&'static str, String)>,
}

impl Found {
    fn nothing(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            rule: None,
            fault: Some((reason, message.into())),
        }
    }
}

/// `restricted`: whether egress is.
pub(super) fn translate(input: &Input, spec: &IsolationRuleSpec, restricted: bool) -> Outcome {
    let found = resolve(input, spec);
    let end = spec.expires_at.as_ref().map(|end| end.0);
    let ended = end.filter(|end| *end <= input.now);
    let unneeded = spec.direction == Direction::Egress && !restricted;
    let resolved = match &found.fault {
        None => (
            Status::True,
            "Resolved",
            "peer and ports were found".to_owned(),
        ),
        Some((reason, message)) => (Status::False, *reason, message.clone()),
    };
    let ready = match (&found.rule, ended) {
        (_, Some(end)) => (Status::False, "Expired", format!("it ended at {end}")),
        (None, _) => (resolved.0, resolved.1, resolved.2.clone()),
        (Some(_), _) if unneeded => (
            Status::True,
            "EgressOpen",
            "spec.egress of the NamespaceIsolation is Open: pods may connect to everyone"
                .to_owned(),
        ),
        // In effect, though perhaps not all of it.
        (Some(_), _) => (
            Status::True,
            "Rendered",
            "it stands in NetworkPolicy ringfence-isolation".to_owned(),
        ),
    };
    let expired = match (ended, end) {
        (Some(end), _) => (Status::True, "Ended", format!("it ended at {end}")),
        (None, Some(end)) => (Status::False, "Waiting", format!("it ends at {end}")),
        (None, None) => (Status::False, "Never", "it has no expiresAt".to_owned()),
    };
    let statement = |condition, (status, reason, message)| {
        Statement::new(condition, status, reason, String::clone(&message))
    };
    Outcome {
        rule: found.rule.filter(|_| ended.is_none() && !unneeded),
        peer: peer_text(spec),
        statements: [
            statement(Condition::Ready, ready),
            statement(Condition::PeersResolved, resolved),
            statement(Condition::Expired, expired),
        ],
    }
}

fn resolve(input: &Input, spec: &IsolationRuleSpec) -> Found {
    let peer = &spec.peer;
    let found = match (&peer.namespace, &peer.service, &peer.cidr) {
        (Some(namespace), None, None) => to_namespace(input, spec, namespace),
        (None, Some(service), None) => to_service(input, spec, service),
        (None, None, Some(cidr)) => to_addresses(input, spec, cidr),
        _ => Found::nothing(
            "Invalid",
            "peer: write exactly one of namespace, service and cidr",
        ),
    };
    match found.rule.as_ref().and_then(faults_of) {
        Some(fault) => Found::nothing("Invalid", fault),
        None => found,
    }
}

fn to_namespace(input: &Input, spec: &IsolationRuleSpec, namespace: &str) -> Found {
    let target = match spec.direction {
        Direction::Ingress => input.namespace,
        Direction::Egress => namespace,
    };
    let ports = ports::of_pods(input.snapshot, Some(target), &spec.ports);
    let mut found = limited(inside::named(namespace), spec, ports);
    if !input.snapshot.namespaces.contains_key(namespace) {
        // The rule stays, and matches nothing until the namespace is there.
        let text = format!("there is no namespace {namespace}: the rule matches nothing");
        found.fault.get_or_insert(("NamespaceMissing", text));
    }
    found
}

fn to_service(input: &Input, spec: &IsolationRuleSpec, reference: &ServiceRef) -> Found {
    let service = ports::service(input.snapshot, &reference.namespace, &reference.name);
    let service = match service {
        Ok(service) => service,
        Err(fault) => return Found::nothing(fault.reason(), fault.to_string()),
    };
    // An empty selector would be every pod of the namespace; the model has none.
    let Some(selector) = &service.selector else {
        return Found::nothing("NoSelector", "the Service has no selector");
    };
    let labels = selector.iter().map(|(k, v)| (k.clone(), v.clone()));
    let peer = Peer::Pods {
        namespaces: NamespaceMatch::Labels(Selector::labels([(
            NAMESPACE_NAME,
            reference.namespace.as_str(),
        )])),
        pods: Selector::labels(labels),
    };
    match spec.direction {
        // The Service's pods are the ones that connect; its ports say nothing.
        Direction::Ingress => {
            let ports = ports::of_pods(input.snapshot, Some(input.namespace), &spec.ports);
            limited(peer, spec, ports)
        }
        Direction::Egress => {
            let (ports, faults) = ports::of_service(service, &spec.ports);
            let fault = first(&faults);
            let rule = (!ports.is_empty()).then(|| Rule {
                peers: vec![peer],
                ports,
            });
            Found { rule, fault }
        }
    }
}

fn to_addresses(input: &Input, spec: &IsolationRuleSpec, cidr: &Cidr) -> Found {
    let target = match spec.direction {
        Direction::Ingress => Some(input.namespace),
        Direction::Egress => None,
    };
    let block = match block(cidr) {
        Ok(block) => block,
        Err(fault) => return Found::nothing("Invalid", fault),
    };
    let ports = ports::of_pods(input.snapshot, target, &spec.ports);
    limited(Peer::Block(block), spec, ports)
}

/// A rule for the ports that were found: all of them when none was asked for, no rule at
/// all when none of those asked for was found.
fn limited(
    peer: Peer,
    spec: &IsolationRuleSpec,
    (ports, faults): (Vec<PortMatch>, Vec<ports::PortFault>),
) -> Found {
    let nothing_left = ports.is_empty() && !spec.ports.is_empty();
    let rule = (!nothing_left).then(|| Rule {
        peers: vec![peer],
        ports,
    });
    Found {
        rule,
        fault: first(&faults),
    }
}

fn first(faults: &[ports::PortFault]) -> Option<(&'static str, String)> {
    let first = faults.first()?;
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    Some((first.reason(), texts.join("; ")))
}

fn block(cidr: &Cidr) -> Result<IpBlock, String> {
    let network = |field: &str, text: &str| {
        let net: IpNet = text.parse().map_err(|_| {
            format!("{field}: found {text:?}; write a range such as 10.1.0.1/32, ports belong to spec.ports")
        })?;
        Ok::<IpNet, String>(net.trunc())
    };
    let range = network("cidr", &cidr.cidr)?;
    let mut except = Vec::new();
    for text in &cidr.except {
        let net = network("except", text)?;
        if !range.contains(&net) {
            return Err(format!(
                "except: found {text:?}; write a range inside of {range}"
            ));
        }
        except.push(net);
    }
    Ok(IpBlock {
        cidr: range,
        except,
    })
}
