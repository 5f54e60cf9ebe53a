//! What stands in `manifests/`, without a cluster: rights, pods, and the facts about
//! admission that the webhook configurations must respect. `tests/controlplane.rs` tries
//! them against a real API server.

#![allow(clippy::unwrap_used)]

mod flags;
mod hooks;
mod objects;
mod pods;
mod rights;

use objects::{base, items, listed, name, objects, of_kind};
use std::collections::BTreeSet;
use std::fs;

#[test]
fn every_file_is_listed_and_every_object_is_labelled() {
    let listed: BTreeSet<String> = listed().into_iter().collect();
    let mut found = BTreeSet::new();
    for folder in [base(), base().join("controller"), base().join("webhook")] {
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path
                .strip_prefix(base())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if path.is_file() && name != "kustomization.yaml" {
                found.insert(name);
            }
        }
    }
    assert_eq!(listed, found);
    let mut seen = BTreeSet::new();
    for object in objects() {
        let label = &object["metadata"]["labels"]["app.kubernetes.io/part-of"];
        assert_eq!(label, "ringfence", "{} {}", object["kind"], name(&object));
        let key = format!(
            "{} {} {}",
            object["kind"],
            object["metadata"]["namespace"],
            name(&object)
        );
        assert!(seen.insert(key.clone()), "{key} twice");
    }
}

#[test]
fn the_service_leads_to_the_webhook() {
    let service = of_kind(&["Service"]).remove(0);
    let deployments = of_kind(&["Deployment"]);
    let webhook = deployments
        .iter()
        .find(|d| name(d) == "ringfence-webhook")
        .unwrap();
    let pod = &webhook["spec"]["template"];
    let selector = service["spec"]["selector"].as_object().unwrap();
    for (key, value) in selector {
        assert_eq!(&pod["metadata"]["labels"][key], value);
    }
    let ports = items(&pod["spec"]["containers"][0], "ports");
    let target = &service["spec"]["ports"][0]["targetPort"];
    assert!(
        ports.iter().any(|p| p["name"] == *target),
        "no port {target}"
    );
}
