//! The catalogue: every check with its code and its text. `docs/checks.md` is made from
//! it, and so is `ringfence checks`.
//!
//! | folder | about |
//! |---|---|
//! | `shape` | how the object is written |
//! | `dns` | names |
//! | `ranges` | ipBlocks and what addresses mean |
//! | `peers` | selectors and whom they meet |
//! | `ports` | numbers and names |
//! | `together` | policies beside each other |
//! | `cuts` | what a change takes away, from others and from its own pods |
//! | `enforced` | who acts on it, and at what cost |

mod budget;
pub mod cuts;
pub mod dns;
pub mod enforced;
mod examples;
pub mod peers;
pub mod ports;
pub mod ranges;
pub mod shape;
pub mod together;
pub(crate) mod words;

use crate::engine::{Answers, Ask};
use crate::finding::Level;
use ringfence_policy::snapshot::Kind;

/// A check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Stable: lower-case words with dashes.
    pub id: &'static str,
    /// What a finding leads to in the profile `baseline`.
    pub baseline: Level,
    /// The same in `strict`.
    pub strict: Level,
    /// Who mends it.
    pub mends: Mend,
    /// What it looks at.
    pub scope: Scope,
    /// Which objects it judges.
    pub kinds: &'static [Kind],
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// What happens to traffic, why, and in the last paragraph what to do (`lint` prints it):
    /// Markdown, for somebody who has never written a NetworkPolicy.
    pub text: &'static str,
    /// A manifest (or several documents) with the finding.
    pub bad: &'static str,
    /// The same without it.
    pub good: &'static str,
    /// The code.
    pub run: fn(&Ask, &mut Answers),
}

/// Who mends what a check finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// Its author: only he knows what was meant.
    Author,
    /// `ringfence lint --fix`, with the patch that findings suggest.
    Patch,
    /// The mutating webhook as well.
    Webhook,
}

/// What a check looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The object alone.
    Object,
    /// The cluster too.
    Cluster,
    /// The file: the API server defaults or refuses it before a webhook sees it.
    File,
}

impl Scope {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Cluster => "cluster",
            Self::File => "file",
        }
    }
}

/// Every check, in the order of the documentation.
pub static CATALOGUE: &[&Check] = &[
    &shape::types::MISMATCH,
    &shape::types::IMPLICIT,
    &shape::everyone::PEERS_EMPTY,
    &shape::everyone::ALLOW_ALL_INGRESS,
    &shape::everyone::ALLOW_ALL_EGRESS,
    &shape::selectors::DASH_OR,
    &shape::selectors::NS_ALL,
    &shape::selectors::EMPTY_SELECTOR,
    &shape::place::SYSTEM_NAMESPACE,
    &shape::place::NS_IMPLICIT,
    &shape::object::OLD,
    &shape::object::INVALID,
    &shape::suppression::BAD,
    &dns::missing::NONE,
    &dns::missing::UDP_ONLY,
    &dns::open::WORLD,
    &dns::node_local::NODE_LOCAL,
    &dns::target_port::TARGET_PORT,
    &ranges::world::WORLD,
    &ranges::world::SPLIT_WORLD,
    &ranges::inside::PODS,
    &ranges::inside::SERVICES,
    &ranges::node::ALLOWED,
    &ranges::tunnel::ZERO_LENGTH,
    &ranges::external::CLUSTER,
    &ranges::balancer::CONFLICT,
    &ranges::masquerade::ALL,
    &ranges::metadata::ADDRESS,
    &ranges::family::V4_ONLY,
    &ranges::except::REOPENED,
    &ranges::ingress::BEHIND,
    &peers::nobody::SELECTS_NONE,
    &peers::nobody::PEER_NONE,
    &peers::namespaces::NS_LABEL_NONE,
    &peers::typo::LABEL_TYPO,
    &peers::notin::NOTIN_ABSENT,
    &peers::host_network::SELECTED,
    &peers::host_network::PEER,
    &peers::gateway::GATEWAY_HOST_NETWORK,
    &ports::named::NAMED_PORT_MISSING,
    &ports::service::SERVICE_PORT,
    &ports::sctp::SCTP_UNSUPPORTED,
    &together::one_sided::ONE_SIDED,
    &together::redundant::DUPLICATE,
    &together::redundant::SHADOWED,
    &together::whole::NS_NO_DEFAULT_DENY,
    &cuts::monitoring::MONITORING,
    &cuts::ingress::INGRESS,
    &cuts::webhook::WEBHOOK,
    &cuts::api_server::API_SERVER,
    &cuts::impact::IMPACT,
    &enforced::nobody::NO_ENFORCER,
    &enforced::two::TWO_ENFORCERS,
    &enforced::explosion::EXPLOSION,
];

/// A check by its id.
pub fn find(id: &str) -> Option<&'static Check> {
    CATALOGUE.iter().copied().find(|check| check.id == id)
}
