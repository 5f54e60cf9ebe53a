//! Certificates of the admission webhook.
//!
//! ```text
//!   Names (the Service's, addresses) --+
//!   Authority (CA) --------------------+--> issue --> Pair --> check --> Validity --> renewal
//!   Bundle (CAs that clients trust) ---------------------------^
//! ```
//!
//! Issuing and checking are pure: what time it is, is passed in, and keys come from ring's
//! random numbers. [`check`] asks rustls's own verifier, so that it says what a client of the webhook would
//! say. Only [`folder`] touches files: it is behind `ringfence-certs`, the command for
//! development.

mod bundle;
mod check;
pub mod folder;
mod issue;
mod names;
mod pair;

pub use bundle::Bundle;
pub use check::{Problem, Validity, check, validity};
pub use issue::{Authority, BACKDATE, IssueError, MIN_LIFETIME};
pub use names::{NameError, Names};
pub use pair::{Key, Pair};
