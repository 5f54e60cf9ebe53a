//! The names and addresses that a serving certificate must carry.

use std::fmt;
use std::net::IpAddr;

/// What clients may call the server: DNS names and addresses, without repetitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    host: String,
    dns: Vec<String>,
    addresses: Vec<IpAddr>,
}

/// A name that DNS does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: found {found:?}; write {wanted}")]
pub struct NameError {
    field: &'static str,
    found: String,
    wanted: &'static str,
}

// === impl Names ===

impl Names {
    /// Every name by which a Service is reached inside its cluster: `service`,
    /// `service.namespace`, `service.namespace.svc` and `service.namespace.svc.DOMAIN`.
    ///
    /// # Errors
    /// A part that is no DNS label; `domain` may have several, separated by dots.
    pub fn service(service: &str, namespace: &str, domain: &str) -> Result<Self, NameError> {
        for (field, found) in [("service", service), ("namespace", namespace)] {
            require(
                is_label(found),
                field,
                found,
                "at most 63 of a-z, 0-9 and -, not - at an end",
            )?;
        }
        let domain = domain.trim_end_matches('.');
        let is_domain = domain.len() <= 253 && domain.split('.').all(is_label);
        require(
            is_domain,
            "cluster domain",
            domain,
            "DNS labels separated by dots, for example cluster.local",
        )?;
        let host = format!("{service}.{namespace}.svc");
        Ok(Self {
            dns: vec![
                service.to_owned(),
                format!("{service}.{namespace}"),
                host.clone(),
                format!("{host}.{domain}"),
            ],
            host,
            addresses: Vec::new(),
        })
    }

    /// With these addresses as well.
    #[must_use]
    pub fn and(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        for address in addresses {
            if !self.addresses.contains(&address) {
                self.addresses.push(address);
            }
        }
        self
    }

    /// `service.namespace.svc`: what the API server asks for when it calls a webhook.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// All of them as text, DNS names first.
    pub fn all(&self) -> impl Iterator<Item = String> {
        let addresses = self.addresses.iter().map(ToString::to_string);
        self.dns.iter().cloned().chain(addresses)
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.all().collect::<Vec<_>>().join(", "))
    }
}

fn require(
    valid: bool,
    field: &'static str,
    found: &str,
    wanted: &'static str,
) -> Result<(), NameError> {
    if valid {
        return Ok(());
    }
    Err(NameError {
        field,
        found: found.to_owned(),
        wanted,
    })
}

/// RFC 1123, as Kubernetes wants names of Services and namespaces.
fn is_label(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test]
    fn a_service_has_four_names_and_its_addresses_once() {
        let address: IpAddr = "fd00::1".parse().unwrap();
        let names = Names::service("hook", "system", "cluster.local.").unwrap();
        let names = names.and([address, address]);
        assert_eq!(
            names.to_string(),
            "hook, hook.system, hook.system.svc, hook.system.svc.cluster.local, fd00::1"
        );
        assert_eq!(names.host(), "hook.system.svc");
    }

    #[test_case("", "ns", "cluster.local", "service: found \"\""; "empty")]
    #[test_case("a.b", "ns", "cluster.local", "service: found \"a.b\""; "a dot")]
    #[test_case("svc", "Ns", "cluster.local", "namespace: found \"Ns\""; "a capital")]
    #[test_case("svc", "-ns", "cluster.local", "namespace"; "a dash first")]
    #[test_case("svc", "ns", "cluster..local", "cluster domain"; "an empty label")]
    #[test_case("svc", "ns", "", "cluster domain"; "no domain")]
    fn refuses(service: &str, namespace: &str, domain: &str, said: &str) {
        let error = Names::service(service, namespace, domain).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}
