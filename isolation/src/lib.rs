//! Project isolation: what a `NamespaceIsolation` and its rules mean as one NetworkPolicy.
//!
//! ```text
//!  IsolationConfig ----+
//!  NamespaceIsolation -+--> render --> Rendered { NetworkPolicy, outcome of each rule,
//!  IsolationRule(s) ---+                          statements, next expiry }
//!  Snapshot, Dns ------+
//! ```
//!
//! No I/O and no clock: the cluster comes as a snapshot, the time as an argument. What is
//! said about it in status is a [`Statement`] each.

pub mod conditions;
pub mod judge;
pub mod render;
mod statement;
#[cfg(test)]
pub(crate) mod testing;

pub use render::{Dns, Input, Outcome, POLICY, Rendered, render};
pub use statement::{Condition, Statement, Status};
