//! What a policy takes away from others.

pub mod monitoring;
