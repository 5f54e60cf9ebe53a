//! All cases. To add one: a few lines in the file of its source.

mod established;
mod upstream;

use crate::case::Case;

/// Every case, in the order in which they are listed.
pub fn all() -> Vec<Case> {
    [upstream::cases(), established::cases()].concat()
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
