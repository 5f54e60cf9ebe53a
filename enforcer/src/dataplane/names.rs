//! Names in the kernel: chains (28 characters), sets (31), comments (255 bytes).

use super::Family;
use ringfence_policy::compile::Id;
use ringfence_policy::model::Direction;

/// Every chain of ours begins so.
pub(crate) const CHAIN_PREFIX: &str = "RF-";

/// Every set of ours begins with one of these.
pub(crate) const SET_PREFIXES: [&str; 2] = ["RF4-", "RF6-"];

/// `--comment` takes 255 bytes; names may have 253 each, so they are cut.
const COMMENT_BYTES: usize = 200;

/// Whether a packet is judged as it is, or as if it were an answer: source and
/// destination, and their ports, change places (dataplane trap 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct View {
    pub direction: Direction,
    pub mirrored: bool,
}

impl View {
    /// The four of them.
    pub(crate) const ALL: [Self; 4] = [
        Self {
            direction: Direction::Egress,
            mirrored: false,
        },
        Self {
            direction: Direction::Ingress,
            mirrored: false,
        },
        Self {
            direction: Direction::Egress,
            mirrored: true,
        },
        Self {
            direction: Direction::Ingress,
            mirrored: true,
        },
    ];

    /// Whether the policy's own pod is the packet's destination.
    pub(crate) fn pod_is_destination(self) -> bool {
        (self.direction == Direction::Ingress) != self.mirrored
    }

    /// A chain of this view: `kind` is `T`ree, `S`ignature or `P`olicy.
    fn chain(self, kind: char) -> String {
        let mirrored = if self.mirrored { "M" } else { "" };
        let direction = match self.direction {
            Direction::Ingress => 'I',
            Direction::Egress => 'E',
        };
        format!("{CHAIN_PREFIX}{mirrored}{kind}{direction}")
    }

    /// Root of the address tree.
    pub(crate) fn root(self) -> String {
        self.chain('T')
    }

    /// The tree's node for the addresses that share the first `bits` of `prefix`
    /// (left-aligned). IPv4 is legible; an IPv6 prefix would not fit and is hashed.
    pub(crate) fn tree(self, family: Family, prefix: u128, bits: u32) -> String {
        match family {
            Family::V4 => format!("{}-{:08x}-{bits}", self.root(), prefix >> 96),
            Family::V6 => format!("{}-{:016x}", self.root(), fnv1a(prefix, bits)),
        }
    }

    /// The chain of a combination of policies.
    pub(crate) fn signature(self, id: Id) -> String {
        format!("{}-{id}", self.chain('S'))
    }

    /// The chain of a policy.
    pub(crate) fn policy(self, id: Id) -> String {
        format!("{}-{id}", self.chain('P'))
    }

    /// The ports of one rule of a policy.
    pub(crate) fn ports(self, id: Id, rule: usize) -> String {
        format!("{}-{id}-{rule:x}", self.chain('P'))
    }
}

/// FNV-1a: stable across builds, which the standard hasher is not.
fn fnv1a(prefix: u128, bits: u32) -> u64 {
    let mut bytes = prefix.to_be_bytes().to_vec();
    bytes.extend(bits.to_be_bytes());
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The set of one family for a set of the program.
pub(crate) fn set(family: Family, id: Id) -> String {
    format!("{}{id}", SET_PREFIXES[usize::from(family == Family::V6)])
}

/// `-m comment --comment "text"`, with what a name could break out by replaced and
/// what is too long cut in the middle (the end holds the rule's number).
pub(crate) fn comment(text: &str) -> String {
    let safe: String = text
        .chars()
        .map(|c| {
            let plain = c.is_ascii_alphanumeric() || " ./_-:[],()".contains(c);
            if plain { c } else { '_' }
        })
        .collect();
    let safe = if safe.len() <= COMMENT_BYTES {
        safe
    } else {
        let half = COMMENT_BYTES / 2 - 1;
        format!("{}..{}", &safe[..half], &safe[safe.len() - half..])
    };
    format!("-m comment --comment \"{safe}\"")
}
