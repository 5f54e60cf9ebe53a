//! Every kind of peer, and every two of them in one rule.

use super::{Direction, X_A, case, everyone, outside};
use crate::case::Case;

/// A kind of peer.
pub(super) struct Peer {
    /// In names of cases.
    pub name: &'static str,
    /// Tags.
    pub tags: &'static [&'static str],
    /// One item of `from` or `to`.
    pub item: &'static str,
}

const fn peer(name: &'static str, tags: &'static [&'static str], item: &'static str) -> Peer {
    Peer { name, tags, item }
}

/// Every combination of the two selectors, missing, empty and with labels, but for both
/// missing, which is no peer; and blocks with and without exception.
pub(super) const PEERS: [Peer; 10] = [
    peer("block", &["block"], "{ipBlock: {cidr: 172.17.0.0/16}}"),
    peer(
        "block-with-except",
        &["block", "block-with-except"],
        "{ipBlock: {cidr: 172.16.0.0/12, except: [172.17.1.0/24]}}",
    ),
    peer("own-pods", &["all-pods"], "{podSelector: {}}"),
    peer(
        "own-pods-by-label",
        &["pods-by-label"],
        "{podSelector: {matchLabels: {pod: c}}}",
    ),
    peer(
        "all-namespaces",
        &["all-namespaces"],
        "{namespaceSelector: {}}",
    ),
    peer(
        "all-pods",
        &["all-namespaces", "all-pods"],
        "{namespaceSelector: {}, podSelector: {}}",
    ),
    peer(
        "pods-by-label-anywhere",
        &["all-namespaces", "pods-by-label"],
        "{namespaceSelector: {}, podSelector: {matchLabels: {pod: c}}}",
    ),
    peer(
        "namespace-by-label",
        &["namespaces-by-label"],
        "{namespaceSelector: {matchLabels: {ns: y}}}",
    ),
    peer(
        "all-pods-of-a-namespace",
        &["namespaces-by-label", "all-pods"],
        "{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {}}",
    ),
    peer(
        "pods-by-label-of-a-namespace",
        &["namespaces-by-label", "pods-by-label"],
        "{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [x, z]}]}, podSelector: {matchExpressions: [{key: pod, operator: In, values: [a, b]}]}}",
    ),
];

/// The cases.
pub fn cases() -> Vec<Case> {
    Direction::BOTH.into_iter().flat_map(of).collect()
}

fn of(direction: Direction) -> Vec<Case> {
    let mut all = vec![anyone(direction, "missing", "{}"), {
        let empty = format!("{{{}: []}}", direction.peers());
        anyone(direction, "empty", &empty)
    }];
    for (at, one) in PEERS.iter().enumerate() {
        all.push(with(direction, &[one]));
        // A block beside the other block, a selector beside a wider one, and so on.
        let rest = &PEERS[at + 1..];
        all.extend(rest.iter().map(|two| with(direction, &[one, two])));
    }
    all
}

fn anyone(direction: Direction, what: &str, rule: &str) -> Case {
    let name = format!("{}-peers-{what}", direction.tag());
    case(name, &["peer", "any-peer", direction.tag()])
        .policy("x/rule", &direction.spec(X_A, rule))
        .expect(outside(everyone(), direction))
}

fn with(direction: Direction, peers: &[&Peer]) -> Case {
    let names: Vec<&str> = peers.iter().map(|p| p.name).collect();
    let items: Vec<&str> = peers.iter().map(|p| p.item).collect();
    let name = format!("{}-peer-{}", direction.tag(), names.join("-or-"));
    let rule = format!("{{{}: [{}]}}", direction.peers(), items.join(", "));
    let tags: Vec<&str> = peers.iter().flat_map(|p| p.tags).copied().collect();
    let case = case(name, &["peer", direction.tag()]).tags(&tags);
    let case = if peers.len() > 1 {
        case.tags(&["two-peers"])
    } else {
        case
    };
    case.policy("x/rule", &direction.spec(X_A, &rule))
        .expect(outside(everyone(), direction))
}
