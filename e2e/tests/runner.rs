//! `ringfence-e2e run`, as people and CI use it: interrupted, killed, twice at once, and
//! what it says and writes.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic too")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};
use test_case::test_case;

const CASE: &str = "default-deny-ingress/same-bridge";

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ringfence-e2e"));
    program.stdin(Stdio::null());
    program
}

/// A run, its report in a folder of its own.
fn run(report: &str, args: &[&str]) -> Command {
    command(report, &[&["run"], args].concat())
}

fn command(report: &str, words: &[&str]) -> Command {
    let mut command = program();
    command.args(words).arg("--report").arg(folder(report));
    command
}

fn folder(report: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(report)
}

/// Whether this machine can play cases at all; under CI it must.
fn can_play() -> bool {
    let enforcer = Path::new(env!("CARGO_BIN_EXE_ringfence-e2e"));
    let missing = !enforcer.with_file_name("ringfence-enforcer").is_file();
    let ci = std::env::var_os("CI").is_some();
    if !ci && (missing || !nix::unistd::geteuid().is_root()) {
        eprintln!("not run: needs root, and an enforcer (`cargo build --workspace`)");
        return false;
    }
    true
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(both).unwrap()
}

#[test]
fn without_an_enforcer_it_says_what_to_do() {
    let output = run("none", &["--enforcer", "/nowhere"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output);
    assert!(said.contains("no enforcer at /nowhere"), "{said}");
    assert!(
        said.contains("`cargo build`") && said.contains("RINGFENCE_ENFORCER"),
        "{said}"
    );
}

#[test_case(&["no-such-case"], "no case is called \"no-such-case\""; "unknown case")]
#[test_case(&["--parallel", "0"], "--parallel"; "no workers")]
#[test_case(&["--shuffle", "often"], "write a whole number, or random"; "no seed")]
#[test_case(&["default-deny-ingress/nowhere"], "nothing to play"; "unknown variant")]
fn what_cannot_be_run_is_2(args: &[&str], says: &str) {
    let args = [args, &["--without-enforcer"]].concat();
    let output = run("nothing", &args).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(says), "{said}");
}

#[test]
fn a_pass_is_0_and_its_reports_can_be_read() {
    if !can_play() {
        return;
    }
    let output = run("pass", &[CASE]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains(&format!("ok   {CASE}")), "{said}");
    assert!(said.ends_with("1 passed, 0 failed\n"), "{said}");
    assert_reports(&folder("pass"), 1, 0);
}

/// Standard input is closed: what waits for Enter goes on.
#[test]
fn a_failure_is_1_and_keep_does_not_hang() {
    if !can_play() {
        return;
    }
    let args = [
        "--without-enforcer",
        "--keep",
        "default-deny-ingress",
        "default-deny-egress",
    ];
    let output = run("keep", &[&args[..], &["--parallel", "1"]].concat())
        .output()
        .unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("expected rejected, observed allowed"),
        "{said}"
    );
    assert!(
        said.contains("nsenter --net=") && said.contains("press Enter"),
        "{said}"
    );
    assert!(
        said.contains("repeat: ") && said.contains(" run default-deny-ingress/"),
        "{said}"
    );
    assert!(
        said.ends_with("0 passed, 1 failed\n"),
        "only the first: {said}"
    );
    assert_reports(&folder("keep"), 1, 1);
}

fn assert_reports(folder: &Path, all: usize, failed: usize) {
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let _: serde_json::Value = serde_json::from_str(&read("results.json")).unwrap();
    let junit = quick_junit::Report::deserialize_from_str(&read("junit.xml")).unwrap();
    assert_eq!((junit.tests, junit.failures), (all, failed));
    let tap = read("results.tap");
    let lines: Vec<&str> = tap.lines().collect();
    assert_eq!(lines[..2], ["TAP version 14", &format!("1..{all}")]);
    let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!((count("ok "), count("not ok ")), (all - failed, failed));
}

