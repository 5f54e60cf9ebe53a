//! Cases that are combinations: who, which way, which port, which protocol, and what
//! happens next. The oracle alone says what they expect; cases written by hand, with
//! answers of their own, keep the oracle honest.
//!
//! Their tags are the parts that they are made of, so `ringfence-e2e run block egress`
//! plays what has to do with either.

mod actions;
mod conflicts;
mod peers;
mod ports;
mod targets;

use crate::case::{Case, Expect, matrix};
use crate::fabric::{Placement, PodKind};
use crate::probe::{Transport, tcp, udp};

/// The cases.
pub fn cases() -> Vec<Case> {
    let all = [
        targets::cases(),
        peers::cases(),
        ports::cases(),
        conflicts::cases(),
        actions::cases(),
    ]
    .concat();
    // Spread over two nodes there are cells on one node and on two. One kind of pod for
    // each case, in turn: what the kinds change does not depend on selectors and ports.
    let kinds = PodKind::ALL.into_iter().cycle();
    let on = |(case, kind): (Case, PodKind)| case.kinds(&[kind]).placements(&[Placement::Spread]);
    all.into_iter().zip(kinds).map(on).collect()
}

/// One of the two directions of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

// === impl Direction ===

impl Direction {
    const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    /// Of `policyTypes`, and as a tag.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Ingress => ("Ingress", "ingress"),
            Self::Egress => ("Egress", "egress"),
        }
    }

    fn tag(self) -> &'static str {
        self.names().1
    }

    /// `from` or `to`.
    fn peers(self) -> &'static str {
        match self {
            Self::Ingress => "from",
            Self::Egress => "to",
        }
    }

    /// The `spec` of a policy over `selector` with these rules of this direction alone.
    fn spec(self, selector: &str, rules: &str) -> String {
        let (kind, field) = self.names();
        format!("{{podSelector: {selector}, policyTypes: [{kind}], {field}: [{rules}]}}")
    }
}

/// The pod that most of them isolate.
const X_A: &str = "{matchLabels: {pod: a}}";

/// A case by a name that was put together. Cases live as long as the program.
fn case(name: String, tags: &[&'static str]) -> Case {
    Case::new(String::leak(name), "generated")
        .tags(&["generated"])
        .tags(tags)
}

/// TCP on one port and UDP on another, for whom ports do not matter.
fn everyone() -> Expect {
    matrix(&[tcp(80), udp(81)])
}

/// Both ports by both protocols.
fn every_port() -> Expect {
    matrix(&PORTS)
}

const PORTS: [Transport; 4] = [tcp(80), tcp(81), udp(80), udp(81)];

/// Addresses outside of the cluster, in and beside [`peers`]' blocks, from and to `x/a`.
fn outside(expect: Expect, direction: Direction) -> Expect {
    match direction {
        Direction::Ingress => expect.and(&[
            ("net172", "x/a"),
            ("net172-1", "x/a"),
            ("stranger", "x/a"),
            ("office6", "x/a"),
        ]),
        Direction::Egress => expect.and(&[
            ("x/a", "net172"),
            ("x/a", "net172-1"),
            ("x/a", "stranger"),
            ("x/a", "office6"),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    /// At least as many of each part as the widest public generator has.
    #[test]
    fn the_parts_are_covered() {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let cases = super::cases();
        for tag in cases.iter().flat_map(|c| c.tags.clone()) {
            *counts.entry(tag).or_default() += 1;
        }
        for (tag, least) in [
            ("generated", 240),
            ("ingress", 110),
            ("egress", 110),
            ("block", 30),
            ("block-with-except", 20),
            ("pods-by-label", 60),
            ("namespaces-by-label", 60),
            ("two-peers", 90),
            ("numbered-port", 20),
            ("named-port", 20),
            ("port-range", 8),
            ("two-ports", 12),
            ("tcp", 15),
            ("udp", 15),
            ("sctp", 10),
            ("conflict", 16),
            ("target", 7),
            ("action", 20),
        ] {
            let have = counts.get(tag).copied().unwrap_or(0);
            assert!(have >= least, "{tag}: {have}, at least {least}");
        }
    }
}
