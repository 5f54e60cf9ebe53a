//! iptables: flavours, lock, errors, read-back, canary.

use super::kernel;
use super::namespace::{private, sh};
use ringfence_enforcer::system::{
    EntryPoint, Error, Family, Flavour, Kernel, LinuxKernel, Options, Readback, Rival, Table,
};
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use test_case::test_case;

const INPUT: &str = "*mangle\n:RF-FORWARD - [0:0]\n:RF-P - [0:0]\n\
    -A FORWARD -j RF-FORWARD\n-A RF-FORWARD -j RF-P\n-A RF-P -j RETURN\n-A RF-P -p tcp -j RETURN\nCOMMIT\n";

fn entry(family: Family, chain: &str) -> EntryPoint {
    EntryPoint {
        family,
        table: Table::Mangle,
        chain: chain.to_owned(),
        target: "RF-FORWARD".to_owned(),
    }
}

fn text(kernel: &LinuxKernel, family: Family, table: Table) -> String {
    match kernel.iptables_save(family, table).unwrap() {
        Readback::Text(text) => text,
        Readback::Opaque(found) => panic!("expected text, found {found:?}"),
    }
}

#[test_case(Flavour::Nft)]
#[test_case(Flavour::Legacy)]
fn what_is_restored_is_saved(flavour: Flavour) {
    private(move || {
        let kernel = kernel(flavour);
        assert!(kernel.ipv6().is_available(), "{:?}", kernel.ipv6());
        for family in Family::ALL {
            kernel.iptables_restore(family, INPUT).unwrap();
            let saved = text(&kernel, family, Table::Mangle);
            assert!(saved.contains("-A RF-P -p tcp -j RETURN"), "{saved}");
            assert!(kernel.has_security_table(family));
        }
    });
}

#[test_case(Flavour::Nft)]
#[test_case(Flavour::Legacy)]
fn an_error_names_the_line(flavour: Flavour) {
    private(move || {
        let kernel = kernel(flavour);
        let input = "*mangle\n:RF-P - [0:0]\n-A RF-P -j RETURN\n-A RF-P -m set --match-set RFnone src -j RETURN\nCOMMIT\n";
        let error = kernel.iptables_restore(Family::V4, input).unwrap_err();
        let Error::Failed { line, text, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*line, Some(4), "{error}");
        assert!(text.as_deref().unwrap().contains("RFnone"), "{error}");
        assert!(
            !text_of(&kernel).contains("RF-P"),
            "the table is all or nothing"
        );
    });
}

fn text_of(kernel: &LinuxKernel) -> String {
    text(kernel, Family::V4, Table::Mangle)
}

#[test_case(Flavour::Nft)]
#[test_case(Flavour::Legacy)]
fn entry_rules_and_their_place_are_seen(flavour: Flavour) {
    private(move || {
        let kernel = kernel(flavour);
        let entries = [
            entry(Family::V4, "FORWARD"),
            entry(Family::V6, "FORWARD"),
            entry(Family::V4, "INPUT"),
        ];
        assert_eq!(kernel.entry_positions(&entries).unwrap(), [None; 3]);
        kernel.iptables_restore(Family::V4, INPUT).unwrap();
        assert_eq!(
            kernel.entry_positions(&entries).unwrap(),
            [Some(1), None, None]
        );

        // Somebody puts a rule of his before ours: we see our place.
        sh(&format!(
            "iptables-{flavour} -t mangle -I FORWARD -m comment --comment 'x -j RF-FORWARD' -j ACCEPT"
        ));
        assert_eq!(
            kernel.entry_positions(&entries).unwrap(),
            [Some(2), None, None]
        );
        sh(&format!("iptables-{flavour} -t mangle -F FORWARD"));
        assert_eq!(kernel.entry_positions(&entries).unwrap(), [None; 3]);
    });
}

#[test]
fn the_generation_changes_with_any_nft_rule() {
    private(|| {
        let nft = kernel(Flavour::Nft);
        nft.iptables_restore(Family::V4, INPUT).unwrap();
        let before = nft.generation().unwrap().unwrap();
        assert_eq!(nft.generation().unwrap(), Some(before));
        sh("iptables-nft -t mangle -F RF-P");
        assert_ne!(nft.generation().unwrap(), Some(before));
        assert_eq!(kernel(Flavour::Legacy).generation().unwrap(), None);
    });
}

