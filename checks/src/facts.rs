//! What is known about the cluster beyond the five kinds that decide about packets.

pub mod enforcement;

pub use enforcement::Enforcement;

use ipnet::IpNet;
use ringfence_policy::model::ObjectKey;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// `None` everywhere means: not known (yet); a check that needs it answers Unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The Service network: `ServiceCIDR` objects.
    pub service_ranges: Option<Vec<IpNet>>,
    /// `iptables.masqueradeAll` (or `nftables.masqueradeAll`) of kube-proxy's `ConfigMap`.
    pub masquerade_all: Option<bool>,
    /// The Services that webhook configurations and `APIService` objects call.
    pub webhook_services: Option<BTreeSet<ObjectKey>>,
    /// The Services that are backends of Ingresses and of `HTTPRoute` objects.
    pub ingress_services: Option<BTreeSet<ObjectKey>>,
    /// Where the API servers listen: the endpoints of the Service `default/kubernetes`.
    pub api_servers: Option<BTreeSet<SocketAddr>>,
    /// Who enforces NetworkPolicies.
    pub enforcement: Option<Enforcement>,
}

/// Every fact in the objects of a whole cluster, or of a folder that stands for one: no
/// Ingress among them means that there is none. Objects of other kinds are passed over.
/// Ranges, kube-proxy's configuration, API servers and enforcers stay unknown while no
/// object tells them.
pub fn read<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Facts {
    let (mut webhooks, mut backends) = (BTreeSet::new(), BTreeSet::new());
    let (mut daemon_sets, mut pods) = (Vec::new(), Vec::new());
    let mut facts = Facts::default();
    for object in objects {
        match text(&object["kind"]) {
            "ServiceCIDR" => {
                let ranges = facts.service_ranges.take().unwrap_or_default();
                facts.service_ranges =
                    Some(ranges.into_iter().chain(service_ranges(object)).collect());
            }
            "ConfigMap" if is_kube_proxy(object) => facts.masquerade_all = masquerade_all(object),
            "ValidatingWebhookConfiguration"
            | "MutatingWebhookConfiguration"
            | "APIService"
            | "CustomResourceDefinition" => webhooks.extend(webhook_services(object)),
            "Ingress" | "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" => {
                backends.extend(ingress_services(object));
            }
            "EndpointSlice" if is_api_server(object) => {
                let known = facts.api_servers.take().unwrap_or_default();
                facts.api_servers = Some(known.into_iter().chain(api_servers(object)).collect());
            }
            "DaemonSet" => daemon_sets.push(object),
            "Pod" => pods.push(object),
            _ => {}
        }
    }
    facts.webhook_services = Some(webhooks);
    facts.ingress_services = Some(backends);
    facts.enforcement = (!daemon_sets.is_empty()).then(|| Enforcement::of(daemon_sets, pods));
    facts
}

/// The ranges of a `ServiceCIDR`; the API server has validated them.
pub fn service_ranges(object: &Value) -> impl Iterator<Item = IpNet> {
    let ranges = list(&object["spec"]["cidrs"]).iter();
    ranges.filter_map(|range| text(range).parse().ok())
}

/// Whether kube-proxy, by its `ConfigMap`, replaces the source of every connection to a
/// Service. `None` when its configuration is not there or cannot be read.
pub fn masquerade_all(config_map: &Value) -> Option<bool> {
    let configuration = config_map["data"]["config.conf"].as_str()?;
    let configuration: Value = serde_saphyr::from_str(configuration).ok()?;
    let all = |section: &str| configuration[section]["masqueradeAll"] == true;
    Some(all("iptables") || all("nftables"))
}

/// Whether a `ConfigMap` is kube-proxy's configuration.
pub fn is_kube_proxy(config_map: &Value) -> bool {
    config_map["metadata"]["name"] == "kube-proxy"
        && matches!(
            text(&config_map["metadata"]["namespace"]),
            "kube-system" | ""
        )
}

/// Whether an `EndpointSlice` is of the Service through which pods find the API server.
pub fn is_api_server(slice: &Value) -> bool {
    let metadata = &slice["metadata"];
    metadata["namespace"] == "default"
        && metadata["labels"]["kubernetes.io/service-name"] == "kubernetes"
}

/// The addresses in an `EndpointSlice`, each with every port; names of hosts are no addresses.
pub fn api_servers(slice: &Value) -> impl Iterator<Item = SocketAddr> {
    let endpoints = list(&slice["endpoints"]).iter();
    let addresses = endpoints.flat_map(|endpoint| list(&endpoint["addresses"]));
    let addresses = addresses.filter_map(|address| text(address).parse().ok());
    let ports = list(&slice["ports"]).iter();
    let ports = ports.filter_map(|port| u16::try_from(port["port"].as_u64()?).ok());
    addresses.flat_map(move |address| {
        ports
            .clone()
            .map(move |port| SocketAddr::new(address, port))
    })
}

/// The Services that the API server calls for a webhook configuration, an `APIService` or
/// a `CustomResourceDefinition`.
pub fn webhook_services(object: &Value) -> impl Iterator<Item = ObjectKey> {
    let configured = list(&object["webhooks"]).iter();
    let configured = configured.map(|webhook| &webhook["clientConfig"]["service"]);
    let spec = &object["spec"];
    let conversion = &spec["conversion"]["webhook"]["clientConfig"]["service"];
    let services = configured.chain([&spec["service"], conversion]);
    services.filter_map(|s| key(text(&s["namespace"]), text(&s["name"])))
}

