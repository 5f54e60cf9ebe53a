//! How the object is written.

pub mod types;
