//! What is known about the cluster beyond the five kinds that decide about packets.

use ipnet::IpNet;
use ringfence_policy::model::ObjectKey;
use std::collections::BTreeSet;

/// `None` everywhere means: not known (yet); a check that needs it answers Unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The Service network: `ServiceCIDR` objects.
    pub service_ranges: Option<Vec<IpNet>>,
    /// `iptables.masqueradeAll` (or `nftables.masqueradeAll`) of kube-proxy's ConfigMap.
    pub masquerade_all: Option<bool>,
    /// The Services that webhook configurations and APIServices call.
    pub webhook_services: Option<BTreeSet<ObjectKey>>,
    /// The Services that are backends of Ingresses and HTTPRoutes.
    pub ingress_services: Option<BTreeSet<ObjectKey>>,
}
