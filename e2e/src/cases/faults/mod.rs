//! Bad input, big input, and programs that fail: nothing ever gets wider than it was, and
//! everything recovers by itself.

mod api_server;
mod big;
mod objects;
mod programs;

use crate::case::{Case, ObjectsKind};
use crate::fabric::{Placement, PodKind};

/// The cases.
pub fn cases() -> Vec<Case> {
    [
        objects::cases(),
        big::cases(),
        programs::cases(),
        api_server::cases(),
    ]
    .concat()
}

fn fault(name: &'static str) -> Case {
    Case::new(name, "bad input and faults")
        .tags(&["fault"])
        .only(ObjectsKind::Folder)
        .kinds(&[PodKind::Bridge])
        .placements(&[Placement::Spread])
}
