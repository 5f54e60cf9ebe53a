//! Why the kernel could not be brought to the program.

use crate::metrics::Trouble;
use crate::plan::PlanError;
use crate::{dataplane, system};

/// Why the kernel does not hold the program.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The kernel, or a program that speaks to it.
    #[error(transparent)]
    Kernel(#[from] system::Error),
    /// What it holds could not be understood.
    #[error("cannot understand what the kernel holds: {0}")]
    Parse(#[from] dataplane::ParseError),
    /// The planner and the driver disagree about what is known.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

// === impl DriveError ===

impl DriveError {
    /// A metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kernel(error) => error.kind(),
            Self::Parse(_) | Self::Plan(_) => Trouble::Parse.label(),
        }
    }
}
