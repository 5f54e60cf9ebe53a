//! The cluster around the documents' examples, and what an API server makes of an object.

use serde_json::{Value, json};

/// Three nodes with tunnels as in document 002, DNS, and kube-proxy without masqueradeAll.
pub const WORLD: &str = "\
apiVersion: v1
kind: Node
metadata: {name: node1}
spec: {podCIDRs: [10.233.90.0/24]}
status: {addresses: [{type: InternalIP, address: 10.102.123.117}]}
---
apiVersion: v1
kind: Node
metadata: {name: node2}
spec: {podCIDRs: [10.233.96.0/24]}
status: {addresses: [{type: InternalIP, address: 10.102.123.104}]}
---
apiVersion: v1
kind: Node
metadata: {name: node3}
spec: {podCIDRs: [10.233.92.0/24]}
status: {addresses: [{type: InternalIP, address: 10.102.123.143}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: kube-system}
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.10
  selector: {k8s-app: kube-dns}
  ports:
  - {name: dns, port: 53, protocol: UDP, targetPort: 53}
  - {name: dns-tcp, port: 53, protocol: TCP, targetPort: 53}
---
apiVersion: v1
kind: Pod
metadata: {name: coredns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec: {nodeName: node1}
status: {phase: Running, podIPs: [{ip: 10.233.90.7}]}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: kubernetes}
spec: {cidrs: [10.96.0.0/12]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-proxy, namespace: kube-system}
data:
  config.conf: |
    kind: KubeProxyConfiguration
    iptables: {masqueradeAll: false}
";

/// The object after `kubectl apply` and `kubectl get -o yaml`: defaults filled in, empty
/// lists gone, what was typed in an annotation.
pub fn stored(typed: &Value) -> Value {
    let mut object = typed.clone();
    let metadata = &mut object["metadata"];
    if typed["kind"] != "Namespace" && typed["kind"] != "Node" && metadata["namespace"].is_null() {
        metadata["namespace"] = "default".into();
    }
    metadata["uid"] = "5f1d4a1e-0000-4000-8000-000000000001".into();
    metadata["resourceVersion"] = "4711".into();
    metadata["generation"] = 1.into();
    metadata["creationTimestamp"] = "2026-01-02T03:04:05Z".into();
    metadata["managedFields"] =
        json!([{"manager": "kubectl", "operation": "Update", "apiVersion": typed["apiVersion"]}]);
    metadata["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
        typed.to_string().into();
    match typed["kind"].as_str() {
        Some("NetworkPolicy") => policy(&mut object["spec"]),
        Some("Service") => service(&mut object),
        _ => {}
    }
    object
}

fn policy(spec: &mut Value) {
    if spec["policyTypes"].is_null() {
        let egress = spec["egress"]
            .as_array()
            .is_some_and(|rules| !rules.is_empty());
        spec["policyTypes"] = if egress {
            json!(["Ingress", "Egress"])
        } else {
            json!(["Ingress"])
        };
    }
    for section in ["ingress", "egress"] {
        let is_empty = spec[section].as_array().is_none_or(Vec::is_empty);
        if is_empty {
            spec.as_object_mut().map(|spec| spec.remove(section));
            continue;
        }
        for rule in spec[section].as_array_mut().into_iter().flatten() {
            for list in ["from", "to", "ports"] {
                if rule[list].as_array().is_none_or(Vec::is_empty) {
                    rule.as_object_mut().map(|rule| rule.remove(list));
                }
            }
            for port in rule["ports"].as_array_mut().into_iter().flatten() {
                if port["protocol"].is_null() {
                    port["protocol"] = "TCP".into();
                }
            }
            if rule.is_null() {
                *rule = json!({});
            }
            without_nulls(rule);
        }
    }
    if spec["podSelector"]["matchLabels"]
        .as_object()
        .is_some_and(serde_json::Map::is_empty)
    {
        spec["podSelector"] = json!({});
    }
    without_nulls(spec);
}

/// Indexing has left them where nothing was.
fn without_nulls(object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}

fn service(object: &mut Value) {
    let spec = &mut object["spec"];
    for (field, value) in [
        ("type", "ClusterIP"),
        ("sessionAffinity", "None"),
        ("clusterIP", "10.96.7.7"),
    ] {
        if spec[field].is_null() {
            spec[field] = value.into();
        }
    }
    if spec["type"] != "ClusterIP" && spec["externalTrafficPolicy"].is_null() {
        spec["externalTrafficPolicy"] = "Cluster".into();
    }
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        if port["protocol"].is_null() {
            port["protocol"] = "TCP".into();
        }
        if port["targetPort"].is_null() {
            port["targetPort"] = port["port"].clone();
        }
    }
    object["status"] = json!({"loadBalancer": {}});
}
