//! DNS that is not allowed at all, or over UDP only.

use super::{rules, wanting};
use crate::catalogue::{Check, Mend, Scope};
use crate::engine::{Answers, Ask};
use crate::finding::Level;
use crate::inject::dns::{self, Fault};
use crate::inject::{Part, appended};
use ringfence_policy::model::{Direction, PortMatch, PortSpec, Protocol, Rule};
use ringfence_policy::snapshot::Kind;
use serde_json::{Value, json};

/// Egress is limited and names do not resolve.
pub static NONE: Check = Check {
    id: "egress-no-dns",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Webhook,
    scope: Scope::Cluster,
    kinds: &[Kind::NetworkPolicy],
    title: "egress is limited and the cluster's DNS is not among what is allowed",
    text: "\
A pod that connects to `db` first asks the cluster's DNS for the address of `db`. Once a
policy limits the pod's egress, that question is traffic like any other: without a rule for
it the pod can reach the database by address and never by name. The application reports
\"no such host\", seconds later, and nothing points to the policy.

Allow UDP and TCP to the DNS pods, on the port on which they listen. The webhook adds such
a rule by itself (see the page about injection); `inject.ringfence.dev/dns: \"off\"` says
that the pods need no names. An address outside, such as 8.8.8.8, does not help: pods ask
the cluster's DNS. Neither does the address of the DNS Service: policies see the pods behind
it.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: db}}}]
    ports: [{port: 5432}]
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: db}}}]
    ports: [{port: 5432}]
  - to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
      podSelector: {matchLabels: {k8s-app: kube-dns}}
    ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
",
    run: none,
};

fn none(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = wanting(ask, Part::Dns) else {
        return;
    };
    let Some(index) = ask.index(answers) else {
        return;
    };
    let config = ask.world.config;
    let own = ask.subject.namespace();
    let rules = rules(ask, policy, Direction::Egress);
    let mut lacking = Vec::new();
    let fault = match ask.dns(index) {
        Ok(target) if target.is_reached(own, &rules, Protocol::Udp) => return,
        Ok(target) => {
            lacking = target.lacking(own, &rules);
            None
        }
        Err(_) if dns::is_plausible(own, &rules, Protocol::Udp, &config.dns.service) => return,
        Err(fault) => Some(fault),
    };
    let sentence = match fault {
        // A file alone says nothing about the cluster's Services.
        Some(Fault::Missing(_)) if !ask.world.occasion.is_admission() => plain(&rules),
        Some(fault) => format!("names do not resolve, and no rule for DNS can be made: {fault}"),
        None => plain(&rules),
    };
    let draft = answers.found("spec.egress", sentence, "no DNS");
    let patch = appended(ask.subject.raw, Direction::Egress, &lacking);
    if !patch.is_empty() {
        draft.mend(patch.into());
    }
}

fn plain(rules: &[&Rule]) -> String {
    if rules.is_empty() {
        "all egress is denied, DNS too: names do not resolve unless another policy allows it"
            .to_owned()
    } else {
        "names do not resolve: no egress rule reaches the cluster's DNS over UDP".to_owned()
    }
}

/// UDP is allowed and TCP is not.
pub static UDP_ONLY: Check = Check {
    id: "dns-udp-only",
    baseline: Level::Warn,
    strict: Level::Warn,
    mends: Mend::Webhook,
    scope: Scope::Object,
    kinds: &[Kind::NetworkPolicy],
    title: "DNS is allowed over UDP only",
    text: "\
Most answers of DNS fit into one UDP packet. Those that do not (many addresses behind one
name, long TXT records, DNSSEC) come back cut short, and the resolver asks again over TCP.
A rule that says `protocol: UDP` only lets the first question through and drops the second:
most names resolve, a few never do.

Add TCP on the same port. The webhook does it by itself.",
    bad: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
    ports: [{protocol: UDP, port: 53}]
",
    good: "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
    ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
",
    run: udp_only,
};

