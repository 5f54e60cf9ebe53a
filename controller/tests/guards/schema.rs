//! What the schema of the custom resources refuses itself, on every cluster that has them.

use crate::lab::{Lab, configuration, isolation};
use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

fn rule(spec: &Value) -> Value {
    json!({
        "apiVersion": "ringfence.dev/v1alpha1", "kind": "IsolationRule",
        "metadata": {"name": "r", "namespace": "default"}, "spec": spec,
    })
}

fn cidr(cidr: &str, except: &[&str]) -> Value {
    let peer = json!({"cidr": {"cidr": cidr, "except": except}});
    rule(&json!({"direction": "Ingress", "peer": peer}))
}

fn ports(ports: &Value) -> Value {
    rule(&json!({"direction": "Egress", "peer": {"namespace": "a"}, "ports": ports}))
}

fn named(mut object: Value, name: &str) -> Value {
    object["metadata"]["name"] = name.into();
    object
}

pub async fn refusals(lab: &Lab) -> Result<()> {
    let no_peer = rule(&json!({"direction": "Ingress", "peer": {}}));
    let both = json!({"namespace": "a", "cidr": {"cidr": "10.0.0.0/8"}});
    let two_peers = rule(&json!({"direction": "Ingress", "peer": both}));
    let sideways = rule(&json!({"direction": "Sideways", "peer": {"namespace": "a"}}));
    let many: Vec<Value> = (1..=65).map(|port| json!({"port": port})).collect();
    let no_default = "is called `default`";
    let cases: [(Value, &str); 16] = [
        (no_peer, "exactly one of namespace, service and cidr"),
        (two_peers, "exactly one of namespace, service and cidr"),
        (sideways, "Unsupported value: \"Sideways\""),
        (cidr("10.1.0.1:80", &[]), "a port belongs to spec.ports"),
        (cidr("http://10.1.0.1", &[]), "a port belongs to spec.ports"),
        (cidr("10.1.0.5/24", &[]), "bits are set behind the prefix"),
        (cidr("10.1.0.0/33", &[]), "write a range"),
        (cidr("10.1.0.0/24", &["10.2.0.0/25"]), "inside of cidr"),
        (cidr("10.1.0.0/24", &["nonsense"]), "inside of cidr"),
        (
            ports(&json!([{"port": 90, "endPort": 80}])),
            "endPort needs a port",
        ),
        (
            ports(&json!([{"port": "web", "endPort": 80}])),
            "endPort needs a port",
        ),
        (
            ports(&json!([{"servicePort": "web/80", "port": 80}])),
            "servicePort stands alone",
        ),
        (
            ports(&json!([{"port": 80, "protocol": "ICMP"}])),
            "Unsupported value: \"ICMP\"",
        ),
        (ports(&json!(many)), "must have at most 64 items"),
        (named(isolation("default", &json!({})), "other"), no_default),
        (named(configuration(&json!({})), "other"), no_default),
    ];
    for (object, words) in cases {
        match lab.create(&lab.admin, &object).await {
            Err(kube::Error::Api(status)) if status.code == 422 => {
                ensure!(
                    status.message.contains(words),
                    "{object}: {}",
                    status.message
                );
            }
            Err(error) => bail!("{object}: {error}"),
            Ok(_) => bail!("{object}: taken"),
        }
    }
    println!("ok: the schema refuses what no cluster could mean");
    Ok(())
}
