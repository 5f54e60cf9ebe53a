//! Objects and clusters as YAML, findings as text.

use super::{Around, Fences, config, find, foreign, isolation, rule};
use ringfence_api::IsolationConfigSpec;
use ringfence_checks::{Before, Config, Facts, Index, Occasion, Report, Subject, World};
use ringfence_policy::model::ObjectKey;
use ringfence_policy::{Snapshot, parse};
use serde::de::DeserializeOwned;
use serde_json::Value;
use test_case::test_case;

const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: friend}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: ingress-nginx, labels: {role: gateway}}}
---
apiVersion: v1
kind: Node
metadata: {name: node1}
spec: {podCIDRs: [10.233.90.0/24]}
status: {addresses: [{type: InternalIP, address: 10.102.123.117}]}
---
{apiVersion: v1, kind: Pod, metadata: {name: web-0, namespace: shop, labels: {app: web}}, spec: {nodeName: node1}, status: {podIPs: [{ip: 10.233.90.5}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a-0, namespace: friend, labels: {app: a}}, spec: {nodeName: node1}, status: {podIPs: [{ip: 10.233.90.6}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: nginx, namespace: ingress-nginx, labels: {app: nginx}}, spec: {nodeName: node1, hostNetwork: true}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: empty, namespace: shop}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: alias, namespace: friend}, spec: {type: ExternalName, externalName: example.org}}
---
{apiVersion: v1, kind: Service, metadata: {name: kube-dns, namespace: kube-system}, spec: {clusterIP: 10.96.0.10, selector: {k8s-app: kube-dns}, ports: [{port: 53, protocol: UDP}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ringfence-isolation, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {}}]
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: friend}}}]
    ports: [{port: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ringfence-isolation, namespace: friend}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
";

struct Case {
    cluster: Option<String>,
    facts: Facts,
    fences: Option<Fences>,
    occasion: Occasion,
}

impl Default for Case {
    /// `shop` and `friend` are isolated.
    fn default() -> Self {
        let facts = Facts {
            webhook_services: Some([].into()),
            ..Facts::default()
        };
        let isolated = ["shop", "friend"].map(|name| (name.into(), yaml("{}")));
        Self {
            cluster: Some(CLUSTER.to_owned()),
            facts,
            fences: Some(Fences {
                config: IsolationConfigSpec::default(),
                isolated: isolated.into(),
            }),
            occasion: Occasion::Create,
        }
    }
}

fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap()
}

fn index(text: &str) -> Index {
    let mut snapshot = Snapshot::default();
    for document in text.split("\n---") {
        let (object, errors) = parse::object(&yaml(document)).unwrap();
        assert_eq!(errors, []);
        snapshot.apply(object);
    }
    Index::new(snapshot)
}

impl Case {
    fn config(mut self, spec: &str) -> Self {
        self.fences.get_or_insert_default().config = yaml(spec);
        self
    }

    fn isolated(mut self, namespace: &str, spec: &str) -> Self {
        let fences = self.fences.get_or_insert_default();
        fences.isolated.insert(namespace.into(), yaml(spec));
        self
    }

    fn judge(&self, by: impl FnOnce(&Around) -> Report) -> Report {
        let index = self.cluster.as_deref().map(index);
        let world = World {
            index: index.as_ref(),
            facts: &self.facts,
            config: &Config::default(),
            now: "2026-06-01T12:00:00Z".parse().unwrap(),
            occasion: self.occasion,
        };
        by(&Around {
            world: &world,
            fences: self.fences.as_ref(),
        })
    }

    fn rule(&self, spec: &str) -> Vec<String> {
        said(self.judge(|around| rule(&written(spec, ""), None, around)))
    }
}

/// The rule `shop/r`, with more metadata.
fn written(spec: &str, metadata: &str) -> ringfence_api::IsolationRule {
    yaml(&format!(
        "{{metadata: {{name: r, namespace: shop, {metadata}}}, spec: {spec}}}"
    ))
}

/// `level check path: sentence` each.
fn said(report: Report) -> Vec<String> {
    let line = |f: ringfence_checks::Finding| {
        assert!(f.sentence.chars().count() <= 120, "{}", f.sentence);
        let level = f.level.as_str();
        format!("{level} {} {}: {}", f.check, f.path, f.sentence)
    };
    let unknown = report.unknown.iter();
    let unknown: Vec<String> = unknown.map(|u| format!("unknown {}", u.check)).collect();
    let found = report.findings.into_iter().map(line);
    found.chain(unknown).collect()
}