fn udp_only(ask: &Ask, answers: &mut Answers) {
    let Some(policy) = wanting(ask, Part::Dns) else {
        return;
    };
    let config = ask.world.config;
    let own = ask.subject.namespace();
    let rules = rules(ask, policy, Direction::Egress);
    let target = ask.world.index.map(|index| ask.dns(index));
    let reaches = |protocol| match &target {
        Some(Ok(target)) => target.is_reached(own, &rules, protocol),
        _ => dns::is_plausible(own, &rules, protocol, &config.dns.service),
    };
    if !reaches(Protocol::Udp) || reaches(Protocol::Tcp) {
        return;
    }
    let at = policy.egress.as_deref().and_then(standard_udp);
    let path = at.map_or("spec.egress".to_owned(), |i| {
        format!("spec.egress[{i}].ports")
    });
    let sentence = "DNS is allowed over UDP only: answers that do not fit into a packet are lost";
    let mend: Vec<Value> = match (&target, at) {
        (Some(Ok(target)), _) => {
            let lacking = target.lacking(own, &rules);
            appended(ask.subject.raw, Direction::Egress, &lacking)
        }
        (_, Some(i)) => vec![json!({
            "op": "add",
            "path": format!("/spec/egress/{i}/ports/-"),
            "value": {"port": dns::PORT, "protocol": "TCP"},
        })],
        (_, None) => Vec::new(),
    };
    let draft = answers.found(path, sentence, "UDP only");
    if !mend.is_empty() {
        draft.mend(mend.into());
    }
}

