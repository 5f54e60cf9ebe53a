//! What NetworkPolicies mean: the model, parsing, evaluation and compilation.
//!
//! ```text
//!  API object --parse--> model --+--> Snapshot --evaluate(flow)--> Verdict   (the oracle)
//!                                +--> Snapshot --compile(node)---> Program   (what a node programs)
//! ```
//!
//! No I/O, no clock, no async. `evaluate` and `compile` share only the model and the
//! snapshot, so that each is a check of the other.

pub mod compile;
pub mod evaluate;
pub mod model;
pub mod parse;
pub mod path;
pub mod selector;
pub mod snapshot;

pub use compile::{Compiler, Program, compile};
pub use evaluate::{Verdict, evaluate};
pub use snapshot::{Change, Settings, Snapshot};
