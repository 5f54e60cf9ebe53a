//! What is risky about NetworkPolicies and Services, said before it hurts.
//!
//! ```text
//!  JSON object --> Subject --+
//!  Snapshot ----> Index -----+--> engine::judge --> Report { findings, unknown }
//!  Facts, Config ---(World)--+        ^
//!                            |        +-- catalogue: one Check each, with its code and its text
//!                            +--> inject::inject --> patch of the received JSON
//! ```
//!
//! One engine for the webhook, `ringfence lint` and the background scan. No I/O and no
//! clock: the time comes with the [`World`].

pub mod before;
pub mod catalogue;
pub mod config;
pub mod engine;
pub mod facts;
pub mod finding;
pub mod impact;
pub mod index;
pub mod inject;
pub mod ranges;
pub mod space;
pub mod subject;
pub mod suppress;
#[cfg(test)]
pub(crate) mod testing;
pub mod world;

pub use before::Before;
pub use catalogue::Check;
pub use config::Config;
pub use engine::{Report, judge};
pub use facts::Facts;
pub use finding::{Finding, Level, Unknown};
pub use index::Index;
pub use subject::Subject;
pub use world::{Occasion, World};
