//! Every kustomization, rendered as `kubectl apply -k` does, without a cluster: what pods may
//! do, what the enforcer may do beyond that, and what each overlay leaves out.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use test_case::test_case;

const ENFORCER: &str = "ringfence-enforcer";
const BOTH: [&str; 3] = [ENFORCER, "ringfence-controller", "ringfence-webhook"];
/// What the enforcer does that the level `restricted` forbids; base/enforcer/daemonset.yaml
/// says why.
const EXCEPTIONS: [&str; 7] = [
    "capability NET_ADMIN",
    "capability NET_RAW",
    "hostNetwork",
    "hostPath /proc/sys/net",
    "hostPath /run/xtables.lock",
    "hostPath /var/lib/ringfence",
    "root",
];

/// The objects of a kustomization; `None` where there is no kubectl and no CI to insist on it.
fn rendered(kustomization: &str) -> Option<Vec<Value>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::var_os("CONTROLPLANE_BIN")
        .map_or_else(|| root.join(".cache/controlplane"), PathBuf::from);
    let kubectl = folder.join("kubectl");
    if !kubectl.is_file() {
        assert!(
            std::env::var_os("CI").is_none(),
            "no {}: run `make controlplane`",
            kubectl.display()
        );
        println!("skipped: no {}", kubectl.display());
        return None;
    }
    let output = Command::new(kubectl)
        .arg("kustomize")
        .arg(root.join("manifests").join(kustomization))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{kustomization}: {said}");
    let text = String::from_utf8(output.stdout).unwrap();
    Some(serde_saphyr::from_multiple(&text).unwrap())
}

fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// What of a pod the Pod Security level `restricted` forbids, a word each.
fn forbidden(pod: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[field] == true {
            found.insert(field.to_owned());
        }
    }
    for volume in items(pod, "volumes") {
        let allowed = [
            "configMap",
            "secret",
            "projected",
            "emptyDir",
            "downwardAPI",
            "csi",
        ];
        if let Some(path) = volume.pointer("/hostPath/path") {
            found.insert(format!("hostPath {}", path.as_str().unwrap()));
        } else if !allowed.iter().any(|kind| volume.get(*kind).is_some()) {
            found.insert(format!("volume {volume}"));
        }
    }
    if text(pod, "/securityContext/seccompProfile/type") != "RuntimeDefault" {
        found.insert("seccomp".into());
    }
    let containers = items(pod, "containers").iter();
    for container in containers.chain(items(pod, "initContainers")) {
        let own = &container["securityContext"];
        if own["privileged"] == true {
            found.insert("privileged".into());
        }
        if own["allowPrivilegeEscalation"] != false {
            found.insert("allowPrivilegeEscalation".into());
        }
        let not_root = [own, &pod["securityContext"]]
            .iter()
            .any(|s| s["runAsNonRoot"] == true);
        if !not_root || own["runAsUser"] == 0 {
            found.insert("root".into());
        }
        if !items(&own["capabilities"], "drop").contains(&"ALL".into()) {
            found.insert("capabilities kept".into());
        }
        for added in items(&own["capabilities"], "add") {
            if added != "NET_BIND_SERVICE" {
                found.insert(format!("capability {}", added.as_str().unwrap()));
            }
        }
    }
    found
}

#[test_case("base", &BOTH; "base")]
#[test_case("overlays/kind", &BOTH; "kind")]
#[test_case("overlays/cert-manager", &BOTH; "cert manager")]
#[test_case("overlays/companion", &BOTH; "companion")]
#[test_case("overlays/reports", &BOTH; "reports")]
#[test_case("overlays/enforcer-only", &[ENFORCER]; "enforcer only")]
#[test_case("overlays/webhook-only", &["ringfence-controller", "ringfence-webhook"]; "webhook only")]
fn pods_are_restricted_but_for_the_named_exceptions(kustomization: &str, wanted: &[&str]) {
    let Some(objects) = rendered(kustomization) else {
        return;
    };
    let mut names = BTreeSet::new();
    let accounts: BTreeSet<&str> = objects
        .iter()
        .filter(|o| o["kind"] == "ServiceAccount")
        .map(|o| text(o, "/metadata/name"))
        .collect();
    for object in &objects {
        let pod = &object["spec"]["template"]["spec"];
        if pod.is_null() {
            continue;
        }
        let name = text(object, "/metadata/name");
        names.insert(name);
        let allowed: &[&str] = if name == ENFORCER { &EXCEPTIONS } else { &[] };
        let allowed: BTreeSet<String> = allowed.iter().map(|&word| word.into()).collect();
        assert_eq!(forbidden(pod), allowed, "{kustomization}: {name}");
        assert!(
            accounts.contains(text(pod, "/serviceAccountName")),
            "{name}"
        );
        for container in items(pod, "containers") {
            let image = text(container, "/image");
            assert!(
                image.contains(':') && !image.ends_with(":latest"),
                "{image}"
            );
            assert_eq!(
                container["securityContext"]["readOnlyRootFilesystem"], true,
                "{name}"
            );
        }
    }
    assert_eq!(names, wanted.iter().copied().collect(), "{kustomization}");
    let hooks = objects
        .iter()
        .any(|o| text(o, "/kind").ends_with("WebhookConfiguration"));
    assert_eq!(hooks, wanted.len() > 1, "{kustomization}");
}

#[test]
fn the_enforcer_is_on_every_node_and_stays_there() {
    let Some(objects) = rendered("base") else {
        return;
    };
    let daemon = objects.iter().find(|o| o["kind"] == "DaemonSet").unwrap();
    let pod = &daemon["spec"]["template"]["spec"];
    assert_eq!(
        items(pod, "tolerations"),
        [serde_json::json!({"operator": "Exists"})]
    );
    assert!(pod.get("nodeSelector").is_none() && pod.get("affinity").is_none());
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert_eq!(daemon["spec"]["updateStrategy"]["type"], "RollingUpdate");
    let container = &pod["containers"][0];
    assert_eq!(text(container, "/livenessProbe/httpGet/path"), "/livez");
    assert_eq!(text(container, "/readinessProbe/httpGet/path"), "/readyz");
    assert_eq!(
        text(container, "/env/0/valueFrom/fieldRef/fieldPath"),
        "spec.nodeName"
    );
}

#[test]
fn the_enforcer_reads_and_writes_events_only() {
    let Some(objects) = rendered("overlays/enforcer-only") else {
        return;
    };
    let role = objects.iter().find(|o| o["kind"] == "ClusterRole").unwrap();
    for rule in items(role, "rules") {
        let verbs: Vec<&str> = items(rule, "verbs")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let events = items(rule, "resources") == ["events"];
        let wanted: &[&str] = if events {
            &["create", "patch"]
        } else {
            &["get", "list", "watch"]
        };
        assert_eq!(verbs, wanted, "{rule}");
    }
}

#[test]
fn the_namespace_is_the_same_in_every_overlay() {
    let namespace = |kustomization: &str| {
        let objects = rendered(kustomization)?.into_iter();
        objects
            .into_iter()
            .find(|o| text(o, "/metadata/name") == "ringfence-system")
    };
    assert_eq!(namespace("base"), namespace("overlays/enforcer-only"));
}
