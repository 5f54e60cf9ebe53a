//! What came of a run: in the terminal, as a page, and as JSON, `JUnit` and TAP.

mod files;
mod model;
mod page;
mod terminal;

pub use files::{PAGE, read, write};
pub use model::{CaseReport, Report, RowReport, Run, TableReport, Word};
pub use terminal::{failure, line, matrix, summary};