/// Trap 13: one native rule of somebody else, and iptables-nft-save prints a remark
/// instead of the table, with exit status 0.
#[test]
fn own_chains_are_read_past_a_foreign_native_rule() {
    private(|| {
        let kernel = kernel(Flavour::Nft);
        kernel.iptables_restore(Family::V4, INPUT).unwrap();
        sh("nft add rule ip mangle FORWARD meta length 1-100 accept");
        assert!(
            !sh("iptables-nft-save -t mangle").contains("RF-P"),
            "the trap is gone"
        );

        let read = || match kernel.iptables_save(Family::V4, Table::Mangle).unwrap() {
            Readback::Opaque(found) => found.chains,
            Readback::Text(text) => panic!("expected handles, found {text}"),
        };
        let before = read();
        let sizes: Vec<_> = before
            .iter()
            .map(|(chain, rules)| (chain.as_str(), rules.len()))
            .collect();
        assert_eq!(sizes, [("RF-FORWARD", 1), ("RF-P", 2)]);

        // What it is for: a rule of ours replaced by hand is noticed, an empty chain too.
        sh(
            "nft flush chain ip mangle RF-FORWARD; iptables-nft-restore --noflush <<< $'*mangle\n-A RF-FORWARD -j RF-P\nCOMMIT'",
        );
        let replaced = read();
        assert_eq!(replaced["RF-FORWARD"].len(), 1);
        assert_ne!(replaced["RF-FORWARD"], before["RF-FORWARD"]);
        sh("nft flush chain ip mangle RF-P");
        assert_eq!(read()["RF-P"], [0; 0]);

        // We can still write, and see our entry rule.
        kernel
            .iptables_restore(
                Family::V4,
                "*mangle\n:RF-P - [0:0]\n-A RF-P -j RETURN\nCOMMIT\n",
            )
            .unwrap();
        assert_eq!(read()["RF-P"].len(), 1);
        assert_eq!(
            kernel
                .entry_positions(&[entry(Family::V4, "FORWARD")])
                .unwrap(),
            [Some(1)]
        );
    });
}

#[test]
fn a_table_that_is_not_there_reads_as_empty_and_is_not_made() {
    private(|| {
        let kernel = kernel(Flavour::Legacy);
        sh("! grep -q . /proc/thread-self/net/ip_tables_names || true");
        let names = || fs::read_to_string("/proc/thread-self/net/ip_tables_names").unwrap();
        let before = names();
        for table in Table::ALL {
            if !before.contains(table.name()) {
                assert_eq!(text(&kernel, Family::V4, table), "");
            }
        }
        assert_eq!(names(), before);
    });
}

/// Somebody who has the xtables lock until his stdin is closed.
fn hold_lock() -> Child {
    let mut holder = Command::new("flock")
        .args(["/run/xtables.lock", "sh", "-c", "echo held; read -r _"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 5];
    holder
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut held)
        .unwrap();
    holder
}

#[test]
fn a_held_lock_is_told_apart_and_waited_for() {
    private(|| {
        let kernel = LinuxKernel::open(Options {
            flavour: Some(Flavour::Legacy),
            lock_wait: Duration::from_secs(1),
            ..Options::default()
        })
        .unwrap();
        let mut holder = hold_lock();
        let error = kernel.iptables_restore(Family::V4, INPUT).unwrap_err();
        assert_eq!(error.kind(), "lock_held", "{error}");
        assert!(
            !text_of(&kernel).contains("RF-P"),
            "nothing was changed; reading needs no lock"
        );

        drop(holder.stdin.take());
        holder.wait().unwrap();
        kernel.iptables_restore(Family::V4, INPUT).unwrap();
    });
}

#[test]
fn a_program_that_hangs_is_ended() {
    private(|| {
        let folder = tools_without(&[]);
        let hanging = folder.path().join("ipset");
        fs::remove_file(&hanging).unwrap();
        // Written by another process: here the file could still be open in a child of a
        // neighbouring test when it is to be started.
        sh(&format!(
            "printf '#!/bin/sh\nexec sleep 600\n' > {0}; chmod +x {0}",
            hanging.display()
        ));
        let kernel = LinuxKernel::open(Options {
            timeout: Duration::from_secs(2),
            search_path: vec![folder.path().to_path_buf()],
            ..Options::default()
        })
        .unwrap();
        let error = kernel.ipset_restore("").unwrap_err();
        assert_eq!(error.kind(), "timed_out", "{error}");
    });
}

/// A folder with links to all programs but those named.
fn tools_without(absent: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut names = vec!["ipset".to_owned(), "iptables".to_owned()];
    for stem in ["iptables", "ip6tables"] {
        for flavour in ["nft", "legacy"] {
            names.extend(["restore", "save"].map(|verb| format!("{stem}-{flavour}-{verb}")));
        }
    }
    for name in names.iter().filter(|name| !absent.contains(&name.as_str())) {
        let target = sh(&format!("command -v {name}"));
        symlink(target.trim(), folder.path().join(name)).unwrap();
    }
    folder
}

fn open_in(folder: &tempfile::TempDir) -> Result<LinuxKernel, Error> {
    LinuxKernel::open(Options {
        search_path: vec![folder.path().to_path_buf()],
        flavour: Some(Flavour::Nft),
        ..Options::default()
    })
}

