//! From the file to [`Config`]: every name is looked up, every range parsed.

use super::file::{self, File};
use super::{
    Config, Dns, Exemption, Gateway, Injection, NamespaceRules, Ranges, Suppression, known_id,
};
use crate::catalogue::CATALOGUE;
use crate::finding::Level;
use ipnet::IpNet;
use ringfence_policy::model::{Name, ObjectKey, Selector};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};
use std::collections::BTreeMap;
use std::net::IpAddr;
use thiserror::Error;

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{path}: found {found}; {remedy}")]
pub struct ConfigError {
    /// Where, for example `namespaces[0].checks`.
    pub path: String,
    /// What stands there.
    pub found: String,
    /// What to write instead.
    pub remedy: String,
}

/// The JSON schema of the file.
pub fn schema() -> Value {
    schemars::schema_for!(File).to_value()
}

impl Config {
    /// Reads a configuration from the value of its YAML or JSON.
    ///
    /// # Errors
    /// The first thing in it that is not understood, with a suggestion.
    pub fn from_value(value: &Value) -> Result<Self, ConfigError> {
        // An empty file is an empty configuration.
        if value.is_null() {
            return Ok(Self::default());
        }
        let value = &with_off(value);
        let file: File = serde_path_to_error::deserialize(value).map_err(|e| misfit(&e, value))?;
        Self::from_file(&file)
    }

    fn from_file(file: &File) -> Result<Self, ConfigError> {
        expect(
            "apiVersion",
            file.api_version.as_deref(),
            "ringfence.dev/v1alpha1",
        )?;
        expect("kind", file.kind.as_deref(), "CheckConfiguration")?;
        let namespaces = file.namespaces.iter().enumerate();
        let exemptions = file.exemptions.iter().enumerate();
        let gateways = file.gateways.iter().enumerate();
        let defaults = Self::default();
        Ok(Self {
            profile: file.profile,
            levels: levels("checks", &file.checks)?,
            namespaces: namespaces
                .map(|(i, entry)| namespace(&format!("namespaces[{i}]"), entry))
                .collect::<Result<_, _>>()?,
            injection: file.injection.mode,
            dns: dns(&file.dns, defaults.dns)?,
            monitoring: names("monitoring.namespaces", &file.monitoring.namespaces)?,
            gateways: gateways
                .map(|(i, entry)| gateway(&format!("gateways[{i}]"), entry))
                .collect::<Result<_, _>>()?,
            ranges: ranges(&file.ranges)?,
            exemptions: exemptions
                .map(|(i, entry)| exemption(&format!("exemptions[{i}]"), entry))
                .collect::<Result<_, _>>()?,
            suppression: suppression(&file.suppression)?,
            sctp: file.sctp,
            system_namespaces: match &file.system_namespaces {
                Some(list) => names("systemNamespaces", list)?,
                None => defaults.system_namespaces,
            },
            default_local: file.default_external_traffic_policy_local,
        })
    }
}

fn error(
    path: impl Into<String>,
    found: impl std::fmt::Debug,
    remedy: impl Into<String>,
) -> ConfigError {
    ConfigError {
        path: path.into(),
        found: format!("{found:?}"),
        remedy: remedy.into(),
    }
}

/// The word of `known` that is nearest to `word`, if it is near.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::normalized_damerau_levenshtein(word, k), k))
        .filter(|(near, _)| *near >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

/// The same with `off` where it is a level or a mode: YAML reads it, unless it is in
/// quotes, as `false`.
fn with_off(value: &Value) -> Value {
    fn turn(field: Option<&mut Value>) {
        if let Some(field) = field.filter(|f| **f == Value::Bool(false)) {
            *field = "off".into();
        }
    }
    fn turn_all(checks: Option<&mut Value>) {
        let checks = checks.and_then(Value::as_object_mut);
        let levels = checks.into_iter().flatten();
        levels.for_each(|(_, level)| turn(Some(level)));
    }
    let mut value = value.clone();
    turn_all(value.get_mut("checks"));
    turn(value.pointer_mut("/injection/mode"));
    let namespaces = value.get_mut("namespaces").and_then(Value::as_array_mut);
    for entry in namespaces.into_iter().flatten() {
        turn_all(entry.get_mut("checks"));
        turn(entry.get_mut("injection"));
    }
    value
}

/// The value at a path.
fn at<'a>(value: &'a Value, path: &Path) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, step| match step {
        Segment::Seq { index } => value.get(index),
        Segment::Map { key } => value.get(key),
        Segment::Enum { .. } | Segment::Unknown => Some(value),
    })
}

/// serde's messages name the unknown field and the expected ones in backquotes.
fn misfit(e: &serde_path_to_error::Error<serde_json::Error>, value: &Value) -> ConfigError {
    let path = e.path().to_string();
    let message = e.inner().to_string();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message
        .starts_with("unknown ")
        .then(|| quoted.next())
        .flatten();
    let Some(unknown) = unknown else {
        let found = at(value, e.path()).unwrap_or(&Value::Null);
        let remedy = match found {
            Value::Bool(_) if path == "injection" => {
                "write injection: {mode: off}, or another mode".to_owned()
            }
            Value::Bool(_) => format!(
                "quote it, if a word is meant: YAML reads yes, no, on and off as true and \
                 false ({message})"
            ),
            _ => message,
        };
        return ConfigError {
            path,
            found: found.to_string().chars().take(80).collect(),
            remedy,
        };
    };
    let expected: Vec<&str> = quoted.collect();
    let remedy = match nearest(unknown, expected.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("write one of: {}", expected.join(", ")),
    };
    error(path, unknown, remedy)
}

