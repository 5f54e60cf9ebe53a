//! Where the nodes and pods of a case come from.

pub mod cluster;
pub mod netns;
pub mod topology;

pub use cluster::{Cluster, Lab};
pub use netns::{Host, Netns, Node, Process, World};
pub use topology::{External, NodeSpec, Placement, PodKind, PodSpec, Services, Topology};
