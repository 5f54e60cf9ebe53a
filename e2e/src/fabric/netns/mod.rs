//! Nodes and pods are network namespaces of this machine.
//!
//! ```text
//!   wire (L2 switch) --+-- node1: eth0, cni0 (or host routes) --+-- pod x/a
//!                      |                                        +-- pod y/b
//!                      +-- node2 ...
//!                      +-- outside: default gateway, has every external address
//!                      +-- control: where a control plane can run
//! ```

mod links;
mod namespace;
mod node;
mod process;
mod world;

pub use namespace::{Netns, sysctl};
pub use node::Node;
pub use process::Process;
pub use world::{CONTROL_ADDRESS, Host, World};
