//! Trap 13 on the real kernel: one native rule of somebody else, and iptables-nft can no
//! longer print the table.

use crate::namespace::{private, sh};
use crate::rig::shop;
use ringfence_enforcer::agent::Driver;
use ringfence_enforcer::system::{Flavour, Kernel, LinuxKernel, Options};
use ringfence_enforcer::{cleanup, dataplane};
use ringfence_policy::compile::Update;
use ringfence_policy::snapshot::{Settings, Snapshot};
use ringfence_policy::{Program, compile};
use std::sync::Arc;

fn program() -> Program {
    let mut snapshot = Snapshot::default();
    for object in shop() {
        snapshot.apply(object);
    }
    compile(&snapshot, &"n1".into(), Settings::default())
}

fn kernel() -> Arc<dyn Kernel> {
    let options = Options {
        flavour: Some(Flavour::Nft),
        ..Options::default()
    };
    Arc::new(LinuxKernel::open(options).unwrap())
}

fn driver() -> Driver {
    Driver::new(kernel(), dataplane::Options::default(), Arc::default())
}

/// How many rules lead into our chains, by built-in chain.
fn entries() -> String {
    sh(
        "for c in 'mangle FORWARD' 'mangle OUTPUT' 'filter FORWARD' 'filter OUTPUT'; do \
        echo \"$c $(nft list chain ip $c | grep -c 'jump RF-')\"; done",
    )
}

const ONE_EACH: &str = "mangle FORWARD 1\nmangle OUTPUT 1\nfilter FORWARD 1\nfilter OUTPUT 1\n";
const NATIVE: &str = "nft add rule ip mangle FORWARD meta length 1-100 counter; \
    nft add rule ip filter FORWARD meta length 1-100 counter";

#[test]
fn read_backs_and_a_new_start_leave_one_entry_rule() {
    private(|| {
        let (program, mut first) = (program(), driver());
        first.bring(&program, &Update::default()).unwrap();
        sh(NATIVE);
        for round in 0..3 {
            let drift = first.resync(&program).unwrap();
            assert_eq!(drift, [], "round {round}");
            assert_eq!(entries(), ONE_EACH, "round {round}");
            assert_eq!(
                first.entries_hold().unwrap(),
                ringfence_enforcer::agent::Held::InPlace
            );
        }
        let rules = sh("nft -a list table ip mangle");
        first.resync(&program).unwrap();
        assert_eq!(
            sh("nft -a list table ip mangle"),
            rules,
            "nothing is written"
        );

        // Somebody empties a chain of ours.
        sh("nft flush chain ip mangle RF-FORWARD");
        assert_eq!(first.resync(&program).unwrap().len(), 1);
        assert_eq!(entries(), ONE_EACH);
        assert!(
            sh("nft list chain ip mangle RF-FORWARD").contains("jump")
                || sh("nft list chain ip mangle RF-FORWARD").contains("goto")
        );

        // A start in that state, and one that finds what an earlier version piled up.
        driver().bring(&program, &Update::default()).unwrap();
        assert_eq!(entries(), ONE_EACH);
        sh("iptables-nft -t mangle -I FORWARD -j RF-FORWARD");
        driver().bring(&program, &Update::default()).unwrap();
        assert_eq!(entries(), ONE_EACH);
        assert_eq!(
            sh("nft list ruleset | grep -c 'meta length 1-100'").trim(),
            "2"
        );
    });
}

#[test]
fn cleanup_takes_all_of_ours() {
    private(|| {
        driver().bring(&program(), &Update::default()).unwrap();
        sh(NATIVE);
        let removed = cleanup::clean(&[kernel()], 0x1000).unwrap();
        assert_eq!(removed.kept, [""; 0]);
        let left = sh("nft list ruleset; ipset list -name");
        assert!(!left.contains("RF"), "{left}");
        assert_eq!(left.matches("meta length 1-100").count(), 2, "{left}");
    });
}
