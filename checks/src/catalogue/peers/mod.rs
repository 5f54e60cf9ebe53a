//! Selectors, and whom they meet in the cluster.

pub mod gateway;
pub mod host_network;
pub mod namespaces;
pub mod nobody;
pub mod notin;
pub mod typo;
pub(crate) mod used;
