//! From an address to its pod's rules in a few steps, however many pods there are.
//!
//! A path-compressed tree on address bits, two bits a level: a chain has at most four
//! branches, a branch goes to the next chain or, for a single pod, to its signature.
//! A node's chain depends on its own addresses only, so that one pod more or less
//! rewrites the one chain that holds it (and one more where a chain splits).

use super::Family;
use super::names::{View, comment};
use super::ruleset::{Context, Ruleset};
use ringfence_policy::compile::{Endpoint, Id};
use ringfence_policy::model::Direction;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One isolated address.
struct Leaf<'a> {
    /// The address, left-aligned.
    key: u128,
    address: IpAddr,
    endpoint: &'a Endpoint,
    signatures: &'a [Id],
}

/// Renders the tree of one view; false when no address of the family is isolated in
/// that direction (then there is no chain).
pub(crate) fn render(context: &Context<'_>, view: View, ruleset: &mut Ruleset) -> bool {
    let mut leaves: Vec<Leaf<'_>> = context
        .structure
        .endpoints
        .iter()
        .filter(|(address, _)| Family::of(**address) == context.family)
        .map(|(address, endpoint)| Leaf {
            key: left_aligned(*address),
            address: *address,
            endpoint,
            signatures: match view.direction {
                Direction::Ingress => &endpoint.ingress,
                Direction::Egress => &endpoint.egress,
            },
        })
        .filter(|leaf| !leaf.signatures.is_empty())
        .collect();
    if leaves.is_empty() {
        return false;
    }
    leaves.sort_by_key(|leaf| leaf.key);
    Tree {
        context,
        view,
        ruleset,
    }
    .node(view.root(), &leaves);
    true
}

struct Tree<'a, 'b> {
    context: &'a Context<'a>,
    view: View,
    ruleset: &'b mut Ruleset,
}

impl Tree<'_, '_> {
    /// Writes chain `name` for `leaves` (sorted, not empty) and those below it.
    fn node(&mut self, name: String, leaves: &[Leaf<'_>]) {
        let level = common_bits(leaves);
        let mut rules = Vec::new();
        let mut titles = Vec::new();
        for branch in leaves.chunk_by(|a, b| pair(a.key, level) == pair(b.key, level)) {
            if let [leaf] = branch {
                rules.extend(self.leaf(leaf));
                // Not in the mirrored copy: a comment is as long as two rules.
                if !self.view.mirrored {
                    titles.push(self.title(leaf));
                }
                continue;
            }
            let bits = common_bits(branch);
            let prefix = branch[0].key & mask(bits);
            let chain = self.view.tree(self.context.family, prefix, bits);
            let network = self.network(prefix, bits);
            rules.push(format!("{} {network} -g {chain}", self.flag()));
            self.node(chain, branch);
        }
        rules.append(&mut titles);
        self.ruleset.decide(name, rules);
    }

    /// The rules for one address: every signature (more than one while several pods claim
    /// the address) must allow. Itself is always within reach: no rule of the tree matches,
    /// and the packet returns from where the tree was entered.
    fn leaf(&self, leaf: &Leaf<'_>) -> Vec<String> {
        let host = self.host(leaf);
        let from_others = if self.view.pod_is_destination() {
            format!("! -s {host} -d {host}")
        } else {
            format!("-s {host} ! -d {host}")
        };
        let mut rules = Vec::new();
        for (index, signature) in leaf.signatures.iter().enumerate() {
            let chain = self.view.signature(*signature);
            if index + 1 == leaf.signatures.len() {
                rules.push(format!("{from_others} -g {chain}"));
            } else {
                rules.push(format!("{from_others} -j {chain}"));
                rules.push(format!(
                    "{} {host} -m mark --mark {} -j RETURN",
                    self.flag(),
                    self.context.denied
                ));
            }
        }
        rules
    }

    /// Says whose address it is. A comment is a match that packets pay for, so it stands
    /// behind all rules that lead on.
    fn title(&self, leaf: &Leaf<'_>) -> String {
        let names: Vec<String> = leaf.endpoint.pods.iter().map(ToString::to_string).collect();
        format!(
            "{} {} {}",
            self.flag(),
            self.host(leaf),
            comment(&names.join(", "))
        )
    }

    fn host(&self, leaf: &Leaf<'_>) -> String {
        format!("{}/{}", leaf.address, self.context.family.bits())
    }

    fn flag(&self) -> &'static str {
        if self.view.pod_is_destination() {
            "-d"
        } else {
            "-s"
        }
    }

    fn network(&self, prefix: u128, bits: u32) -> String {
        match self.context.family {
            // Left-aligned: the upper 32 bits are the address.
            Family::V4 => {
                let [a, b, c, d, ..] = prefix.to_be_bytes();
                format!("{}/{bits}", Ipv4Addr::new(a, b, c, d))
            }
            Family::V6 => format!("{}/{bits}", Ipv6Addr::from(prefix)),
        }
    }
}

fn left_aligned(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// How many leading bits all keys share, rounded down to a level of the tree.
fn common_bits(leaves: &[Leaf<'_>]) -> u32 {
    let differing = match leaves {
        [first, .., last] => first.key ^ last.key,
        _ => 0,
    };
    // The widths are even, so that single leaves (all 128 bits equal) stay in range.
    differing.leading_zeros().min(126) & !1
}

/// The two bits that a level decides on.
fn pair(key: u128, level: u32) -> u128 {
    key >> (126 - level) & 3
}

fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}
