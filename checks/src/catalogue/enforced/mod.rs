//! Whether somebody acts on a policy, one only, and at what cost.

pub mod explosion;
pub mod nobody;
pub mod two;
