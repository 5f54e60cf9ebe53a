//! A folder with a CA and a pair, for development: `ca.crt`, `ca.key`, `tls.crt`, `tls.key`.

mod files;
mod plan;

pub use files::{Existing, Files, read, write};
pub use plan::{Plan, Refusal, Wanted, plan};
