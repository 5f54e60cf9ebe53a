//! The benchmark of packets at its smallest: the world, the rules and the flood work. What
//! it costs is not judged here. Needs root and a built enforcer.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The enforcer of the same build, or the one that `RINGFENCE_ENFORCER` names.
fn enforcer() -> PathBuf {
    std::env::var_os("RINGFENCE_ENFORCER").map_or_else(
        || Path::new(env!("CARGO_BIN_EXE_ringfence-e2e")).with_file_name("ringfence-enforcer"),
        PathBuf::from,
    )
}

#[test]
fn packets_get_through_and_strangers_do_not() {
    let enforcer = enforcer();
    let ready = nix::unistd::geteuid().is_root() && enforcer.is_file();
    if !ready {
        assert!(
            std::env::var_os("CI").is_none(),
            "needs root and {}: cargo build --workspace",
            enforcer.display()
        );
        println!("skipped: needs root and {}", enforcer.display());
        return;
    }
    let json = std::env::temp_dir().join(format!("ringfence-bench-{}.json", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence-e2e"))
        .args(["bench", "packets", "--quick", "--json"])
        .arg(&json)
        .arg("--enforcer")
        .arg(&enforcer)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    std::fs::remove_file(&json).unwrap();
    let figures = report["figures"].as_array().unwrap();
    assert_eq!(figures.len(), 2 * 2 * 4, "sizes, kinds of packet, layouts");
    for figure in figures {
        assert!(figure["spread"]["min"].as_f64().unwrap() > 0.0, "{figure}");
    }
}
