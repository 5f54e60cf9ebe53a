//! The page of a report, in a real browser: names from a hostile cluster, filters, keys,
//! colours, a phone's width.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic too")]

use ringfence_e2e::case::{Failure, Fault};
use ringfence_e2e::probe::Outcome;
use ringfence_e2e::report::{self, CaseReport, PAGE, Report, RowReport, Run, TableReport, Word};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's `chromium-headless-shell` is the smallest of them (`scripts/setup.sh browser`).
const BROWSERS: [&str; 4] = [
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
];

/// Would be run if any part of the page took a name for HTML.
const HOSTILE: &str = "</script><img src=x onerror=pwned=1><script>pwned=1</script>";

/// What a person does, written as JSON into the document's title.
const DRIVER: &str = r#"<script>
const said = {};
const by = (id) => document.getElementById(id);
const shown = () => [...document.querySelectorAll(".case")].filter((c) => !c.hidden).map((c) => c.dataset.name);
const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const type = (text) => { by("text").value = text; by("text").dispatchEvent(new Event("input")); };
const select = (id, value) => { by(id).value = value; by(id).dispatchEvent(new Event("change")); };
addEventListener("load", () => setTimeout(() => {
  said.pwned = typeof pwned !== "undefined" || document.querySelector("main img") !== null;
  said.verdict = by("verdict").textContent;
  said.open = [...document.querySelectorAll(".case[open]")].map((c) => c.dataset.name);
  said.skipped = by("skipped").textContent;
  said.fits = document.documentElement.scrollWidth <= innerWidth;
  said.loaded = performance.getEntriesByType("resource").length;
  // Keys: one cell is in the tab order, the wrong one; arrows move, the panel follows.
  const first = document.querySelector(".case[open] .cell[tabindex='0']");
  first.focus();
  const panel = () => first.closest("figure").querySelector(".told").textContent;
  said.wrong = [first.getAttribute("aria-label"), panel()];
  press("ArrowRight");
  said.right = panel();
  said.stops = document.querySelectorAll(".case[open] figure:first-of-type .cell[tabindex='0']").length;
  said.evidence = [...document.querySelectorAll(".case[open] .failure .nodes h3")].map((h) => h.textContent);
  press("/");
  said.searching = document.activeElement === by("text");
  // Filters.
  type("Y/B isolated"); said.text = shown();
  press("Escape"); said.all = shown().length;
  document.querySelector(".chip.not-run").click(); said.status = shown();
  said.address = location.hash;
  document.querySelector(".chip.not-run").click();
  select("source", "seed 001"); said.source = shown(); select("source", "");
  select("fabric", "kind"); said.fabric = shown(); select("fabric", "");
  select("tag", "sctp"); said.tag = shown(); select("tag", "");
  // Colours.
  const paper = () => getComputedStyle(document.body).backgroundColor;
  by("theme").click(); const light = paper();
  by("theme").click(); said.colours = [light, paper()];
  document.title = JSON.stringify(said);
}, 50));
</script></body>"#;

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = BROWSERS
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)));
    found.find(|program| program.is_file())
}

fn row(from: &str, to: &str, family: &str, observed: Outcome) -> RowReport {
    RowReport {
        from: from.into(),
        to: to.into(),
        family: family.into(),
        transport: "TCP 80".into(),
        expected: if to == "x/a" {
            Outcome::Rejected
        } else {
            Outcome::Allowed
        },
        observed,
        right: observed
            == if to == "x/a" {
                Outcome::Rejected
            } else {
                Outcome::Allowed
            },
        egress: Some(format!("no policy isolates {from}")),
        ingress: Some(format!("{to} is isolated by x/deny")),
        seen: None,
        words: String::new(),
    }
}

fn case(name: &str, source: &str, status: Word, rows: Vec<RowReport>) -> CaseReport {
    CaseReport {
        name: name.into(),
        source: source.into(),
        tags: vec!["upstream".into()],
        fabric: "netns, folder".into(),
        status,
        reason: None,
        seconds: 0.4,
        waited: 0.1,
        repeat: format!("ringfence-e2e run {name}"),
        notes: vec![],
        failures: vec![],
        tables: vec![TableReport {
            title: "TCP 80".into(),
            rows,
        }],
    }
}

