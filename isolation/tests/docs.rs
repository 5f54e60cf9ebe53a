//! The table of docs/guards.md is made from the checks.
//!
//! After a change: `RINGFENCE_WRITE_DOCS=1 cargo test -p ringfence-isolation --test docs`
#![allow(clippy::unwrap_used, reason = "a test's helpers may panic too")]

use ringfence_checks::catalogue;
use ringfence_isolation::judge::CHECKS;
use std::fmt::Write as _;
use std::{env, fs};

const AGAIN: &str = "RINGFENCE_WRITE_DOCS=1 cargo test -p ringfence-isolation --test docs";
const BEGIN: &str = "<!-- generated, see isolation/tests/docs.rs -->\n";
const END: &str = "<!-- end of generated -->\n";

#[test]
fn the_checks_of_isolation_are_those_of_the_page() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guards.md");
    let text = fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    let mut wanted = String::from("\n| Check | Leads to | What |\n|---|---|---|\n");
    for check in &CHECKS {
        let (id, level, title) = (check.id, check.level.as_str(), check.title);
        writeln!(wanted, "| `{id}` | {level} | {title} |").unwrap();
    }
    wanted.push('\n');
    if env::var_os("RINGFENCE_WRITE_DOCS").is_some() {
        fs::write(path, [before, BEGIN, &wanted, END, after].concat()).unwrap();
    } else {
        assert!(
            found == wanted,
            "docs/guards.md is not of these checks: {AGAIN}"
        );
    }
}

#[test]
fn no_id_has_two_meanings() {
    for check in &CHECKS {
        assert!(catalogue::find(check.id).is_none(), "{}", check.id);
        assert!(CHECKS.iter().filter(|c| c.id == check.id).count() == 1);
    }
}
