//! What came of a run: in the terminal, and as JSON, `JUnit` and TAP.

mod files;
mod terminal;

pub use files::write;
pub use terminal::{failure, line, matrix, summary};