#[test_case("{direction: Ingress, peer: {namespace: nowhere}}",
    "warn isolation-unresolved spec: there is no namespace nowhere: the rule matches nothing"; "namespace")]
#[test_case("{direction: Egress, peer: {service: {namespace: shop, name: none}}}",
    "warn isolation-unresolved spec: there is no Service shop/none"; "service")]
#[test_case("{direction: Egress, peer: {service: {namespace: shop, name: empty}}}",
    "warn isolation-unresolved spec: Service shop/empty has no selector: nobody knows its pods; write a cidr peer"; "without selector")]
#[test_case("{direction: Egress, peer: {service: {namespace: friend, name: alias}}}",
    "warn isolation-unresolved spec: Service friend/alias is an ExternalName: it has no pods; write a cidr peer"; "ExternalName")]
#[test_case("{direction: Ingress, peer: {cidr: {cidr: 192.0.2.0/24}}, ports: [{servicePort: web/81}]}",
    "warn isolation-unresolved spec: Service shop/web has no port 81; it has TCP 80"; "port")]
#[test_case("{direction: Egress, peer: {cidr: {cidr: 192.0.2.1/32}}, expiresAt: '2026-06-01T12:00:00Z'}",
    "warn isolation-expired spec.expiresAt: the rule ended at 2026-06-01T12:00:00Z: it lets nobody in or out"; "expired")]
#[test_case("{direction: Ingress, peer: {cidr: {cidr: 10.102.123.117/32}}}",
    "deny node-address-allowed spec.peer.cidr.cidr: 10.102.123.117/32 is a node address: admits every pod and client that is SNATed there (NodePort)"; "node")]
#[test_case("{direction: Ingress, peer: {cidr: {cidr: 10.233.90.0/32}}}",
    "deny node-address-allowed spec.peer.cidr.cidr: 10.233.90.0/32 is a tunnel address: admits every pod and client that is SNATed there (NodePort)"; "tunnel")]
#[test_case("{direction: Ingress, peer: {cidr: {cidr: 192.0.2.1/32}}, ports: [{servicePort: web/80}]}",
    "warn external-policy-cluster spec.peer.cidr.cidr: 192.0.2.1/32 is lost behind Service web: set its externalTrafficPolicy to Local"; "traffic policy")]
#[test_case("{direction: Ingress, peer: {cidr: {cidr: 192.0.2.1/32}}, ports: [{port: 80}]}",
    "warn service-port spec.ports: no pod listens on 80, Service web does: write servicePort: web/80"; "port of the Service")]
#[test_case("{direction: Ingress, peer: {namespace: ingress-nginx}}",
    "warn host-network-peer"; "host network")]
#[test_case("{direction: Ingress, peer: {namespace: friend}, ports: [{protocol: SCTP, port: 8080}]}",
    "warn sctp-unsupported spec.ports"; "SCTP")]
#[test_case("{direction: Ingress, peer: {namespace: friend}}",
    "warn one-sided spec.peer: friend is isolated too: add an IsolationRule there, Egress, peer namespace shop"; "the peer lets nothing out")]
fn rules_are_told(spec: &str, expected: &str) {
    let said = Case::default().rule(spec);
    assert!(
        said.iter().any(|line| line.starts_with(expected)),
        "{said:#?}"
    );
}

#[test_case("{direction: Ingress, peer: {cidr: {cidr: 10.102.123.0/24}}, ports: [{port: 443}]}"; "more than nodes")]
#[test_case("{direction: Egress, peer: {cidr: {cidr: 10.102.123.117/32}}, ports: [{port: 6443}]}"; "egress to a node")]
#[test_case("{direction: Egress, peer: {namespace: kube-public}, expiresAt: '2026-06-01T12:00:01Z'}"; "ends in a second")]
fn nothing_is_denied_of(spec: &str) {
    let said = Case::default().rule(spec);
    assert!(
        !said.iter().any(|line| line.starts_with("deny")),
        "{said:#?}"
    );
}

#[test]
fn a_rule_without_isolation_stays_and_is_told() {
    let case = Case {
        fences: Some(Fences::default()),
        ..Case::default()
    };
    let said = case.rule("{direction: Egress, peer: {service: {namespace: shop, name: web}}}");
    assert_eq!(
        said,
        ["warn isolation-off : namespace shop is not isolated: the rule does nothing yet"]
    );
}

#[test]
fn an_egress_rule_while_egress_is_open() {
    let case = Case::default().isolated("shop", "{egress: Open}");
    let said = case.rule("{direction: Egress, peer: {service: {namespace: shop, name: web}}}");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("egress is Open"), "{said:?}");
}

