//! ipset.

use super::kernel;
use super::namespace::{private, sh};
use ringfence_enforcer::system::{Error, Flavour, Kernel};

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
