//! The binary over TLS: requests, bad input, clients that misbehave, files that change,
//! and its end.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod binary;
mod certificates;
mod changes;
mod client;
mod clients;
mod cluster;
mod ending;
mod impact;
mod requests;
mod reviews;
