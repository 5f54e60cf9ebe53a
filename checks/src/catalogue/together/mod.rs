//! Policies beside each other.

pub mod contains;
pub mod one_sided;
mod pair;
pub mod redundant;
pub mod whole;

use ringfence_policy::model::{Direction, PortSpec, Rule};

/// Whether an egress rule opens nothing but DNS. Every policy that isolates egress needs
/// such a rule, so the same one in several policies is no waste.
pub(super) fn is_dns_only(direction: Direction, rule: &Rule) -> bool {
    let dns = |port: &PortSpec| match port {
        PortSpec::Range(first, last) => first == last && matches!(first, 53 | 1053),
        PortSpec::Named(name) => name.starts_with("dns"),
        PortSpec::Any => false,
    };
    direction == Direction::Egress
        && !rule.ports.is_empty()
        && rule.ports.iter().all(|p| dns(&p.port))
}