const NODE: &str = "{direction: Ingress, peer: {cidr: {cidr: 10.102.123.117/32}}}";

#[test_case("", "", "deny"; "another peer before")]
#[test_case(NODE, "", "warn"; "the same peer before")]
#[test_case("", "deletionTimestamp: '2026-06-01T11:00:00Z'", "warn"; "being deleted")]
#[test_case("", "annotations: {ignore.ringfence.dev/node-address-allowed: until=2026-12-31 the old balancer}", "audit"; "overridden")]
#[test_case("", "annotations: {ignore.ringfence.dev/node-address-allowed: until=2026-05-31 the old balancer}", "deny"; "overridden once")]
#[test_case("", "annotations: {ignore.ringfence.dev/node-address-allowed: yes}", "deny"; "overridden without reason")]
fn a_node_s_address(before: &str, metadata: &str, level: &str) {
    let old = match before {
        "" => "{direction: Ingress, peer: {cidr: {cidr: 192.0.2.1/32}}}",
        same => same,
    };
    let old = written(old, "");
    let report = Case::default().judge(|a| rule(&written(NODE, metadata), Some(&old), a));
    let mut found = report.findings.iter();
    let found = found.find(|f| f.check == "node-address-allowed").unwrap();
    assert_eq!(found.level.as_str(), level);
}

fn fence(case: &Case, spec: &str) -> Vec<String> {
    let text = format!("{{metadata: {{name: default, namespace: shop}}, spec: {spec}}}");
    said(case.judge(|around| isolation(&yaml(&text), around)))
}

#[test]
fn turning_it_on_says_whom_it_cuts() {
    let mut case = Case::default();
    case.facts.ingress_services = Some([ObjectKey::new("shop", "web")].into());
    case.facts.webhook_services = Some([ObjectKey::new("shop", "hook")].into());
    let outside = "warn isolation-cuts : clients from outside reach Service web no more without an IsolationRule for their CIDR";
    let routed = "warn isolation-cuts : routes to Service web end here: IsolationConfig names no gatewayNamespaces";
    let hook = "warn isolation-cuts : the API server calls Service hook from a node: without an IsolationRule for it, its webhooks fail";
    assert_eq!(fence(&case, "{}"), [outside, routed, hook]);
    let case = case.config("{gatewayNamespaces: [ingress-nginx]}");
    assert_eq!(fence(&case, "{}"), [outside, hook]);
    assert_eq!(fence(&case, "{mode: Preview}"), [""; 0]);
    let case = Case {
        occasion: Occasion::Update,
        ..case
    };
    assert_eq!(fence(&case, "{}"), [""; 0]);
}

#[test_case("{scope: Tenant}", "", "warn isolation-unresolved spec: scope Tenant: IsolationConfig spec.tenantLabel is not set"; "no label is configured")]
#[test_case("{scope: Tenant}", "tenantLabel: team", "warn isolation-unresolved spec: scope Tenant: the namespace has no value of label team"; "no label here")]
#[test_case("{}", "gatewayNamespaces: [gone]", "warn isolation-unresolved spec: IsolationConfig spec.gatewayNamespaces: there is no namespace gone"; "a gateway that is not there")]
#[test_case("{egress: Restricted}", "dns: {service: kube-system/coredns}", "warn isolation-unresolved spec.egress: "; "no DNS")]
fn isolation_that_lacks_something(spec: &str, config: &str, expected: &str) {
    let said = fence(&Case::default().config(&format!("{{{config}}}")), spec);
    assert!(
        said.iter().any(|line| line.starts_with(expected)),
        "{said:#?}"
    );
}

#[test]
fn a_policy_that_is_there_already() {
    let open = "
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: open, namespace: shop}, spec: {podSelector: {}, ingress: [{}]}}";
    let case = Case {
        cluster: Some(format!("{CLUSTER}{open}")),
        occasion: Occasion::Update,
        ..Case::default()
    };
    let expected =
        "warn foreign-policy-widens : NetworkPolicy open opens it to others all the same";
    assert_eq!(fence(&case, "{}"), [expected]);
}

