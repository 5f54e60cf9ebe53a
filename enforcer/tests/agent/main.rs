//! The agent over a fake kernel and a fake source: start, faults, flows, readiness.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod fake;
mod faults;
mod flows;
mod rig;
mod start;