#[test]
fn several_workers_see_what_one_sees() {
    if !can_play() {
        return;
    }
    let cases = [
        "default-deny",
        "closed-port-is-no-deny",
        "flows-are-cut-by-ingress",
    ];
    let names = |workers: &'static str| {
        let report = format!("workers-{workers}");
        let args = [&cases[..], &["--parallel", workers]].concat();
        let output = run(&report, &args).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let tap = fs::read_to_string(folder(&report).join("results.tap")).unwrap();
        assert_eq!(
            text(&output)
                .lines()
                .filter(|l| l.starts_with("ok   "))
                .count(),
            20
        );
        tap
    };
    assert_eq!(names("1"), names("3"));
}

/// Two fabrics, or two halves of a list, on one page.
#[test]
fn reports_are_joined_and_a_seed_repeats_an_order() {
    if !can_play() {
        return;
    }
    let order = |report: &str, seed: &str| {
        let args = ["default-deny", "--pods", "bridge", "--shuffle", seed];
        let output = run(report, &args).output().unwrap();
        let said = text(&output);
        assert!(output.status.success(), "{said}");
        fs::read_to_string(folder(report).join("results.tap"))
            .map(|tap| (tap, said))
            .unwrap()
    };
    let (first, said) = order("drawn", "random");
    let (_, rest) = said.split_once("shuffled: --shuffle ").unwrap();
    let (seed, _) = rest.split_once(' ').unwrap();
    assert_eq!(order("again", seed).0, first);
    let halves = ["drawn", "again"].map(folder);
    let out = folder("joined");
    let joined = program()
        .arg("report")
        .args(&halves)
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    assert!(joined.status.success(), "{}", text(&joined));
    assert_reports(&out, 2 * first.lines().skip(2).count(), 0);
    let refused = program()
        .arg("report")
        .arg(&out)
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
}

#[test]
fn two_runs_at_once_do_not_meet() {
    if !can_play() {
        return;
    }
    let start = |report| {
        command(report, &["repeat", "2", "default-deny-ingress"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    for run in [start("first"), start("second")] {
        let output = run.wait_with_output().unwrap();
        assert!(text(&output).contains("2 times, not one flake"));
        assert!(output.status.success(), "{}", text(&output));
        assert!(
            text(&output).ends_with("8 passed, 0 failed\n"),
            "{}",
            text(&output)
        );
    }
}

#[test_case(Signal::SIGINT; "by Ctrl-C")]
#[test_case(Signal::SIGTERM; "politely")]
#[test_case(Signal::SIGKILL; "killed")]
fn an_ended_run_leaves_nothing(signal: Signal) {
    if !can_play() {
        return;
    }
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let token = format!("{}-{signal}", std::process::id());
    let (mut run, mut lines) = playing(&token);
    let family = family(&token);
    assert!(
        family.len() >= 3,
        "a run has an enforcer on each of two nodes: {family:?}"
    );
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), signal).unwrap();
    run.wait().unwrap();
    // The output is closed when the last program that has it is gone. Namespaces have no
    // names: they end with the last program in them, unless somebody has mounted one.
    lines.read_to_end(&mut Vec::new()).unwrap();
    until("every program has ended", || {
        self::family(&token).is_empty()
    });
    assert_eq!(mounts(), before);
}

/// In the environment of a run and of everything that it starts.
const TOKEN: &str = "RINGFENCE_E2E_TEST_RUN";

/// A run that has played a case and goes on.
fn playing(token: &str) -> (Child, BufReader<ChildStdout>) {
    let report = format!("ended-{token}");
    // Whoever runs the tests in the background of a script has Ctrl-C ignored, and so would
    // the run.
    let mut child = Command::new("env")
        .arg("--default-signal=INT")
        .arg(env!("CARGO_BIN_EXE_ringfence-e2e"))
        .args(["repeat", "1000", CASE, "--parallel", "1", "--report"])
        .arg(folder(&report))
        .env(TOKEN, token)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    assert!(first.starts_with("ok "), "{first}");
    (child, lines)
}

/// A run and all that it has started, whoever is their parent now.
fn family(token: &str) -> Vec<u32> {
    let variable = format!("{TOKEN}={token}");
    let mine = |pid: &u32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|all| all.split(|b| *b == 0).any(|v| v == variable.as_bytes()))
    };
    let names = fs::read_dir("/proc").unwrap().flatten();
    names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(mine)
        .collect()
}

fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
