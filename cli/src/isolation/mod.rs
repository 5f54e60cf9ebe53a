//! Project isolation: `isolate`, `allow`, `status` and `migrate`.
//!
//! ```text
//!  flags --> objects of ringfence.dev --> write: YAML to read first, or --apply
//!  cluster, folder --> status: who may come in and out, and who says so
//! ```

pub mod allow;
mod ask;
pub mod isolate;
pub mod migrate;
pub mod status;
mod write;
