//! The node agent: turns the NetworkPolicies that concern its node into rules of its
//! kernel, and keeps them there.
//!
//! ```text
//!  cluster::Source --events--> cluster::Store --Snapshot, changes--> policy::Compiler
//!        |                                                                 | Program, Update
//!        v                                                                 v
//!  health (livez, readyz, metrics, program)  <--  agent  -->  plan --> dataplane (text)
//!        state (last program on disk)        <--    |                        |
//!        events (on the objects at fault)    <--    +----- one thread ---> system (kernel)
//! ```
//!
//! `plan` and `dataplane` are pure; `system` is the only part that touches the kernel.

pub mod dataplane;
pub mod plan;
pub mod system;
