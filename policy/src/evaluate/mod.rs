//! The oracle: what should happen to a flow, and who says so.
//!
//! Follows the documentation of NetworkPolicy literally, object by object, and shares
//! no code with [`mod@crate::compile`], so that each can be held against the other.

mod evaluator;
pub mod explain;
mod verdict;

pub use evaluator::Evaluator;
pub use verdict::{Exemption, Ground, Side, Verdict};

use crate::model::Flow;
use crate::snapshot::{Settings, Snapshot};

/// Judges one flow; for more than a few make an [`Evaluator`], which indexes once.
pub fn evaluate(snapshot: &Snapshot, settings: Settings, flow: &Flow) -> Verdict {
    Evaluator::new(snapshot, settings).judge(flow)
}
