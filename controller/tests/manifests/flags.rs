//! The flags that the manifests give.

use crate::hooks::configurations;
use crate::objects::{items, name, of_kind, texts};
use clap::Parser;
use ringfence_controller::config::Cli;
use serde_json::Value;
use std::collections::BTreeSet;

fn container(deployment: &str) -> Value {
    let deployments = of_kind(&["Deployment"]);
    let found = deployments.iter().find(|d| name(d) == deployment).unwrap();
    found["spec"]["template"]["spec"]["containers"][0].clone()
}

#[test]
fn the_controllers_flags_are_its_own_and_name_what_is_shipped() {
    let container = container("ringfence-controller");
    let fixed = [
        "ringfence-controller".to_owned(),
        "--identity=pod".into(),
        "--namespace=ringfence-system".into(),
    ];
    let cli = Cli::try_parse_from(fixed.into_iter().chain(texts(&container, "args"))).unwrap();
    let settings = cli.settings().unwrap();
    let secret = settings.certificates.unwrap().secret;
    assert_eq!(
        u64::from(cli.health_port),
        container["ports"][0]["containerPort"].as_u64().unwrap()
    );
    let environment: BTreeSet<&str> = items(&container, "env")
        .iter()
        .map(|e| e["name"].as_str().unwrap())
        .collect();
    assert_eq!(environment, BTreeSet::from(["POD_NAME", "POD_NAMESPACE"]));

    let rights: BTreeSet<String> = of_kind(&["Role", "ClusterRole"])
        .iter()
        .filter(|role| name(role) != "ringfence-webhook")
        .flat_map(|role| items(role, "rules").to_vec())
        .flat_map(|rule| texts(&rule, "resourceNames"))
        .collect();
    let isolation = [
        "ringfence-isolation",
        "default",
        "ringfence-enforcer",
        "kube-proxy",
        "isolationconfigs.ringfence.dev",
        "isolationrules.ringfence.dev",
    ];
    let wanted = [secret.clone(), cli.lease, cli.configuration.clone()];
    let wanted = wanted.into_iter().chain(isolation.map(str::to_owned));
    assert_eq!(rights, wanted.collect());
    assert!(
        of_kind(&["Namespace"])
            .iter()
            .any(|n| name(n) == cli.probe_namespace)
    );
    assert!(of_kind(&["Service"]).iter().any(|s| name(s) == cli.service));
    let webhook = of_kind(&["Deployment"])
        .into_iter()
        .find(|d| name(d) == "ringfence-webhook")
        .unwrap();
    assert_eq!(
        webhook["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"],
        secret.as_str()
    );
    for configuration in configurations() {
        assert_eq!(name(&configuration), cli.configuration);
    }
}
