//! When one rule allows all that another one allows.

use ringfence_policy::model::{
    IpBlock, NamespaceMatch, Operator, Peer, PortMatch, PortSpec, Requirement, Rule, Selector,
};

/// Whether `wide` allows whatever `narrow` allows, for the same pods. `false` where that
/// cannot be told from the rules alone.
pub fn contains(wide: &Rule, narrow: &Rule) -> bool {
    // Numbers are compared first: mostly they differ already.
    let ports = wide.ports.is_empty()
        || !narrow.ports.is_empty()
            && all_in(&narrow.ports, &wide.ports, |wide, narrow| {
                port(wide, narrow)
            });
    ports
        && (wide.peers.is_empty()
            || !narrow.peers.is_empty()
                && all_in(&narrow.peers, &wide.peers, |wide, narrow| {
                    peer(wide, narrow)
                }))
}

fn all_in<T>(narrow: &[T], wide: &[T], contains: impl Fn(&T, &T) -> bool) -> bool {
    narrow.iter().all(|n| wide.iter().any(|w| contains(w, n)))
}

fn peer(wide: &Peer, narrow: &Peer) -> bool {
    match (wide, narrow) {
        (
            Peer::Pods { namespaces, pods },
            Peer::Pods {
                namespaces: of,
                pods: narrow,
            },
        ) => {
            let all_namespaces = match (namespaces, of) {
                (NamespaceMatch::Own, NamespaceMatch::Own) => true,
                (NamespaceMatch::Labels(wide), NamespaceMatch::Own) => wide.is_everything(),
                (NamespaceMatch::Own, NamespaceMatch::Labels(_)) => false,
                (NamespaceMatch::Labels(wide), NamespaceMatch::Labels(of)) => selector(wide, of),
            };
            all_namespaces && selector(pods, narrow)
        }
        (Peer::Block(wide), Peer::Block(narrow)) => block(wide, narrow),
        _ => false,
    }
}

/// Whether every requirement of `wide` follows from one of `narrow`.
fn selector(wide: &Selector, narrow: &Selector) -> bool {
    let narrow = narrow.requirements();
    wide.requirements()
        .iter()
        .all(|w| narrow.iter().any(|n| w.key == n.key && follows(n, w)))
}

/// Whether a label that satisfies `narrow` satisfies `wide`, both of the same key.
fn follows(narrow: &Requirement, wide: &Requirement) -> bool {
    use Operator::{DoesNotExist, Exists, In, NotIn};
    match (&narrow.operator, &wide.operator) {
        (In(narrow), In(wide)) => narrow.iter().all(|v| wide.contains(v)),
        (In(narrow), NotIn(wide)) => !narrow.iter().any(|v| wide.contains(v)),
        (NotIn(narrow), NotIn(wide)) => wide.iter().all(|v| narrow.contains(v)),
        (In(_) | Exists, Exists) | (DoesNotExist, DoesNotExist | NotIn(_)) => true,
        _ => false,
    }
}

fn block(wide: &IpBlock, narrow: &IpBlock) -> bool {
    let disjoint = |a: &ipnet::IpNet, b: &ipnet::IpNet| !a.contains(b) && !b.contains(a);
    wide.cidr.contains(&narrow.cidr)
        && wide.except.iter().all(|hole| {
            disjoint(hole, &narrow.cidr) || narrow.except.iter().any(|e| e.contains(hole))
        })
}

fn port(wide: &PortMatch, narrow: &PortMatch) -> bool {
    wide.protocol == narrow.protocol
        && match (&wide.port, &narrow.port) {
            (PortSpec::Any, _) => true,
            (PortSpec::Range(from, to), PortSpec::Range(first, last)) => {
                from <= first && last <= to
            }
            (wide, narrow) => wide == narrow,
        }
}