#[test_case("{allowedIngressNamespaces: [friend]}", &[]; "all is there")]
#[test_case("{allowedIngressNamespaces: [gone]}", &["warn isolation-unresolved spec"]; "a namespace is not")]
#[test_case("{gatewayNamespaces: [ingress-nginx]}", &["warn isolation-host-network spec.gatewayNamespaces[0]"]; "a gateway on the host")]
#[test_case("{dns: {service: kube-system/coredns}}", &["warn isolation-unresolved spec.dns"]; "no such DNS")]
fn configuration(spec: &str, expected: &[&str]) {
    let text = format!("{{metadata: {{name: default}}, spec: {spec}}}");
    let said = said(Case::default().judge(|around| config(&yaml(&text), around)));
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (line, start) in said.iter().zip(expected) {
        assert!(line.starts_with(start), "{said:#?}");
    }
}

/// A NetworkPolicy of somebody else, before and after.
fn theirs(case: &Case, namespace: &str, old: Option<&str>, spec: &str) -> Vec<String> {
    let policy = |spec: &str| -> Value {
        yaml(&format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, \
             metadata: {{name: p, namespace: {namespace}}}, spec: {spec}}}"
        ))
    };
    let (new, old) = (policy(spec), old.map(policy));
    let subject = Subject::read(&new).unwrap();
    let old = old.as_ref().map(|old| Subject::read(old).unwrap());
    said(case.judge(|around| foreign(&subject, Before::from(old.as_ref()), around)))
}

const OPEN: &str = "{podSelector: {}, ingress: [{}]}";
const CLOSED: &str = "{podSelector: {}, policyTypes: [Ingress]}";
const REFUSED: &str =
    "deny foreign-policy spec: this namespace is isolated, and takes no NetworkPolicies of others";

#[test_case("shop", None, CLOSED, 1; "a new one")]
#[test_case("shop", Some(OPEN), CLOSED, 1; "another spec")]
#[test_case("shop", Some(OPEN), OPEN, 0; "the same spec")]
#[test_case("kube-public", None, OPEN, 0; "near miss: not isolated")]
fn where_they_are_refused(namespace: &str, old: Option<&str>, spec: &str, expected: usize) {
    let case = Case::default().config("{foreignPolicies: Deny}");
    assert_eq!(theirs(&case, namespace, old, spec), vec![REFUSED; expected]);
}

#[test]
fn a_preview_refuses_nothing() {
    let case = Case::default()
        .config("{foreignPolicies: Deny}")
        .isolated("shop", "{mode: Preview}");
    assert_eq!(theirs(&case, "shop", None, OPEN), [""; 0]);
}

#[test_case(OPEN, "everyone"; "no peers")]
#[test_case("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]}", "192.0.2.0/24"; "addresses")]
#[test_case("{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}", "2 other namespaces"; "all namespaces")]
#[test_case("{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {role: gateway}}}]}]}", "another namespace"; "one by its label, which is not named")]
#[test_case("{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: friend}}}]}]}", "another namespace"; "on all ports")]
#[test_case(CLOSED, ""; "near miss: it only closes")]
#[test_case("{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}", ""; "near miss: inside")]
#[test_case("{podSelector: {}, ingress: [{ports: [{port: 8080}], from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: friend}}}]}]}", ""; "near miss: as a rule says")]
#[test_case("{podSelector: {}, policyTypes: [Egress], egress: [{}]}", ""; "near miss: egress is open anyway")]
fn what_they_open(spec: &str, expected: &str) {
    let said = theirs(&Case::default(), "shop", None, spec);
    let line = format!(
        "warn foreign-policy-widens spec.ingress[0]: this opens the isolated namespace to {expected}"
    );
    let expected: Vec<String> = [line]
        .into_iter()
        .filter(|_| !expected.is_empty())
        .collect();
    assert_eq!(said, expected);
    let allowed = Case::default().config("{foreignPolicies: Allow}");
    assert_eq!(theirs(&allowed, "shop", None, spec), [""; 0]);
}

#[test]
fn what_is_not_known_warns_and_denies_nothing() {
    let case = Case {
        cluster: None,
        fences: None,
        ..Case::default()
    };
    assert_eq!(case.rule(NODE), ["unknown isolation-rule"]);
    assert_eq!(fence(&case, "{}"), ["unknown isolation-rule"]);
    assert_eq!(
        theirs(&case, "shop", None, OPEN),
        ["unknown foreign-policy"]
    );
    let unsynced = Case {
        cluster: None,
        ..Case::default()
    };
    assert_eq!(
        theirs(&unsynced, "shop", None, OPEN),
        ["unknown foreign-policy-widens"]
    );
}

#[test]
fn every_finding_says_what_to_do() {
    for check in ["foreign-policy", "isolation-cuts", "isolation-off"] {
        assert!(find(check).is_some(), "{check}");
    }
    assert_eq!(find("node-address-allowed"), None);
}
