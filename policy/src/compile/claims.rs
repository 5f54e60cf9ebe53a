//! Who claims an address.

use crate::model::{Name, Pod};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

/// Address -> the pods that policies see and that have it in their status. Normally
/// one; several while an address is handed on, or when the network is broken.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<IpAddr, Claim>);

/// Two words, and no allocation in the normal case: there may be 150,000 of them.
#[derive(Debug)]
enum Claim {
    One(Arc<Pod>),
    /// Two or more, sorted by key.
    Many(Box<[Arc<Pod>]>),
}

impl Claim {
    fn pods(&self) -> &[Arc<Pod>] {
        match self {
            Self::One(pod) => std::slice::from_ref(pod),
            Self::Many(pods) => pods,
        }
    }
}

impl Claims {
    /// Enters a pod under all its addresses, unless policies do not see it.
    pub(super) fn insert(&mut self, pod: &Arc<Pod>) {
        if !pod.is_target() {
            return;
        }
        for ip in &pod.ips {
            match self.0.entry(*ip) {
                Entry::Vacant(entry) => {
                    entry.insert(Claim::One(Arc::clone(pod)));
                }
                Entry::Occupied(mut entry) => {
                    let mut pods: Vec<Arc<Pod>> = entry.get().pods().to_vec();
                    pods.retain(|other| other.key != pod.key);
                    pods.push(Arc::clone(pod));
                    entry.insert(Self::claim(pods));
                }
            }
        }
    }

    /// Takes a pod away from all its addresses.
    pub(super) fn remove(&mut self, pod: &Pod) {
        for ip in &pod.ips {
            if let Entry::Occupied(mut entry) = self.0.entry(*ip) {
                let mut pods: Vec<Arc<Pod>> = entry.get().pods().to_vec();
                pods.retain(|other| other.key != pod.key);
                if pods.is_empty() {
                    entry.remove();
                } else {
                    entry.insert(Self::claim(pods));
                }
            }
        }
    }

    fn claim(mut pods: Vec<Arc<Pod>>) -> Claim {
        if pods.len() == 1
            && let Some(pod) = pods.pop()
        {
            return Claim::One(pod);
        }
        pods.sort_by(|a, b| a.key.cmp(&b.key));
        Claim::Many(pods.into())
    }

    /// Those that count, sorted by key: while any of them is not terminating, the
    /// terminating ones have given the address back.
    pub(super) fn of(&self, ip: IpAddr) -> impl Iterator<Item = &Arc<Pod>> + Clone {
        let pods = self.0.get(&ip).map_or(&[][..], Claim::pods);
        let some_stay = pods.iter().any(|pod| !pod.terminating);
        pods.iter()
            .filter(move |pod| !(some_stay && pod.terminating))
    }

    /// As [`Claims::of`], of this node only.
    pub(super) fn local<'a>(
        &'a self,
        ip: IpAddr,
        node: &'a Name,
    ) -> impl Iterator<Item = &'a Arc<Pod>> + Clone {
        self.of(ip).filter(move |pod| pod.node == *node)
    }

    /// Every claimed address, in no order.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.0.keys().copied()
    }
}

/// Whether the same pods, as far as a policy can tell, stand behind an address.
pub(super) fn same_identity<'a>(
    before: impl IntoIterator<Item = &'a Arc<Pod>>,
    after: impl IntoIterator<Item = &'a Arc<Pod>>,
) -> bool {
    before
        .into_iter()
        .map(identity)
        .eq(after.into_iter().map(identity))
}

fn identity(pod: &Arc<Pod>) -> impl PartialEq {
    (&pod.key, &pod.labels, &pod.node, &pod.ports)
}
