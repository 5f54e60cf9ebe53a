//! The binary over TLS: requests, bad input, clients that misbehave, files that change,
//! and its end.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod binary;
mod certificates;
mod client;
mod requests;
mod reviews;
