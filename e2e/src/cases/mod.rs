//! All cases. To add one: a few lines in the file of its source.

mod admission;
mod conversation;
mod established;
mod faults;
mod generated;
mod hands;
mod router;
mod seeds;
mod traps;
mod upstream;
mod watch;

use crate::case::Case;

/// Every case, in the order in which they are listed.
pub fn all() -> Vec<Case> {
    [
        upstream::cases(),
        generated::cases(),
        established::cases(),
        router::cases(),
        seeds::cases(),
        traps::cases(),
        faults::cases(),
        admission::cases(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let all = super::all();
        let names: BTreeSet<&str> = all.iter().map(|c| c.name).collect();
        assert_eq!(names.len(), all.len());
    }
}
