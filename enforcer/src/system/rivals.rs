//! Other NetworkPolicy enforcers, by the chains that they have (or left) on this node.

use super::programs::SearchPath;
use super::{Error, Family, Flavour, command, detect, nftables};
use std::collections::BTreeMap;
use std::time::Duration;

/// Another enforcer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rival {
    /// kube-router's network policy controller.
    KubeRouter,
    /// Felix: Calico and Canal.
    Calico,
    /// Cilium; most of its policies are in eBPF, these are its chains beside them.
    Cilium,
    /// Antrea's host rules.
    Antrea,
    /// Weave Net's controller.
    WeaveNet,
    /// sigs.k8s.io/kube-network-policies, as in newer kindnet.
    KubeNetworkPolicies,
}

// === impl Rival ===

impl Rival {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::KubeRouter,
        Self::Calico,
        Self::Cilium,
        Self::Antrea,
        Self::WeaveNet,
        Self::KubeNetworkPolicies,
    ];

    /// In metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::KubeRouter => "kube-router",
            Self::Calico => "calico",
            Self::Cilium => "cilium",
            Self::Antrea => "antrea",
            Self::WeaveNet => "weave-net",
            Self::KubeNetworkPolicies => "kube-network-policies",
        }
    }

    /// Whose chain it is, by its table's name and its own.
    fn of(table: &str, chain: &str) -> Option<Self> {
        // kube-router's chains for Services and routing decide nothing about policies.
        const CHAINS: [(&str, Rival); 8] = [
            ("KUBE-NWPLCY", Rival::KubeRouter),
            ("KUBE-POD-FW-", Rival::KubeRouter),
            ("cali-", Rival::Calico),
            ("CILIUM_", Rival::Cilium),
            ("ANTREA-POL-", Rival::Antrea),
            ("ANTREA-INGRESS", Rival::Antrea),
            ("WEAVE-NPC", Rival::WeaveNet),
            ("KUBE-NETWORK-POLICIES", Rival::KubeNetworkPolicies),
        ];
        const TABLES: [(&str, Rival); 3] = [
            ("calico", Rival::Calico),
            ("kindnet-network-policies", Rival::KubeNetworkPolicies),
            ("kube-network-policies", Rival::KubeNetworkPolicies),
        ];
        let by_table = TABLES.iter().find(|(name, _)| table == *name);
        let by_chain = || CHAINS.iter().find(|(prefix, _)| chain.starts_with(prefix));
        by_table.or_else(by_chain).map(|(_, rival)| *rival)
    }
}

/// How many chains each of them has, in both flavours and in native nftables. Makes no
/// table.
pub(super) fn rivals(
    search: &SearchPath,
    timeout: Duration,
) -> Result<BTreeMap<Rival, usize>, Error> {
    let mut chains = match nftables::all_chains(timeout) {
        // A kernel without nftables.
        Err(Error::Netlink { .. }) => Vec::new(),
        other => other?,
    };
    for family in Family::ALL {
        let Ok(save) = search.tool(family, Flavour::Legacy, "save", None) else {
            continue;
        };
        for table in detect::legacy_tables(family)? {
            let text = command::run(&save, &["-t", &table], "", timeout)?.stdout;
            let names = text.lines().filter_map(|line| line.strip_prefix(':'));
            let names = names.filter_map(|line| line.split(' ').next());
            chains.extend(names.map(|name| (table.clone(), name.to_owned())));
        }
    }
    Ok(count(&chains))
}

fn count(chains: &[(String, String)]) -> BTreeMap<Rival, usize> {
    let mut found = BTreeMap::new();
    for rival in chains.iter().filter_map(|(t, c)| Rival::of(t, c)) {
        *found.entry(rival).or_default() += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("filter", "KUBE-NWPLCY-ABC", Some(Rival::KubeRouter); "a policy of kube-router")]
    #[test_case("filter", "KUBE-POD-FW-ABC", Some(Rival::KubeRouter); "a pod of kube-router")]
    #[test_case("filter", "KUBE-ROUTER-SERVICES", None; "kube-router's Services")]
    #[test_case("filter", "KUBE-FORWARD", None; "kube-proxy")]
    #[test_case("filter", "cali-FORWARD", Some(Rival::Calico); "calico")]
    #[test_case("calico", "filter-FORWARD", Some(Rival::Calico); "calico on nftables")]
    #[test_case("kindnet-network-policies", "postrouting", Some(Rival::KubeNetworkPolicies); "kindnet")]
    #[test_case("filter", "WEAVE-NPC-DEFAULT", Some(Rival::WeaveNet); "weave")]
    #[test_case("filter", "RF-FORWARD", None; "ours")]
    fn whose(table: &str, chain: &str, expected: Option<Rival>) {
        assert_eq!(Rival::of(table, chain), expected);
    }
}
