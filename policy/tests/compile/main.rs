//! The compiler, from outside.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod generate;
mod narrows;
mod oracle;
mod property;
mod scale;
mod slow;
mod summary;

/// The node that is compiled for.
const NODE: &str = "n1";