/// The first rule that names UDP port 53.
fn standard_udp(rules: &[Rule]) -> Option<usize> {
    let names = |port: &PortMatch| {
        port.protocol == Protocol::Udp && port.port == PortSpec::Range(dns::PORT, dns::PORT)
    };
    rules.iter().position(|rule| rule.ports.iter().any(names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Occasion;
    use crate::testing::Case;
    use test_case::test_case;

    const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: kube-system, labels: {namespace: kube-system}}}
---
{apiVersion: v1, kind: Service, metadata: {name: kube-dns, namespace: kube-system}, spec: {clusterIP: 10.96.0.10, selector: {k8s-app: kube-dns}, ports: [{name: dns, protocol: UDP, port: 53, targetPort: dns}, {name: dns-tcp, port: 53, targetPort: dns-tcp}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: coredns, namespace: kube-system, labels: {k8s-app: kube-dns, tier: control}}, spec: {nodeName: node-1, containers: [{name: c, ports: [{name: dns, containerPort: 53, protocol: UDP}, {name: dns-tcp, containerPort: 53}]}]}, status: {phase: Running, podIP: 10.16.0.2}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1}, spec: {podCIDR: 10.16.0.0/24}}
";

    fn policy(egress: &str) -> String {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: p, namespace: default}}\n\
             spec: {{podSelector: {{}}, policyTypes: [Egress], egress: [{egress}]}}"
        )
    }

    const BOTH: &str = "ports: [{protocol: UDP, port: 53}, {port: 53}]";

    #[test_case("", true, false; "deny all")]
    #[test_case("{}", false, false; "allow all")]
    #[test_case("{to: [{podSelector: {}}]}", true, false; "own namespace")]
    #[test_case("{to: [{podSelector: {}}]}, {BOTH}", false, false; "everyone on 53")]
    #[test_case("{to: [{podSelector: {}}], BOTH}", true, false; "near miss: 53 in the own namespace")]
    #[test_case("{to: [{namespaceSelector: {}}], BOTH}", false, false; "every namespace")]
    #[test_case("{to: [{namespaceSelector: {matchLabels: {namespace: kube-system}}}], BOTH}", false, false; "namespace by its own label")]
    #[test_case("{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-public}}}], BOTH}", true, false; "another namespace")]
    #[test_case("{to: [{namespaceSelector: {}, podSelector: {matchLabels: {tier: control}}}], BOTH}", false, false; "a label that the pods have")]
    #[test_case("{to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: coredns}}}], BOTH}", true, false; "a label that they have not")]
    #[test_case("{to: [{namespaceSelector: {}}], ports: [{protocol: UDP, port: dns}, {port: dns-tcp}]}", false, false; "by the ports' names")]
    #[test_case("{to: [{namespaceSelector: {}}], ports: [{protocol: UDP, port: 53}]}", false, true; "UDP")]
    #[test_case("{to: [{namespaceSelector: {}}], ports: [{protocol: UDP, port: 50, endPort: 60}]}, {to: [{namespaceSelector: {}}], ports: [{port: 53}]}", false, false; "in two rules")]
    #[test_case("{to: [{namespaceSelector: {}}], ports: [{port: 53}]}", true, false; "TCP")]
    #[test_case("{to: [{ipBlock: {cidr: 8.8.8.8/32}}], BOTH}", true, false; "a server outside")]
    #[test_case("{to: [{ipBlock: {cidr: 10.96.0.10/32}}], BOTH}", true, false; "the Service's address")]
    #[test_case("{to: [{ipBlock: {cidr: 10.16.0.2/32}}], BOTH}", true, false; "the address of one pod, today")]
    #[test_case("{to: [{ipBlock: {cidr: 10.16.0.0/14}}], BOTH}", false, false; "the pod network")]
    #[test_case("{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}", false, false; "the world")]
    #[test_case("{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.16.0.0/14]}}]}", true, false; "the world but the pods")]
    #[test_case("{to: [{ipBlock: {cidr: '::/0'}}]}", true, false; "the other family")]
    fn in_a_cluster(egress: &str, none: bool, udp_only: bool) {
        let object = policy(&egress.replace("BOTH", BOTH));
        let case = Case::within(CLUSTER);
        for case in [case.clone(), case.on(Occasion::Create)] {
            assert_eq!(case.paths(NONE.id, &object).len(), usize::from(none));
            assert_eq!(
                case.paths(UDP_ONLY.id, &object).len(),
                usize::from(udp_only)
            );
        }
    }

    #[test_case("", true, false; "deny all")]
    #[test_case("{to: [{namespaceSelector: {matchLabels: {namespace: kube-system}}}], BOTH}", false, false; "a label that may be there")]
    #[test_case("{to: [{namespaceSelector: {matchLabels: {namespace: kube-system}}}], ports: [{protocol: UDP, port: 53}]}", false, true; "the same over UDP")]
    #[test_case("{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}], BOTH}", true, false; "certainly another namespace")]
    #[test_case("{to: [{ipBlock: {cidr: 8.8.8.8/32}}], BOTH}", true, false; "a server outside")]
    #[test_case("{to: [{ipBlock: {cidr: 10.0.0.0/8}}], BOTH}", false, false; "addresses inside")]
    #[test_case("{to: [{ipBlock: {cidr: 14.215.0.0/16}}], ports: [{port: 5978}]}", true, false; "seed 003 p4")]
    fn a_file_alone(egress: &str, none: bool, udp_only: bool) {
        let object = policy(&egress.replace("BOTH", BOTH));
        let case = Case::default();
        assert_eq!(case.paths(NONE.id, &object).len(), usize::from(none));
        assert_eq!(
            case.paths(UDP_ONLY.id, &object).len(),
            usize::from(udp_only)
        );
    }

    #[test]
    fn a_folder_that_allows_dns_beside() {
        let beside = format!(
            "{CLUSTER}---\n{}",
            policy(&format!("{{to: [{{namespaceSelector: {{}}}}], {BOTH}}}"))
                .replace("name: p", "name: dns")
        );
        let case = Case::within(&beside);
        assert_eq!(case.paths(NONE.id, &policy("")), [""; 0]);
        let admitted = case.on(Occasion::Create);
        assert_eq!(admitted.paths(NONE.id, &policy("")), ["spec.egress"]);
    }

    #[test]
    fn silent_where_nothing_is_to_be_told() {
        let object = policy("");
        for config in ["injection: {mode: 'off'}", "injection: {mode: companion}"] {
            let case = Case::within(CLUSTER).config(config);
            assert_eq!(case.paths(NONE.id, &object), [""; 0], "{config}");
        }
        let off = object.replace(
            "name: p,",
            "name: p, annotations: {inject.ringfence.dev/dns: \"off\"},",
        );
        assert_eq!(Case::within(CLUSTER).paths(NONE.id, &off), [""; 0]);
        let ingress = object.replace("[Egress]", "[Ingress]");
        assert_eq!(Case::within(CLUSTER).paths(NONE.id, &ingress), [""; 0]);
    }

    #[test]
    fn unknown_without_a_cluster() {
        let case = Case {
            cluster: None,
            ..Case::default()
        };
        assert!(case.is_unknown(NONE.id, &policy("")));
        assert!(!case.is_unknown(NONE.id, &policy("").replace("[Egress]", "[Ingress]")));
    }

    #[test]
    fn says_why_nothing_can_be_added() {
        let found = Case::default()
            .on(Occasion::Create)
            .found(NONE.id, &policy("{to: [{podSelector: {}}]}"));
        assert_eq!(
            found,
            [
                "warn spec.egress: names do not resolve, and no rule for DNS can be made: \
              Service kube-system/kube-dns does not exist"
            ]
        );
    }
}
