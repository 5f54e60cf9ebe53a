//! How the object is written.

pub mod everyone;
pub mod object;
pub mod place;
pub mod selectors;
pub mod suppression;
pub mod types;