fn sample() -> Report {
    let leaks = vec![
        row("y/b", "x/a", "IPv4", Outcome::Allowed),
        row("y/b", "x/a", "IPv6", Outcome::Rejected),
        row("y/b", "x/b", "IPv4", Outcome::Allowed),
        row(HOSTILE, "x/b", "IPv4", Outcome::Allowed),
    ];
    let failed = CaseReport {
        failures: vec![Failure {
            fault: Fault::Packet,
            summary: "TCP 80: y/b -> x/a TCP 80 IPv4: expected rejected, observed allowed".into(),
            detail: "denied.\npacket: TCP\n--- node1 (nsenter)\nmangle [1:60] -A RF-JUDGE\n\
                     --- node2 (nsenter)\nsrc=10.16.2.10"
                .into(),
        }],
        ..case(
            "leaking/same-bridge",
            "seed 001, example",
            Word::Failed,
            leaks,
        )
    };
    let passed = vec![row("x/b", "z/c", "IPv4", Outcome::Allowed)];
    let kind = CaseReport {
        fabric: "kind".into(),
        ..case(HOSTILE, "seed 004", Word::Passed, passed)
    };
    let skipped = CaseReport {
        reason: Some("this kernel has no SCTP sockets".into()),
        tags: vec!["sctp".into()],
        ..case("sctp/same-bridge", "upstream", Word::NotRun, vec![])
    };
    Report {
        runs: vec![Run {
            command: HOSTILE.into(),
            ..Run::default()
        }],
        cases: vec![kind, skipped, failed],
    }
}

/// What the driver saw, in a window of this width.
fn drive(browser: &Path, width: u32) -> Value {
    let folder = tempfile::tempdir().unwrap();
    report::write(&sample(), folder.path()).unwrap();
    let page = folder.path().join(PAGE);
    let text = fs::read_to_string(&page).unwrap();
    assert_eq!(text.matches("</body>").count(), 1);
    fs::write(&page, text.replace("</body>", DRIVER)).unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .args(["--virtual-time-budget=5000", "--lang=en"])
        .arg(format!("--window-size={width},900"))
        .arg(format!(
            "--user-data-dir={}",
            folder.path().join("profile").display()
        ))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let title = dom
        .split("<title>")
        .nth(1)
        .and_then(|t| t.split("</title>").next());
    let title = title
        .unwrap_or_default()
        .replace("&gt;", ">")
        .replace("&lt;", "<");
    let title = title.replace("&amp;", "&");
    serde_json::from_str(&title).unwrap_or_else(|error| {
        let log = String::from_utf8_lossy(&output.stderr);
        panic!("the driver did not come to its end ({error}): {title}\n{log}")
    })
}

#[test]
fn a_browser_shows_what_a_person_needs() {
    let Some(browser) = browser() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "no browser: scripts/setup.sh browser"
        );
        eprintln!("not run: no browser (`scripts/setup.sh browser` installs one)");
        return;
    };
    for width in [1280, 500] {
        let said = drive(&browser, width);
        let list = |key: &str| -> Vec<&str> {
            let all = said[key].as_array().unwrap();
            all.iter().map(|v| v.as_str().unwrap()).collect()
        };
        assert_eq!(said["pwned"], false, "a name was taken for HTML");
        assert_eq!(said["loaded"], 0, "the page asks for something outside");
        assert_eq!(said["fits"], true, "{width}: it must be scrolled sideways");
        assert_eq!(said["verdict"], "1 case failed");
        let skipped = said["skipped"].as_str().unwrap();
        assert!(
            skipped.contains("1: this kernel has no SCTP sockets"),
            "{skipped}"
        );
        // A failed case is open, its wrong cell chosen, both policies' words beside it.
        assert_eq!(list("open"), ["leaking/same-bridge"]);
        let wrong = list("wrong").concat();
        for part in [
            "TCP 80 IPv4 expected rejected, observed allowed; TCP 80 IPv6 rejected",
            "leaving: no policy isolates y/b",
            "arriving: x/a is isolated by x/deny",
            "Rules, sets and conntrack of 2 nodes",
        ] {
            assert!(wrong.contains(part), "{part:?} is not in {wrong}");
        }
        assert!(
            said["right"].as_str().unwrap().starts_with("y/b → x/b"),
            "{said}"
        );
        assert_eq!(said["stops"], 1, "one cell in the tab order");
        assert_eq!(list("evidence"), ["node1 (nsenter)", "node2 (nsenter)"]);
        assert_eq!(said["searching"], true);
        assert_eq!(list("text"), ["leaking/same-bridge"]);
        assert_eq!(said["all"], 3);
        assert_eq!(list("status"), ["sctp/same-bridge"]);
        assert_eq!(said["address"], "#status=not-run");
        assert_eq!(list("source"), ["leaking/same-bridge"]);
        assert_eq!(list("fabric"), [HOSTILE]);
        assert_eq!(list("tag"), ["sctp/same-bridge"]);
        let colours = list("colours");
        assert_ne!(colours[0], colours[1], "dark is not light");
    }
}
