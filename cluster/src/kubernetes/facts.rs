//! What is worth knowing about a cluster beyond the five kinds that decide about packets.
//!
//! Looked up every minute: none of it changes often, and nothing waits for it. What must
//! not be read stays unknown, and that is said once. An API that the server does not have
//! holds no objects.

use super::Kubernetes;
use kube::api::{GetParams, ListParams};
use kube::core::Request as Ask;
use ringfence_checks::Facts;
use ringfence_checks::facts::enforcement::{ENFORCER, Enforcement};
use ringfence_checks::facts::{
    api_servers, ingress_services, masquerade_all, service_ranges, webhook_services,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Between two looks, spread by as much again in tenths.
const PERIOD: Duration = Duration::from_mins(1);
/// A server that does not answer for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Objects per page.
const PAGE: u32 = 200;

const SERVICE_CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const CONFIG_MAPS: &str = "/api/v1/namespaces/kube-system/configmaps";
/// Custom resource definitions have conversion webhooks too, but their schemas are tens of
/// megabytes: those few are left out.
const WEBHOOKS: [&str; 3] = [
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    "/apis/apiregistration.k8s.io/v1/apiservices",
];
/// Slices of the one Service `kubernetes`: RBAC can allow the namespace `default` alone.
const API_SERVERS: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const OF_KUBERNETES: &str = "kubernetes.io/service-name=kubernetes";
const DAEMON_SETS: &str = "/apis/apps/v1/daemonsets";
const PODS: &str = "/api/v1/pods";
const BACKENDS: [&str; 3] = [
    "/apis/networking.k8s.io/v1/ingresses",
    "/apis/gateway.networking.k8s.io/v1/httproutes",
    "/apis/gateway.networking.k8s.io/v1/grpcroutes",
];

/// What is asked, and what was last said about it.
struct Inquiry {
    kubernetes: Kubernetes,
    /// The last failure of each path, so that it is told once.
    told: BTreeMap<&'static str, String>,
}

/// What one path has told.
enum Told {
    /// All of it.
    Objects(Vec<Value>),
    /// The server has no such API or object.
    Nothing,
    /// It cannot be read now, or not by us.
    Refused,
}

// === impl Kubernetes ===

impl Kubernetes {
    /// Keeps `facts` up to date until nobody listens. Each is known once it has been read,
    /// and stays as it was while it cannot be read.
    pub async fn facts(self, facts: watch::Sender<Arc<Facts>>) {
        let mut inquiry = Inquiry {
            kubernetes: self,
            told: BTreeMap::new(),
        };
        loop {
            let before = Arc::clone(&facts.borrow());
            let now = inquiry.look(&before).await;
            facts.send_if_modified(|known| {
                let is_new = **known != now;
                if is_new {
                    *known = Arc::new(now);
                }
                is_new
            });
            tokio::select! {
                () = facts.closed() => return,
                () = sleep(PERIOD.mul_f64(1.0 + fastrand::f64() / 10.0)) => {}
            }
        }
    }
}

// === impl Inquiry ===

impl Inquiry {
    async fn look(&mut self, before: &Facts) -> Facts {
        let ranges = match self.list(SERVICE_CIDRS).await {
            // Servers before 1.33 have a range and no object of it.
            Told::Nothing => None,
            Told::Objects(all) => {
                let ranges: Vec<_> = all.iter().flat_map(service_ranges).collect();
                (!ranges.is_empty()).then_some(ranges)
            }
            Told::Refused => before.service_ranges.clone(),
        };
        let masquerade = match self.kube_proxy().await {
            Told::Objects(all) => all.first().and_then(masquerade_all),
            // Not kubeadm's kube-proxy, or none at all. No distribution that keeps its
            // configuration elsewhere sets this, and a warning on every policy for good
            // would teach people not to read warnings.
            Told::Nothing => Some(false),
            Told::Refused => before.masquerade_all,
        };
        let webhooks = self.gather(&WEBHOOKS, |o| webhook_services(o).collect());
        let webhooks = webhooks.await.or_else(|| before.webhook_services.clone());
        let backends = self.gather(&BACKENDS, |o| ingress_services(o).collect());
        let backends = backends.await.or_else(|| before.ingress_services.clone());
        Facts {
            service_ranges: ranges,
            masquerade_all: masquerade,
            webhook_services: webhooks,
            ingress_services: backends,
            api_servers: match self.list_of(API_SERVERS, OF_KUBERNETES).await {
                Told::Objects(slices) => Some(slices.iter().flat_map(api_servers).collect()),
                Told::Nothing => None,
                Told::Refused => before.api_servers.clone(),
            },
            enforcement: self.enforcement(before).await,
        }
    }

    async fn enforcement(&mut self, before: &Facts) -> Option<Enforcement> {
        let sets = self.list(DAEMON_SETS).await;
        let label = format!("app.kubernetes.io/name={ENFORCER}");
        let pods = self.list_of(PODS, &label).await;
        match (sets, pods) {
            (Told::Objects(sets), Told::Objects(pods)) => Some(Enforcement::of(&sets, &pods)),
            (Told::Nothing, _) | (_, Told::Nothing) => None,
            _ => before.enforcement.clone(),
        }
    }

    /// What the objects of several paths name; `None` unless all of them could be read.
    async fn gather<T: Ord>(
        &mut self,
        paths: &[&'static str],
        names: impl Fn(&Value) -> Vec<T>,
    ) -> Option<BTreeSet<T>> {
        let mut all = BTreeSet::new();
        let mut complete = true;
        for path in paths {
            match self.list(path).await {
                Told::Objects(objects) => all.extend(objects.iter().flat_map(&names)),
                Told::Nothing => {}
                // The others are asked nevertheless: every missing permission is told.
                Told::Refused => complete = false,
            }
        }
        complete.then_some(all)
    }

    async fn list(&mut self, path: &'static str) -> Told {
        self.list_of(path, "").await
    }

    /// The objects with a label.
    async fn list_of(&mut self, path: &'static str, label: &str) -> Told {
        let mut params = ListParams::default().limit(PAGE);
        if !label.is_empty() {
            params = params.labels(label);
        }
        let mut objects = Vec::new();
        loop {
            let mut page = match self.ask(path, Ask::new(path).list(&params)).await {
                Ok(page) => page,
                Err(told) => return told,
            };
            if let Value::Array(items) = page["items"].take() {
                objects.extend(items);
            }
            let next = page["metadata"]["continue"].as_str();
            match next.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token.to_owned()),
                None => return Told::Objects(objects),
            }
        }
    }

    async fn kube_proxy(&mut self) -> Told {
        let ask = Ask::new(CONFIG_MAPS).get("kube-proxy", &GetParams::default());
        match self.ask(CONFIG_MAPS, ask).await {
            Ok(object) => Told::Objects(vec![object]),
            Err(told) => told,
        }
    }

    async fn ask(
        &mut self,
        path: &'static str,
        ask: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, Told> {
        let answer = async {
            let ask = ask.map_err(|error| error.to_string())?;
            let answer = self.kubernetes.client.request::<Value>(ask);
            match timeout(PATIENCE, answer).await {
                Ok(Ok(value)) => Ok(Some(value)),
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            }
        };
        match answer.await {
            Ok(value) => {
                self.told.remove(path);
                value.ok_or(Told::Nothing)
            }
            Err(why) => {
                if self.told.insert(path, why.clone()).as_ref() != Some(&why) {
                    tracing::warn!(
                        path,
                        why,
                        "cannot be read; checks that need it answer Unknown \
                         (for 403: allow list, or get of one ConfigMap, in the ClusterRole)"
                    );
                }
                Err(Told::Refused)
            }
        }
    }
}
