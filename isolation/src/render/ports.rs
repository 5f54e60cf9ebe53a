//! Ports of rules, as pods listen on them.

use ringfence_api::{PortNumber, RulePort};
use ringfence_policy::Snapshot;
use ringfence_policy::model::{
    ObjectKey, PortMatch, PortSpec, Protocol, Service, ServicePort, ServiceType, TargetPort,
};
use std::fmt;

/// Why a Service, or a port of it, cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortFault {
    /// There is no such Service.
    Missing(ObjectKey),
    /// It only renames a host outside of the cluster.
    ExternalName(ObjectKey),
    /// Its endpoints are made by somebody else.
    NoSelector(ObjectKey),
    /// It has no such port; the ports that it has.
    NoPort(ObjectKey, String, Vec<String>),
    /// What was written means nothing here, and what to write.
    Unusable(String),
}

impl PortFault {
    /// The reason of a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "ServiceMissing",
            Self::ExternalName(_) => "ExternalName",
            Self::NoSelector(_) => "NoSelector",
            Self::NoPort(..) => "PortMissing",
            Self::Unusable(_) => "Invalid",
        }
    }
}

impl fmt::Display for PortFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(key) => write!(f, "there is no Service {key}"),
            Self::ExternalName(key) => write!(
                f,
                "Service {key} is an ExternalName: it has no pods; write a cidr peer"
            ),
            Self::NoSelector(key) => write!(
                f,
                "Service {key} has no selector: nobody knows its pods; write a cidr peer"
            ),
            Self::NoPort(key, wanted, there) => write!(
                f,
                "Service {key} has no port {wanted}; it has {}",
                there.join(", ")
            ),
            Self::Unusable(text) => f.write_str(text),
        }
    }
}

/// A Service that has pods.
///
/// # Errors
/// It is not there, or has none by selector.
pub(super) fn service<'a>(
    snapshot: &'a Snapshot,
    namespace: &str,
    name: &str,
) -> Result<&'a Service, PortFault> {
    let key = ObjectKey::new(namespace, name);
    let Some(service) = snapshot.services.get(&key) else {
        return Err(PortFault::Missing(key));
    };
    if service.service_type == ServiceType::ExternalName {
        return Err(PortFault::ExternalName(key));
    }
    if service.selector.is_none() {
        return Err(PortFault::NoSelector(key));
    }
    Ok(service)
}

/// The pod port behind `service/port` (number or name) of a namespace.
///
/// # Errors
/// Why there is none.
pub fn service_port(
    snapshot: &Snapshot,
    namespace: &str,
    text: &str,
) -> Result<PortMatch, PortFault> {
    let (name, port) = text.split_once('/').ok_or_else(|| {
        PortFault::Unusable(format!(
            "servicePort: found {text:?}; write service/port, such as web/80"
        ))
    })?;
    let service = service(snapshot, namespace, name)?;
    let number = port.parse::<u16>().ok();
    let wanted = |p: &&ServicePort| *p.name == *port || Some(p.port) == number;
    let found = service.ports.iter().find(wanted);
    found.map(target).ok_or_else(|| no_port(service, port))
}

/// All pod ports of a Service, or those that `ports` picks among the Service's own, and
/// what it does not have.
pub(super) fn of_service(
    service: &Service,
    ports: &[RulePort],
) -> (Vec<PortMatch>, Vec<PortFault>) {
    let mut found: Vec<PortMatch> = Vec::new();
    let mut faults = Vec::new();
    if ports.is_empty() {
        found.extend(service.ports.iter().map(target));
        if found.is_empty() {
            faults.push(no_port(service, "at all"));
        }
    }
    for port in ports {
        match pick(service, port) {
            Ok(picked) => found.extend(picked),
            Err(fault) => faults.push(fault),
        }
    }
    found.sort();
    found.dedup();
    (found, faults)
}