/// The Services to which an Ingress or a route of the Gateway API sends requests.
pub fn ingress_services(object: &Value) -> impl Iterator<Item = ObjectKey> {
    let namespace = match text(&object["metadata"]["namespace"]) {
        "" => "default",
        named => named,
    };
    let spec = &object["spec"];
    let rules = list(&spec["rules"]).iter();
    let paths = rules.clone().flat_map(|r| list(&r["http"]["paths"]));
    let backends = paths.map(|path| &path["backend"]["service"]["name"]);
    let backends = backends.chain([&spec["defaultBackend"]["service"]["name"]]);
    let ingress = backends.filter_map(move |name| key(namespace, text(name)));
    let references = rules.flat_map(|rule| list(&rule["backendRefs"]));
    let services = references.filter(|r| r["kind"].is_null() || r["kind"] == "Service");
    let routes = services.filter_map(move |reference| {
        let other = text(&reference["namespace"]);
        let namespace = if other.is_empty() { namespace } else { other };
        key(namespace, text(&reference["name"]))
    });
    ingress.chain(routes)
}

fn key(namespace: &str, name: &str) -> Option<ObjectKey> {
    let named = !namespace.is_empty() && !name.is_empty();
    named.then(|| ObjectKey::new(namespace, name))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::documents;
    use test_case::test_case;

    fn facts(yaml: &str) -> Facts {
        read(&documents(yaml))
    }

    fn names(keys: Option<BTreeSet<ObjectKey>>) -> Vec<String> {
        keys.into_iter().flatten().map(|k| k.to_string()).collect()
    }

    #[test]
    fn a_folder_without_any() {
        let facts = facts("kind: Pod");
        assert_eq!(facts.service_ranges, None);
        assert_eq!(facts.masquerade_all, None);
        assert_eq!(facts.webhook_services, Some([].into()));
        assert_eq!(facts.ingress_services, Some([].into()));
    }

    #[test]
    fn service_networks_add_up() {
        let yaml = "kind: ServiceCIDR\nspec: {cidrs: [10.96.0.0/12, 'fd00:96::/112']}\n---\n\
                    kind: ServiceCIDR\nspec: {cidrs: [10.112.0.0/16]}";
        assert_eq!(facts(yaml).service_ranges.unwrap().len(), 3);
    }

    #[test_case("iptables: {masqueradeAll: true}", Some(true); "iptables")]
    #[test_case("nftables: {masqueradeAll: true}", Some(true); "nftables")]
    #[test_case("iptables: {masqueradeAll: false}", Some(false); "off")]
    #[test_case("mode: ipvs", Some(false); "the default")]
    #[test_case("{", None; "no YAML")]
    fn kube_proxy(configuration: &str, expected: Option<bool>) {
        let map = |name: &str| {
            format!(
                "kind: ConfigMap\nmetadata: {{name: {name}, namespace: kube-system}}\n\
                 data:\n  config.conf: |\n    {configuration}\n"
            )
        };
        assert_eq!(facts(&map("kube-proxy")).masquerade_all, expected);
        assert_eq!(facts(&map("other")).masquerade_all, None);
    }

    #[test]
    fn where_the_api_servers_listen() {
        let slice = "kind: EndpointSlice\nmetadata: {name: kubernetes, namespace: default, \
                     labels: {kubernetes.io/service-name: kubernetes}}\n\
                     endpoints: [{addresses: [192.0.2.1]}, {addresses: ['2001:db8::1']}]\n\
                     ports: [{name: https, port: 6443}]";
        let found = facts(slice).api_servers.unwrap();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:6443", "[2001:db8::1]:6443"]);
        let other = slice.replace("namespace: default", "namespace: shop");
        assert_eq!(facts(&other).api_servers, None);
    }

    #[test_case("kind: ValidatingWebhookConfiguration\nwebhooks: [{clientConfig: {service: {namespace: a, name: b}}}, {clientConfig: {url: 'https://x'}}]"; "webhooks")]
    #[test_case("kind: APIService\nspec: {service: {namespace: a, name: b}}"; "aggregated API")]
    #[test_case("kind: CustomResourceDefinition\nspec: {conversion: {webhook: {clientConfig: {service: {namespace: a, name: b}}}}}"; "conversion")]
    fn called_by_the_api_server(yaml: &str) {
        assert_eq!(names(facts(yaml).webhook_services), ["a/b"]);
    }

    #[test_case("kind: Ingress\nmetadata: {namespace: a}\nspec: {defaultBackend: {service: {name: b}}}", "a/b"; "default backend")]
    #[test_case("kind: Ingress\nspec: {rules: [{http: {paths: [{backend: {service: {name: b}}}, {backend: {resource: {name: c}}}]}}]}", "default/b"; "paths")]
    #[test_case("kind: HTTPRoute\nmetadata: {namespace: a}\nspec: {rules: [{backendRefs: [{name: b}, {kind: Other, name: c}]}]}", "a/b"; "route")]
    #[test_case("kind: GRPCRoute\nmetadata: {namespace: a}\nspec: {rules: [{backendRefs: [{name: b, namespace: c}]}]}", "c/b"; "route to another namespace")]
    fn backends(yaml: &str, expected: &str) {
        assert_eq!(names(facts(yaml).ingress_services), [expected]);
    }
}
