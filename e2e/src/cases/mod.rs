//! All cases. To add one: a few lines in the file of its source.

mod admission;
mod conversation;
mod established;
mod faults;
mod generated;
mod hands;
mod isolation;
mod router;
mod seeds;
mod traps;
mod upstream;
mod watch;

use crate::case::Case;

/// A case of every sort that a cluster can play, for CI: tag `smoke`.
const SMOKE: [&str; 15] = [
    "default-deny-ingress",
    "default-deny-all",
    "allow-namespace",
    "selectors-and",
    "port-by-name",
    "port-range",
    "sibling-block-allows-what-another-excepts",
    "both-ends-must-agree",
    "update-policy",
    "relabelled-pod-is-selected",
    "admission-a-direction-that-is-not-named-is-refused",
    "admission-a-policy-without-dns-comes-back-with-dns",
    "admission-the-scraper-comes-in",
    "isolation-on-and-off",
    "isolation-a-friend-comes-in",
];

/// Every case, in the order in which they are listed.
pub fn all() -> Vec<Case> {
    let mut all = [
        upstream::cases(),
        generated::cases(),
        established::cases(),
        router::cases(),
        seeds::cases(),
        traps::cases(),
        faults::cases(),
        admission::cases(),
        isolation::cases(),
    ]
    .concat();
    for case in all.iter_mut().filter(|case| SMOKE.contains(&case.name)) {
        case.tags.push("smoke");
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let all = super::all();
        let names: BTreeSet<&str> = all.iter().map(|c| c.name).collect();
        assert_eq!(names.len(), all.len());
        assert!(super::SMOKE.iter().all(|name| names.contains(name)));
    }
}
