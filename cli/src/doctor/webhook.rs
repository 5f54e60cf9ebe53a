//! The webhook: registered, reachable through the API server, with a certificate that
//! lasts.

use super::facts::Facts;
use super::line::Line;
use k8s_openapi::api::admissionregistration::v1::WebhookClientConfig;
use k8s_openapi::api::apps::v1::Deployment;
use x509_parser::pem::Pem;

/// An expiry nearer than this means that nobody renews.
const SOON: i64 = 24 * 60 * 60;

/// A registered hook, of either configuration.
struct Entry<'a> {
    configuration: &'static str,
    name: &'a str,
    client: &'a WebhookClientConfig,
    fails_closed: bool,
}

/// A line for each part; one alone where nothing is registered.
pub fn lines(facts: &Facts) -> Vec<Line> {
    let (validating, mutating) = match (&facts.validating, &facts.mutating) {
        (Ok(validating), Ok(mutating)) => (validating, mutating),
        (Err(why), _) | (_, Err(why)) => {
            let line = Line::unknown("webhook", "cluster", format!("its configurations: {why}"));
            return vec![
                line.remedy("needs the right to get validating- and mutatingwebhookconfigurations"),
            ];
        }
    };
    let mut entries = Vec::new();
    for hook in validating.iter().flat_map(|v| v.webhooks.iter().flatten()) {
        entries.push(Entry {
            configuration: "ValidatingWebhookConfiguration",
            name: &hook.name,
            client: &hook.client_config,
            fails_closed: hook.failure_policy.as_deref() != Some("Ignore"),
        });
    }
    for hook in mutating.iter().flat_map(|m| m.webhooks.iter().flatten()) {
        entries.push(Entry {
            configuration: "MutatingWebhookConfiguration",
            name: &hook.name,
            client: &hook.client_config,
            fails_closed: hook.failure_policy.as_deref() != Some("Ignore"),
        });
    }
    if entries.is_empty() {
        return vec![Line::note(
            "webhook",
            "cluster",
            "not installed: nothing is refused or repaired on the way in",
        )];
    }
    let mut lines = deployments(facts);
    lines.extend(reach(facts));
    lines.extend(entries.iter().filter_map(|entry| bundle(entry, facts.now)));
    if !lines.iter().any(|l| l.check == "certificate") {
        lines.push(Line::fine(
            "certificate",
            "cluster",
            "every registered hook trusts a CA that lasts",
        ));
    }
    let open: Vec<&str> = entries
        .iter()
        .filter(|e| !e.fails_closed)
        .map(|e| e.name)
        .collect();
    if !open.is_empty() {
        let found = format!(
            "failurePolicy Ignore: {}; while the webhook is away these pass unseen",
            open.join(", ")
        );
        lines.push(Line::note("webhook", "cluster", found).remedy(
            "the controller sets Fail for the hooks that `ringfence.dev/fail-closed` names, once its probe has passed",
        ));
    }
    lines
}

fn deployments(facts: &Facts) -> Vec<Line> {
    match &facts.deployments {
        Err(why) => vec![Line::unknown(
            "webhook",
            "cluster",
            format!("its Deployments: {why}"),
        )],
        Ok(all) => all
            .iter()
            .map(|d| deployment(d, &facts.namespace))
            .collect(),
    }
}

fn deployment(deployment: &Deployment, namespace: &str) -> Line {
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|s| s.replicas)
        .unwrap_or(1);
    let ready = deployment
        .status
        .as_ref()
        .and_then(|s| s.ready_replicas)
        .unwrap_or(0);
    if wanted == 0 {
        let line = Line::wrong("webhook", name, "scaled to 0 replicas");
        return line.remedy(format!(
            "`kubectl -n {namespace} scale deployment {name} --replicas=2`"
        ));
    }
    let found = format!("{ready} of {wanted} replicas are ready");
    if ready >= wanted {
        return Line::fine("webhook", name, found);
    }
    let line = if ready == 0 {
        Line::wrong("webhook", name, found)
    } else {
        Line::note("webhook", name, found)
    };
    line.remedy(format!(
        "`kubectl -n {namespace} describe deployment {name}` and `kubectl -n {namespace} get pods`"
    ))
}

/// Whether a question came all the way round.
fn reach(facts: &Facts) -> Vec<Line> {
    match &facts.answered {
        None => Vec::new(),
        Some(Err(why)) => vec![
            Line::wrong("webhook", "API server", format!("a dry run of a NetworkPolicy failed: {why}"))
                .remedy("x509: the caBundle is not the one of the certificate; connection refused: no replica is ready; no route or timeout: the API server cannot reach the Service ringfence-webhook"),
        ],
        Some(Ok(answered)) => ["validate", "mutate"]
            .map(|hook| {
                if answered.contains(&hook) {
                    return Line::fine("webhook", hook, "called by the API server, and it answered");
                }
                Line::wrong("webhook", hook, "did not answer a dry run of a NetworkPolicy")
                    .remedy("kubectl -n ringfence-system logs deployment/ringfence-webhook; the API server's log says why it could not call it")
            })
            .to_vec(),
    }
}

/// What is wrong with the CA that the API server is to trust, if anything.
fn bundle(entry: &Entry, now: i64) -> Option<Line> {
    let subject = format!("{}/{}", entry.configuration, entry.name);
    let bundle = entry
        .client
        .ca_bundle
        .as_ref()
        .map(|b| b.0.as_slice())
        .unwrap_or_default();
    if bundle.is_empty() {
        return Some(Line::wrong("certificate", subject, "no caBundle: the API server trusts no certificate of it").remedy(
            "the controller fills it in (is it ready?); with cert-manager, its ca-injector does",
        ));
    }
    let mut last = None;
    for pem in Pem::iter_from_buffer(bundle) {
        let end = pem
            .ok()
            .and_then(|pem| Some(pem.parse_x509().ok()?.validity().not_after.timestamp()));
        let Some(end) = end else {
            return Some(
                Line::wrong("certificate", subject, "its caBundle is no certificate")
                    .remedy("empty the field; the controller fills it in again"),
            );
        };
        last = last.max(Some(end));
    }
    let left = last? - now;
    if left < 0 {
        let found = format!("the CA in its caBundle expired {} hours ago", -left / 3600);
        return Some(
            Line::wrong("certificate", subject, found)
                .remedy("is the controller ready, and does it hold the Lease?"),
        );
    }
    if left < SOON {
        let found = format!("the CA in its caBundle expires in {} hours", left / 3600);
        return Some(
            Line::note("certificate", subject, found)
                .remedy("the controller renews at two thirds of life: see its log"),
        );
    }
    None
}