fn expect(path: &str, found: Option<&str>, expected: &str) -> Result<(), ConfigError> {
    match found {
        Some(found) if found != expected => Err(error(path, found, format!("write {expected}"))),
        _ => Ok(()),
    }
}

fn check(path: &str, id: &str) -> Result<&'static str, ConfigError> {
    known_id(id).ok_or_else(|| {
        let remedy = match nearest(id, CATALOGUE.iter().map(|c| c.id)) {
            Some(near) => format!("did you mean {near}?"),
            None => "write an id that `ringfence checks` lists".to_owned(),
        };
        error(path, id, remedy)
    })
}

fn levels(
    path: &str,
    typed: &BTreeMap<String, Level>,
) -> Result<BTreeMap<&'static str, Level>, ConfigError> {
    typed
        .iter()
        .map(|(id, level)| Ok((check(path, id)?, *level)))
        .collect()
}

fn names(path: &str, typed: &[String]) -> Result<Vec<Name>, ConfigError> {
    let name = |(i, name): (usize, &String)| {
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(error(format!("{path}[{i}]"), name, "write a name"));
        }
        Ok(Name::from(name.as_str()))
    };
    typed.iter().enumerate().map(name).collect()
}

fn namespace(path: &str, entry: &file::NamespaceEntry) -> Result<NamespaceRules, ConfigError> {
    if entry.names.is_empty() && entry.match_labels.is_empty() {
        return Err(error(path, "no namespace", "add names or matchLabels"));
    }
    let selector = !entry.match_labels.is_empty();
    Ok(NamespaceRules {
        names: names(&format!("{path}.names"), &entry.names)?,
        selector: selector.then(|| labels(&entry.match_labels)),
        profile: entry.profile,
        levels: levels(&format!("{path}.checks"), &entry.checks)?,
        injection: entry.injection,
    })
}

fn labels(typed: &BTreeMap<String, String>) -> Selector {
    Selector::labels(typed.iter().map(|(k, v)| (k.as_str(), v.as_str())))
}

fn dns(entry: &file::DnsEntry, default: Dns) -> Result<Dns, ConfigError> {
    let service = match entry.service.as_deref().map(|s| (s, s.split_once('/'))) {
        None => default.service,
        Some((_, Some((namespace, name)))) if !namespace.is_empty() && !name.is_empty() => {
            ObjectKey::new(namespace, name)
        }
        Some((found, _)) => {
            let remedy = "write namespace/name, for example kube-system/kube-dns";
            return Err(error("dns.service", found, remedy));
        }
    };
    let address = |(i, text): (usize, &String)| -> Result<IpAddr, ConfigError> {
        let path = format!("dns.nodeLocal[{i}]");
        let remedy = "write an address, for example 169.254.20.10";
        text.parse().map_err(|_| error(path, text, remedy))
    };
    let node_local = entry.node_local.iter().enumerate();
    Ok(Dns {
        service,
        node_local: node_local.map(address).collect::<Result<_, _>>()?,
        into_deny_all: entry.into_deny_all,
    })
}

fn gateway(path: &str, entry: &file::GatewayEntry) -> Result<Gateway, ConfigError> {
    names(
        &format!("{path}.namespace"),
        std::slice::from_ref(&entry.namespace),
    )?;
    Ok(Gateway {
        namespace: entry.namespace.as_str().into(),
        pods: labels(&entry.match_labels),
    })
}

fn ranges(entry: &file::RangesEntry) -> Result<Ranges, ConfigError> {
    let all = |field: &str, typed: &[String]| -> Result<Vec<IpNet>, ConfigError> {
        let range = |(i, text): (usize, &String)| {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            let range = text.parse::<IpNet>().or_else(|_| address());
            let remedy = "write a CIDR such as 10.0.0.0/8, or an address";
            let path = format!("ranges.{field}[{i}]");
            range
                .map(|r| r.trunc())
                .map_err(|_| error(path, text, remedy))
        };
        typed.iter().enumerate().map(range).collect()
    };
    Ok(Ranges {
        pods: all("pods", &entry.pods)?,
        services: all("services", &entry.services)?,
        nodes: all("nodes", &entry.nodes)?,
        tunnels: all("tunnels", &entry.tunnels)?,
        host_network_peers: all("hostNetworkPeers", &entry.host_network_peers)?,
    })
}

fn exemption(path: &str, entry: &file::ExemptionEntry) -> Result<Exemption, ConfigError> {
    if entry.namespaces.is_empty() {
        let remedy = "add namespaces: with GitOps the user is the tool, and exempting it \
                      everywhere exempts every tenant";
        return Err(error(format!("{path}.namespaces"), "nothing", remedy));
    }
    if entry.users.is_empty() && entry.groups.is_empty() {
        return Err(error(path, "no user or group", "add users or groups"));
    }
    let shared = |list: &[String]| list.iter().map(|s| Name::from(s.as_str())).collect();
    Ok(Exemption {
        namespaces: names(&format!("{path}.namespaces"), &entry.namespaces)?,
        users: shared(&entry.users),
        groups: shared(&entry.groups),
    })
}

fn suppression(entry: &file::SuppressionEntry) -> Result<Suppression, ConfigError> {
    if entry.forbidden {
        return Ok(Suppression::Forbidden);
    }
    let ids = entry.except.iter();
    let ids: Vec<_> = ids
        .map(|id| check("suppression.except", id))
        .collect::<Result<_, _>>()?;
    Ok(if ids.is_empty() {
        Suppression::Allowed
    } else {
        Suppression::Except(ids)
    })
}

/// The modes by their written names, for messages.
impl Injection {
    /// As written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InPlace => "inPlace",
            Self::Companion => "companion",
            Self::Warn => "warn",
            Self::Off => "off",
        }
    }
}
