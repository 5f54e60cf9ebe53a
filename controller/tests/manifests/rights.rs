//! Who may do what: RBAC.

use crate::objects::{items, name, of_kind, texts};
use serde_json::Value;
use std::collections::BTreeSet;

/// What isolation needs beyond reading: it deletes by name only, and writes statuses,
/// Events, and the object that an annotation asks for.
const ISOLATION: [fn() -> Value; 5] = [
    || {
        right(
            "networking.k8s.io",
            "networkpolicies",
            Some("ringfence-isolation"),
            &["create", "patch", "delete"],
        )
    },
    || {
        right(
            "ringfence.dev",
            "namespaceisolations",
            Some("default"),
            &["delete"],
        )
    },
    || right("ringfence.dev", "namespaceisolations", None, &["create"]),
    || right("events.k8s.io", "events", None, &["create", "patch"]),
    || {
        serde_json::json!({
            "apiGroups": ["ringfence.dev"],
            "resources": ["isolationrules/status", "namespaceisolations/status"],
            "verbs": ["update", "patch"],
        })
    },
];

fn right(group: &str, resource: &str, name: Option<&str>, verbs: &[&str]) -> Value {
    let mut rule =
        serde_json::json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
    if let Some(name) = name {
        rule["resourceNames"] = serde_json::json!([name]);
    }
    rule
}

/// Whether a role is for people: Kubernetes adds it to its own, nobody of ours has it.
pub fn is_peoples(role: &Value) -> bool {
    let labels = role["metadata"]["labels"].as_object();
    let mut labels = labels.into_iter().flatten();
    labels.any(|(key, _)| key.starts_with("rbac.authorization.k8s.io/aggregate-to-"))
}

#[test]
fn people_get_namespaced_kinds_only() {
    let roles: Vec<Value> = of_kind(&["ClusterRole"])
        .into_iter()
        .filter(is_peoples)
        .collect();
    assert_eq!(roles.len(), 3);
    for role in roles {
        let writes = name(&role) != "ringfence-isolation-view";
        for rule in items(&role, "rules") {
            assert_eq!(
                texts(rule, "apiGroups"),
                ["ringfence.dev"],
                "{}",
                name(&role)
            );
            let kinds = texts(rule, "resources");
            assert!(
                kinds
                    .iter()
                    .all(|k| k == "isolationrules" || k == "namespaceisolations")
            );
            let reads = texts(rule, "verbs").contains(&"get".to_owned());
            assert_ne!(reads, writes, "{}", name(&role));
        }
    }
}

#[test]
fn rights_are_the_least() {
    let may_create_unnamed = ["secrets", "leases", "networkpolicies"];
    for role in of_kind(&["Role", "ClusterRole"]) {
        if is_peoples(&role) {
            continue;
        }
        for rule in items(&role, "rules") {
            if ISOLATION.iter().any(|allowed| *rule == allowed()) {
                continue;
            }
            let (verbs, resources) = (texts(rule, "verbs"), texts(rule, "resources"));
            let all = [verbs.clone(), resources.clone(), texts(rule, "apiGroups")].concat();
            assert!(
                !all.iter().any(|t| t.contains('*')),
                "{}: a wildcard in {rule}",
                name(&role)
            );
            assert!(
                !resources.is_empty() && rule.get("nonResourceURLs").is_none(),
                "{rule}"
            );
            for verb in [
                "escalate",
                "bind",
                "impersonate",
                "delete",
                "deletecollection",
            ] {
                assert!(!verbs.contains(&verb.to_owned()), "{}: {verb}", name(&role));
            }
            let named = !texts(rule, "resourceNames").is_empty();
            let reads_only = verbs
                .iter()
                .all(|v| ["get", "list", "watch"].contains(&v.as_str()));
            let creates_only = verbs == ["create"];
            let sensitive = resources.iter().any(|r| r == "secrets");
            let known = resources
                .iter()
                .all(|r| may_create_unnamed.contains(&r.as_str()));
            assert!(
                named
                    || (reads_only && !sensitive)
                    || (creates_only && known && role["kind"] == "Role"),
                "{}: {rule} names no object",
                name(&role)
            );
        }
    }
}

#[test]
fn roles_are_bound_to_our_own_accounts() {
    let accounts: BTreeSet<String> = of_kind(&["ServiceAccount"])
        .iter()
        .map(|a| name(a).to_owned())
        .collect();
    let roles: BTreeSet<String> = of_kind(&["Role", "ClusterRole"])
        .iter()
        .filter(|role| !is_peoples(role))
        .map(|r| format!("{} {} {}", r["kind"], r["metadata"]["namespace"], name(r)))
        .collect();
    let bindings = of_kind(&["RoleBinding", "ClusterRoleBinding"]);
    assert_eq!(bindings.len(), roles.len());
    for binding in bindings {
        let role = &binding["roleRef"];
        let role = format!(
            "{} {} {}",
            role["kind"], binding["metadata"]["namespace"], role["name"]
        )
        .replace('"', "");
        assert!(roles.iter().any(|r| r.replace('"', "") == role), "{role}");
        for subject in items(&binding, "subjects") {
            assert_eq!(
                (&subject["kind"], &subject["namespace"]),
                (&"ServiceAccount".into(), &"ringfence-system".into())
            );
            assert!(accounts.contains(subject["name"].as_str().unwrap()));
        }
    }
}
