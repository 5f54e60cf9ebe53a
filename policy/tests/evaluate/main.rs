//! What policies mean, row by row of the table in the design.

mod addresses;
mod explain;
mod peers;
mod ports;
mod world;
