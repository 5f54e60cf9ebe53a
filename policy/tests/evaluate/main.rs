//! What policies mean, row by row of the table in the design.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test may panic, and its table passes JSON by value"
)]

mod addresses;
mod companions;
mod explain;
mod peers;
mod ports;
mod world;