#[test]
fn missing_programs_are_named_with_their_package() {
    private(|| {
        let error = open_in(&tools_without(&["iptables-nft-restore"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("iptables-nft-restore") && error.contains("package iptables"),
            "{error}"
        );
        let error = open_in(&tools_without(&["ipset"])).unwrap_err().to_string();
        assert!(error.contains("ipset is not installed"), "{error}");
    });
}

#[test]
fn without_ip6tables_ipv4_goes_on() {
    private(|| {
        let folder = tools_without(&["ip6tables-nft-restore"]);
        let kernel = open_in(&folder).unwrap();
        assert!(!kernel.ipv6().is_available());
        kernel.iptables_restore(Family::V4, INPUT).unwrap();
        let error = kernel.iptables_restore(Family::V6, INPUT).unwrap_err();
        assert_eq!(error.kind(), "no_ipv6");
        assert!(
            error
                .to_string()
                .contains("ip6tables-nft-restore is not installed"),
            "{error}"
        );
    });
}

#[test]
fn without_ipv6_in_the_kernel_ipv4_goes_on() {
    private(|| {
        let folder = tools_without(&["ip6tables-nft-restore"]);
        symlink("/bin/false", folder.path().join("ip6tables-nft-restore")).unwrap();
        let kernel = open_in(&folder).unwrap();
        assert!(!kernel.ipv6().is_available());
        assert!(!kernel.has_security_table(Family::V6) && kernel.has_security_table(Family::V4));
    });
}

#[test]
fn a_held_lock_at_the_start_is_no_lack_of_ipv6() {
    private(|| {
        let (mut holder, options) = (
            hold_lock(),
            Options {
                flavour: Some(Flavour::Legacy),
                lock_wait: Duration::from_secs(1),
                ..Options::default()
            },
        );
        let error = LinuxKernel::open(options.clone()).unwrap_err();
        assert_eq!(error.kind(), "lock_held", "{error}");
        drop(holder.stdin.take());
        holder.wait().unwrap();
        assert!(LinuxKernel::open(options).unwrap().ipv6().is_available());
    });
}

#[test_case("true", None; "nothing: the default")]
#[test_case("iptables-legacy -t mangle -N KUBE-KUBELET-CANARY", Some(Flavour::Legacy); "kubelet in legacy")]
#[test_case("ip6tables-legacy -t mangle -N KUBE-KUBELET-CANARY", Some(Flavour::Legacy); "kubelet in legacy, IPv6")]
#[test_case("iptables-nft -t mangle -N KUBE-IPTABLES-HINT; iptables-legacy -t nat -N KUBE-SERVICES", Some(Flavour::Nft); "the hint before other chains")]
#[test_case("iptables-legacy -A INPUT -j ACCEPT", Some(Flavour::Legacy); "any rule")]
#[test_case("iptables-legacy -t mangle -N RF-A; iptables-legacy -t mangle -A INPUT -j RF-A; iptables-nft -A INPUT -j ACCEPT", Some(Flavour::Nft); "ours do not count")]
#[test_case("iptables-nft -t mangle -N RF-A; iptables-nft -t mangle -A INPUT -j RF-A; iptables-legacy -A INPUT -j ACCEPT", Some(Flavour::Legacy); "ours do not count in nft")]
#[test_case("iptables-nft -t mangle -N KUBE-KUBELET-CANARY; nft add rule ip mangle KUBE-KUBELET-CANARY meta length 1-100 accept", Some(Flavour::Nft); "in a table that iptables cannot print")]
fn flavour_of_the_node(others: &'static str, expected: Option<Flavour>) {
    private(move || {
        let version = sh("iptables --version");
        let default = if version.contains("nf_tables") {
            Flavour::Nft
        } else {
            Flavour::Legacy
        };
        sh(others);
        let kernel = LinuxKernel::open(Options::default()).unwrap();
        assert_eq!(kernel.flavour(), expected.unwrap_or(default));
    });
}

#[test]
fn other_enforcers_are_found_in_both_flavours_and_in_native_tables() {
    private(|| {
        let kernel = kernel(Flavour::Nft);
        assert_eq!(kernel.rivals().unwrap().len(), 0);
        sh("iptables-legacy -N KUBE-NWPLCY-OLD; ip6tables-legacy -t mangle -N cali-OLD");
        sh("iptables-nft -N KUBE-POD-FW-NEW; iptables-nft -N KUBE-FORWARD");
        sh(
            "nft 'add table inet kindnet-network-policies; add chain inet kindnet-network-policies x'",
        );
        let found: Vec<_> = kernel.rivals().unwrap().into_iter().collect();
        let expected = [
            (Rival::KubeRouter, 2),
            (Rival::Calico, 1),
            (Rival::KubeNetworkPolicies, 1),
        ];
        assert_eq!(found, expected);
    });
}
