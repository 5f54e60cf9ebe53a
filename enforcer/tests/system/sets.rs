//! ipset.

use super::kernel;
use super::namespace::{private, sh};
use ringfence_enforcer::system::{Error, Flavour, Kernel, LinuxKernel, Options};

#[test]
fn own_sets_are_saved_foreign_ones_are_not() {
    private(|| {
        let kernel = kernel(Flavour::Nft);
        assert_eq!(kernel.ipset_save().unwrap(), "");
        sh("ipset create cali40 hash:ip; ipset add cali40 192.0.2.1");
        kernel
            .ipset_restore("create RFa hash:ip\nadd RFa 192.0.2.2\n")
            .unwrap();
        let saved = kernel.ipset_save().unwrap();
        assert!(
            saved.contains("create RFa hash:ip") && saved.contains("add RFa 192.0.2.2"),
            "{saved}"
        );
        assert!(!saved.contains("cali40"), "{saved}");
    });
}

#[test]
fn restoring_twice_is_no_error() {
    private(|| {
        let kernel = kernel(Flavour::Nft);
        let input = "create RFa hash:ip\nadd RFa 192.0.2.2\ndel RFa 192.0.2.9\n";
        kernel.ipset_restore(input).unwrap();
        kernel.ipset_restore(input).unwrap();
        kernel.ipset_restore("destroy RFnone\n").unwrap();
        let error = kernel.ipset_restore("create RFa hash:net\n").unwrap_err();
        assert_eq!(
            error.kind(),
            "failed",
            "another type is not silently kept: {error}"
        );
    });
}

#[test]
fn an_error_names_the_line_and_nothing_after_it_is_in() {
    private(|| {
        let kernel = kernel(Flavour::Nft);
        let input = "create RFa hash:ip\nadd RFa 192.0.2.2\nadd RFa elsewhere\nadd RFa 192.0.2.3\n";
        let error = kernel.ipset_restore(input).unwrap_err();
        let Error::Failed { line, text, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(
            (*line, text.as_deref()),
            (Some(3), Some("add RFa elsewhere")),
            "{error}"
        );
        let saved = kernel.ipset_save().unwrap();
        assert!(!saved.contains("192.0.2.3"), "{saved}");
    });
}

/// A foreign set that this ipset cannot print spoils `ipset save`, not our read-back.
#[test]
fn own_sets_are_read_past_a_foreign_one_that_cannot_be() {
    private(|| {
        let folder = tempfile::tempdir().unwrap();
        sh(&format!(
            r#"printf '#!/bin/sh\n[ "$*" = save ] && exit 1\nexec %s "$@"\n' "$(command -v ipset)" > {0}/ipset
            chmod +x {0}/ipset
            for f in iptables ip6tables; do for v in restore save; do ln -s "$(command -v $f-nft-$v)" {0}; done; done"#,
            folder.path().display()
        ));
        let kernel = LinuxKernel::open(Options {
            search_path: vec![folder.path().to_path_buf()],
            flavour: Some(Flavour::Nft),
            ..Options::default()
        })
        .unwrap();
        sh("ipset create cali40 hash:ip");
        kernel
            .ipset_restore("create RFa hash:ip\nadd RFa 192.0.2.2\ncreate RFb hash:ip\n")
            .unwrap();
        let saved = kernel.ipset_save().unwrap();
        assert!(
            saved.contains("add RFa 192.0.2.2") && saved.contains("create RFb"),
            "{saved}"
        );
        assert!(!saved.contains("cali40"), "{saved}");
    });
}

/// Members alone go through a session: what it cannot do is said again by a restore, which
/// names the line, and does not end it.
#[test]
fn members_come_and_go_and_errors_name_their_line() {
    private(|| {
        let kernel = kernel(Flavour::Nft);
        kernel
            .ipset_restore("create RFa hash:ip\ncreate RFb hash:ip\n")
            .unwrap();
        for turn in 0..50 {
            let input = format!("del RFa 192.0.2.{turn}\nadd RFb 192.0.2.{turn}\n");
            kernel.ipset_restore(&input).unwrap();
        }
        let wrong = "add RFa 192.0.2.99\nadd RFnone 192.0.2.1\n";
        let error = kernel.ipset_restore(wrong).unwrap_err();
        let Error::Failed { line, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*line, Some(2), "{error}");
        kernel
            .ipset_restore("del RFa 192.0.2.99\nadd RFb 192.0.2.99\n")
            .unwrap();
        // A set that was made anew under its name is no surprise to it.
        sh("ipset destroy RFa; ipset create RFa hash:ip,port");
        kernel.ipset_restore("add RFa 192.0.2.1,tcp:80\n").unwrap();
        let saved = kernel.ipset_save().unwrap();
        assert_eq!(saved.matches("add RFb ").count(), 51, "{saved}");
        assert_eq!(saved.matches("add RFa ").count(), 1, "{saved}");
    });
}
