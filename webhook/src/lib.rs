//! The admission webhook: what is risky is refused before it is stored, what was forgotten
//! is added, and the author learns what happens to traffic.
//!
//! ```text
//!  bytes --server--> service --> review (Request) --> admit (Decision) --> answer --> bytes
//!         (bounds,      ^                              checks::judge, inject
//!          TLS)         |
//!                     Known { index, facts, config, fences }  <-- cache (watches), files (reload)
//! ```
//!
//! `review`, `admit` and `answer` are pure. Nothing on the way of a request asks the API
//! server.

pub mod admit;
pub mod answer;
pub mod cache;
pub mod config;
pub mod configuration;
pub mod files;
pub mod health;
pub mod metrics;
pub mod probe;
pub mod review;
mod run;
pub mod server;
pub mod service;
pub mod status;
pub mod tls;

pub use run::run;

/// Gives memory of large bodies back sooner than the system's allocator does, when the
/// environment sets `MIMALLOC_PURGE_DELAY=10` (milliseconds), as the manifests do.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
