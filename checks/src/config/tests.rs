//! What a configuration file may say, and what is answered when it says something else.

use super::{Config, Injection, Profile, schema};
use crate::finding::Level;
use crate::testing::document;
use serde_json::Value;
use test_case::test_case;

fn config(yaml: &str) -> Config {
    Config::from_value(&document(yaml)).unwrap()
}

#[test_case("profil: strict", "profil", "did you mean profile?"; "a key")]
#[test_case("dns: {nodelocal: []}", "nodelocal", "did you mean nodeLocal?"; "a key below")]
#[test_case("zebra: 1", "zebra", "write one of: "; "a key like no other")]
#[test_case("profile: strickt", "strickt", "did you mean strict?"; "a value")]
#[test_case("checks: {cidr-wrld: warn}", "cidr-wrld", "did you mean cidr-world?"; "a check")]
#[test_case("checks: {zebra: warn}", "zebra", "ringfence checks"; "a check like no other")]
#[test_case("checks: {cidr-world: denny}", "denny", "did you mean deny?"; "a level")]
#[test_case("namespaces: [{names: [a], checks: {cidr-wrld: warn}}]", "namespaces[0].checks", "cidr-world"; "a check in a namespace")]
#[test_case("suppression: {except: [cidr-wrld]}", "suppression.except", "cidr-world"; "a check in suppression")]
#[test_case("namespaces: [{checks: {cidr-world: warn}}]", "namespaces[0]", "add names or matchLabels"; "rules for no namespace")]
#[test_case("ranges: {pods: [10.0.0.0/33]}", "ranges.pods[0]", "write a CIDR such as"; "a range")]
#[test_case("ranges: {nodes: [10.0.0.0/8, node-1]}", "ranges.nodes[1]", "or an address"; "a name in place of a range")]
#[test_case("dns: {nodeLocal: [169.254.20.10/32]}", "dns.nodeLocal[0]", "for example 169.254.20.10"; "a range in place of an address")]
#[test_case("dns: {service: kube-dns}", "dns.service", "kube-system/kube-dns"; "a Service without namespace")]
#[test_case("exemptions: [{users: [flux]}]", "exemptions[0].namespaces", "exempts every tenant"; "an exemption everywhere")]
#[test_case("exemptions: [{namespaces: [flux-system]}]", "exemptions[0]", "add users or groups"; "an exemption of everybody")]
#[test_case("monitoring: {namespaces: ['a b']}", "monitoring.namespaces[0]", "write a name"; "no name")]
#[test_case("apiVersion: v1", "apiVersion", "ringfence.dev/v1alpha1"; "another version")]
#[test_case("kind: Config", "kind", "CheckConfiguration"; "another kind")]
#[test_case("checks: {cidr-world: on}", "checks.cidr-world: found true", "quote it"; "on is no level")]
#[test_case("namespaces: [{names: [a], injection: yes}]", "namespaces[0].injection: found true", "quote it"; "yes is no mode")]
#[test_case("injection: off", "injection: found false", "injection: {mode: off}"; "a mode in place of a section")]
#[test_case("monitoring: {namespaces: [no]}", "monitoring.namespaces[0]: found false", "quote it"; "a namespace that YAML takes for false")]
#[test_case("dns: {service: 7}", "dns.service: found 7", "expected a string"; "a number")]
#[test_case("checks: [cidr-world]", "checks", "expected a map"; "a list in place of a map")]
#[test_case("just words", "just words", "expected"; "no map at all")]
fn refused(yaml: &str, names: &str, remedy: &str) {
    let error = Config::from_value(&document(yaml)).unwrap_err().to_string();
    assert!(error.contains(names), "{error}");
    assert!(error.contains(remedy), "{error}");
}

#[test]
fn off_is_off_with_and_without_quotes() {
    for off in ["off", "'off'", "OFF", "false"].map(|word| {
        format!(
            "{{checks: {{cidr-world: {word}}}, injection: {{mode: {word}}}, \
             namespaces: [{{names: [a], checks: {{ns-all: {word}}}, injection: {word}}}]}}"
        )
    }) {
        let config = config(&off);
        assert_eq!(config.levels["cidr-world"], Level::Off);
        assert_eq!(config.injection, Injection::Off);
        assert_eq!(config.namespaces[0].levels["ns-all"], Level::Off);
        assert_eq!(config.namespaces[0].injection, Some(Injection::Off));
    }
}

#[test]
fn an_empty_file_is_the_default() {
    let empty = Config::from_value(&Value::Null).unwrap();
    assert_eq!(empty.profile, Profile::Baseline);
    assert_eq!(empty.injection, Injection::InPlace);
    assert_eq!(empty.dns.service.to_string(), "kube-system/kube-dns");
}

#[test]
fn addresses_are_ranges_of_one_and_host_bits_are_cut_off() {
    let ranges = config("ranges: {nodes: [192.0.2.1, 'fd00::1'], pods: [10.1.2.3/8]}").ranges;
    let text = |r: &[ipnet::IpNet]| r.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(text(&ranges.nodes), ["192.0.2.1/32", "fd00::1/128"]);
    assert_eq!(text(&ranges.pods), ["10.0.0.0/8"]);
}

#[test_case("flux", &[], "flux-system", true; "user and namespace")]
#[test_case("flux", &[], "shop", false; "another namespace")]
#[test_case("eve", &[], "flux-system", false; "another user")]
#[test_case("eve", &["admins"], "flux-system", true; "by group")]
fn exemptions(user: &str, groups: &[&str], namespace: &str, expected: bool) {
    let config =
        config("exemptions: [{namespaces: [flux-system], users: [flux], groups: [admins]}]");
    assert_eq!(config.exempts(namespace, user, groups), expected);
}

#[test]
fn injection_by_namespace() {
    let config = config(
        "{injection: {mode: warn}, namespaces: [{names: [a], injection: companion}, {names: [b], profile: strict}]}",
    );
    assert_eq!(config.rules("a", None).injection, Injection::Companion);
    assert_eq!(config.rules("b", None).injection, Injection::Warn);
}

#[test]
fn levels_are_ordered_by_weight() {
    assert!(Level::Off < Level::Audit && Level::Audit < Level::Warn && Level::Warn < Level::Deny);
}

/// The published schema refuses what the program refuses, and names every field.
#[test]
fn the_schema_is_closed() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    for field in [
        "profile",
        "checks",
        "namespaces",
        "dns",
        "monitoring",
        "ranges",
        "exemptions",
    ] {
        assert!(
            schema["properties"][field]["description"].is_string(),
            "{field}"
        );
    }
}
