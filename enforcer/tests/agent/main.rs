//! The agent over a fake kernel and a fake source: start, faults, flows, readiness.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod drift;
mod fake;
mod faults;
mod flows;
#[path = "../system/namespace.rs"]
mod namespace;
mod opaque;
mod rig;
mod start;
