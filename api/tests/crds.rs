//! manifests/base/crds is what the Rust types say.

#![allow(clippy::unwrap_used, reason = "tests")]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use ringfence_api::{IsolationConfig, IsolationRule, NamespaceIsolation};
use std::fs;
use std::path::Path;
use test_case::test_case;

const NOTE: &str = "# Generated from api/src:\n\
    # RINGFENCE_WRITE_DOCS=1 cargo test -p ringfence-api --test crds\n";

#[test_case(IsolationConfig::crd)]
#[test_case(NamespaceIsolation::crd)]
#[test_case(IsolationRule::crd)]
fn is_in_step(crd: fn() -> CustomResourceDefinition) {
    let crd = crd();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/base/crds");
    let path = folder.join(format!("{}.yaml", crd.spec.names.plural));
    let text = NOTE.to_owned() + &serde_saphyr::to_string(&crd).unwrap();
    if std::env::var_os("RINGFENCE_WRITE_DOCS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&path, text).unwrap();
        return;
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, text, "{}", path.display());
}
