//! Proof: real packets between pods on several nodes, compared with what the policies say.
//!
//! ```text
//!  case -> fabric (world of namespaces) -> objects (folder | API server) -> enforcers
//!            |                                |                               | applied generation
//!            v                                v                               v
//!          probe: Observed  <--- table --->  truth: Expected (policy::evaluate)  -> report
//! ```
//!
//! The crate drives built binaries and links none of what it judges.

pub mod admission;
pub mod bench;
pub mod binaries;
pub mod case;
pub mod cases;
pub mod command;
pub mod controlplane;
pub mod demo;
pub mod fabric;
pub mod isolation;
pub mod objects;
pub mod patience;
pub mod probe;
pub mod reference;
pub mod report;
pub mod sandbox;
pub mod selftest;
pub mod truth;
