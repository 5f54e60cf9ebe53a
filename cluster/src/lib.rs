//! Where objects come from: one interface, two sources, one store.
//!
//! ```text
//!   kubernetes (watches) --+
//!                          +--> Feed: bounded channel of Event --> Store::handle --> Vec<Change>
//!   folder (manifests) ----+                                         |
//!                                                                    +--> Snapshot, Problems, SyncState
//! ```
//!
//! A source only reads and decodes; it keeps no objects (the folder source keeps what
//! it needs to survive a broken file). The [`Store`] is synchronous, owned by the
//! consumer and knows neither client nor files, so it is tested without either. A process
//! with several consumers has one [`Mirror`] of it.

mod decode;
mod event;
pub mod folder;
pub mod kubernetes;
mod mirror;
mod problem;
mod source;
mod store;

pub use event::{Decoded, Event, Generation, Reason, Replacement};
pub use folder::{Folder, load_folder};
pub use kubernetes::{Kubernetes, load_cluster};
pub use mirror::{Mirror, News, Reader};
pub use problem::{Cause, Place, Problem, Severity};
pub use source::{Feed, Origin};
pub use store::{Missing, Position, Store};