fn pick(service: &Service, port: &RulePort) -> Result<Vec<PortMatch>, PortFault> {
    if let Some(text) = &port.service_port {
        let (name, number) = text.split_once('/').unwrap_or_default();
        if *name != *service.key.name {
            return Err(PortFault::Unusable(format!(
                "servicePort: found {text:?}; the peer is Service {}, write one of its ports",
                service.key
            )));
        }
        let wanted = number.parse::<u16>().ok();
        let wanted = |p: &&ServicePort| *p.name == *number || Some(p.port) == wanted;
        let found = service.ports.iter().find(wanted);
        return found
            .map(|p| vec![target(p)])
            .ok_or_else(|| no_port(service, number));
    }
    let protocol = protocol(port)?;
    let is_it = |p: &&ServicePort| {
        p.protocol == protocol
            && match (&port.port, port.end_port) {
                (None, _) => true,
                (Some(PortNumber::Name(name)), _) => *p.name == **name,
                (Some(PortNumber::Number(first)), None) => p.port == *first,
                (Some(PortNumber::Number(first)), Some(last)) => (*first..=last).contains(&p.port),
            }
    };
    let picked: Vec<PortMatch> = service.ports.iter().filter(is_it).map(target).collect();
    if picked.is_empty() {
        return Err(no_port(service, &describe(port)));
    }
    Ok(picked)
}

/// Ports of pods as they are written, `servicePort` resolved in `namespace` (`None`: no
/// namespace is connected to).
pub(super) fn of_pods(
    snapshot: &Snapshot,
    namespace: Option<&str>,
    ports: &[RulePort],
) -> (Vec<PortMatch>, Vec<PortFault>) {
    let mut found: Vec<PortMatch> = Vec::new();
    let mut faults = Vec::new();
    for port in ports {
        let resolved = match (&port.service_port, namespace) {
            (None, _) => literal(port),
            (Some(text), Some(namespace)) => service_port(snapshot, namespace, text),
            (Some(text), None) => Err(PortFault::Unusable(format!(
                "servicePort: found {text:?}; an address has no Services, write protocol and port"
            ))),
        };
        match resolved {
            Ok(port) => found.push(port),
            Err(fault) => faults.push(fault),
        }
    }
    found.sort();
    found.dedup();
    (found, faults)
}

fn literal(port: &RulePort) -> Result<PortMatch, PortFault> {
    let spec = match (&port.port, port.end_port) {
        (None, None) => PortSpec::Any,
        (Some(PortNumber::Name(name)), None) => PortSpec::Named(name.as_str().into()),
        (Some(PortNumber::Number(first)), None) => PortSpec::Range(*first, *first),
        (Some(PortNumber::Number(first)), Some(last)) if *first <= last => {
            PortSpec::Range(*first, last)
        }
        _ => {
            let text = "endPort: write it with a port that is a number and not above it";
            return Err(PortFault::Unusable(text.to_owned()));
        }
    };
    Ok(PortMatch {
        protocol: protocol(port)?,
        port: spec,
    })
}

fn protocol(port: &RulePort) -> Result<Protocol, PortFault> {
    match port.protocol.as_deref() {
        None | Some("TCP") => Ok(Protocol::Tcp),
        Some("UDP") => Ok(Protocol::Udp),
        Some("SCTP") => Ok(Protocol::Sctp),
        Some(other) => Err(PortFault::Unusable(format!(
            "protocol: found {other:?}; write TCP, UDP or SCTP"
        ))),
    }
}

fn target(port: &ServicePort) -> PortMatch {
    PortMatch {
        protocol: port.protocol,
        port: match &port.target {
            TargetPort::Number(number) => PortSpec::Range(*number, *number),
            TargetPort::Named(name) => PortSpec::Named(name.clone()),
        },
    }
}

fn no_port(service: &Service, wanted: &str) -> PortFault {
    let there = service.ports.iter();
    let there = there
        .map(|p| format!("{} {}", p.protocol, p.port))
        .collect();
    PortFault::NoPort(service.key.clone(), wanted.to_owned(), there)
}

fn describe(port: &RulePort) -> String {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    match (&port.port, port.end_port) {
        (None, _) => protocol.to_owned(),
        (Some(PortNumber::Name(name)), _) => format!("{protocol} {name}"),
        (Some(PortNumber::Number(first)), None) => format!("{protocol} {first}"),
        (Some(PortNumber::Number(first)), Some(last)) => format!("{protocol} {first}-{last}"),
    }
}
