//! What stands in `manifests/`, without a cluster: rights, pods, and the facts about
//! admission that the webhook configurations must respect. `tests/controlplane.rs` tries
//! them against a real API server.

#![allow(clippy::unwrap_used)]

use clap::Parser;
use ringfence_controller::config::Cli;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use test_case::test_case;

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/base")
}

fn parse(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    serde_saphyr::from_multiple(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The files that kustomization.yaml lists: admission. What it lists as a folder (the
/// enforcer) is `e2e/tests/manifests.rs`' to look at.
fn listed() -> Vec<String> {
    let kustomization = parse(&base().join("kustomization.yaml")).remove(0);
    let all = texts(&kustomization, "resources").into_iter();
    all.filter(|name| base().join(name).is_file()).collect()
}

/// Every object of these files.
fn objects() -> Vec<Value> {
    let files = listed().into_iter();
    files.flat_map(|file| parse(&base().join(file))).collect()
}

fn of_kind(kinds: &[&str]) -> Vec<Value> {
    let all = objects().into_iter();
    all.filter(|o| kinds.contains(&o["kind"].as_str().unwrap()))
        .collect()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    items(value, field)
        .iter()
        .map(|v| v.as_str().unwrap().to_owned())
        .collect()
}

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
            "verbs": ["patch"],
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
fn is_peoples(role: &Value) -> bool {
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

#[test]
fn pods_are_restricted_and_drained() {
    for deployment in of_kind(&["Deployment"]) {
        let (who, pod) = (name(&deployment), &deployment["spec"]["template"]["spec"]);
        assert!(
            deployment["spec"]["replicas"].as_u64().unwrap() >= 2,
            "{who}"
        );
        let security = &pod["securityContext"];
        assert_eq!(security["runAsNonRoot"], true, "{who}");
        assert_eq!(
            security["seccompProfile"]["type"], "RuntimeDefault",
            "{who}"
        );
        assert!(pod["affinity"]["podAntiAffinity"].is_object(), "{who}");
        assert!(
            pod["terminationGracePeriodSeconds"].as_u64().unwrap() >= 15,
            "{who}"
        );
        for field in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
            assert!(pod.get(field).is_none(), "{who}: {field}");
        }
        for container in items(pod, "containers") {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{who}");
            assert_eq!(security["readOnlyRootFilesystem"], true, "{who}");
            assert_eq!(texts(&security["capabilities"], "drop"), ["ALL"], "{who}");
            assert_eq!(
                container["livenessProbe"]["httpGet"]["path"], "/livez",
                "{who}"
            );
            assert_eq!(
                container["readinessProbe"]["httpGet"]["path"], "/readyz",
                "{who}"
            );
            assert!(
                container["resources"]["limits"]["memory"].is_string(),
                "{who}"
            );
            let mounts = items(container, "volumeMounts").iter();
            assert!(
                mounts
                    .clone()
                    .all(|m| m["readOnly"] == true && m.get("subPath").is_none()),
                "{who}"
            );
        }
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        let selector = &deployment["spec"]["selector"]["matchLabels"];
        let budgets = of_kind(&["PodDisruptionBudget"]);
        let budget = budgets.iter().find(|b| name(b) == who).unwrap();
        assert_eq!(
            &budget["spec"]["selector"]["matchLabels"], selector,
            "{who}"
        );
        assert_eq!(
            labels["app.kubernetes.io/name"], selector["app.kubernetes.io/name"],
            "{who}"
        );
    }
}

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

fn configurations() -> Vec<Value> {
    of_kind(&[
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
    ])
}

#[test]
fn no_entry_can_freeze_a_cluster() {
    let services: BTreeMap<String, Value> = of_kind(&["Service"])
        .into_iter()
        .map(|s| (name(&s).to_owned(), s))
        .collect();
    for configuration in configurations() {
        let validates = configuration["kind"] == "ValidatingWebhookConfiguration";
        for entry in items(&configuration, "webhooks") {
            let who = entry["name"].as_str().unwrap();
            assert_eq!(
                entry["failurePolicy"], "Ignore",
                "{who}: Fail before there is a caBundle"
            );
            assert_eq!(entry["sideEffects"], "None", "{who}: dry runs would fail");
            assert_eq!(entry["matchPolicy"], "Equivalent", "{who}");
            assert_eq!(texts(entry, "admissionReviewVersions"), ["v1"], "{who}");
            assert_eq!(
                entry["timeoutSeconds"],
                if validates { 3 } else { 2 },
                "{who}"
            );
            let reinvocation = entry.get("reinvocationPolicy").and_then(Value::as_str);
            assert_eq!(reinvocation, (!validates).then_some("IfNeeded"), "{who}");
            let mut created = false;
            for rule in items(entry, "rules") {
                let operations = texts(rule, "operations");
                let allowed = operations.iter().all(|o| o == "CREATE" || o == "UPDATE");
                assert!(allowed, "{who}: never DELETE");
                created |= operations.iter().any(|o| o == "CREATE");
                let ours = texts(rule, "apiGroups") == ["ringfence.dev"];
                let version = if ours { "v1alpha1" } else { "v1" };
                assert_eq!(texts(rule, "apiVersions"), [version], "{who}");
                assert_eq!(
                    texts(rule, "resources").len(),
                    1,
                    "{who}: an entry per kind"
                );
                assert!(!rule.to_string().contains('*'), "{who}");
            }
            let excluded = &entry["namespaceSelector"]["matchExpressions"][0];
            assert_eq!(excluded["operator"], "NotIn", "{who}");
            assert!(
                texts(excluded, "values").contains(&"ringfence-system".to_owned()),
                "{who}"
            );
            let conditions = entry["matchConditions"].to_string();
            assert!(
                conditions.contains("deletionTimestamp")
                    && conditions.contains("oldObject == null") == created,
                "{who}"
            );
            let client = &entry["clientConfig"];
            assert!(client.get("caBundle").is_none(), "{who}: the controller's");
            let service = &services[client["service"]["name"].as_str().unwrap()];
            assert_eq!(
                service["spec"]["ports"][0]["port"], client["service"]["port"],
                "{who}"
            );
            let path = if validates { "/validate" } else { "/mutate" };
            assert_eq!(client["service"]["path"], path, "{who}");
        }
    }
}

#[test_case("ValidatingWebhookConfiguration", &["policies.validate.ringfence.dev"]; "validating")]
#[test_case("MutatingWebhookConfiguration", &[]; "mutating")]
fn what_fails_closed_can_be_proved(kind: &str, wanted: &[&str]) {
    use ringfence_controller::hooks::{Configuration, Hook, doubts};
    let object = of_kind(&[kind]).remove(0);
    let object = serde_json::from_value(object).unwrap();
    let hook = if kind.starts_with('V') {
        Hook::Validate
    } else {
        Hook::Mutate
    };
    let configuration = Configuration::read(hook, &object).unwrap();
    let marked: Vec<&str> = configuration.marked.iter().map(String::as_str).collect();
    assert_eq!(marked, wanted);
    assert_eq!(doubts(&configuration), []);
}
