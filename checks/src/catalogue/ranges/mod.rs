//! ipBlocks, and what addresses mean.

pub mod balancer;
pub mod except;
pub mod external;
pub mod family;
pub mod ingress;
pub mod inside;
pub mod masquerade;
pub mod metadata;
pub mod node;
pub mod tunnel;
pub mod world;

pub(crate) mod behind;

use crate::Subject;
use crate::subject::Place;
use ringfence_policy::model::{Direction, IpBlock, Peer};

/// An ipBlock and where it stands.
#[derive(Clone, Copy)]
struct Block<'a> {
    rule: Place<'a>,
    index: usize,
    range: &'a IpBlock,
}

impl Block<'_> {
    /// `spec.ingress[0].from[1].ipBlock.cidr`
    fn path(&self) -> String {
        format!("{}.ipBlock.cidr", self.rule.peer(self.index))
    }

    /// The direction and the range: what was found, wherever it stands.
    fn evidence(&self) -> String {
        format!("{} {}", self.rule.direction, self.range.cidr)
    }
}

/// Every ipBlock of a policy, in the directions that it isolates.
fn blocks<'a>(subject: &'a Subject<'_>) -> impl Iterator<Item = Block<'a>> {
    subject.rules().flat_map(|rule| {
        let peers = rule.rule.peers.iter().enumerate();
        peers.filter_map(move |(index, peer)| match peer {
            Peer::Block(range) => Some(Block { rule, index, range }),
            Peer::Pods { .. } => None,
        })
    })
}

/// Those of one direction.
fn blocks_of<'a>(subject: &'a Subject<'_>, of: Direction) -> impl Iterator<Item = Block<'a>> {
    blocks(subject).filter(move |b| b.rule.direction == of)
}
