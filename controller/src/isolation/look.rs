//! What no watch brings: looked at every minute, because nothing waits for it.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use ringfence_checks::facts::masquerade_all;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Between two looks.
const PERIOD: Duration = Duration::from_mins(1);
/// A server that does not answer for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// The enforcer's `DaemonSet`, in our own namespace.
const ENFORCER: &str = "ringfence-enforcer";

/// The latest look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Who enforces.
    pub enforcers: Enforcers,
    /// kube-proxy's `masqueradeAll`; `None` while unknown.
    pub masquerade_all: Option<bool>,
}

/// Ringfence's enforcer, by its `DaemonSet`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcers {
    /// Nobody has looked yet, or it cannot be read.
    #[default]
    Unknown,
    /// There is none: if anybody enforces, it is another program.
    Absent,
    /// On so many nodes of so many.
    Ready {
        /// `status.numberReady`
        nodes: i32,
        /// `status.desiredNumberScheduled`
        of: i32,
    },
}

/// Where looks arrive.
pub type Looks = watch::Receiver<Look>;

/// Looks, and what has to run for them to arrive.
pub fn channel(client: Client, namespace: &str) -> (Looks, impl Future<Output = ()> + use<>) {
    let (sender, receiver) = watch::channel(Look::default());
    let namespace = namespace.to_owned();
    let run = async move {
        loop {
            let before = *sender.borrow();
            let now = look(&client, &namespace, before).await;
            sender.send_if_modified(|known| std::mem::replace(known, now) != now);
            sleep(PERIOD).await;
        }
    };
    (receiver, run)
}

async fn look(client: &Client, namespace: &str, before: Look) -> Look {
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    let enforcers = match timeout(PATIENCE, sets.get_opt(ENFORCER)).await {
        Ok(Ok(Some(set))) => {
            let status = set.status.unwrap_or_default();
            Enforcers::Ready {
                nodes: status.number_ready,
                of: status.desired_number_scheduled,
            }
        }
        Ok(Ok(None)) => Enforcers::Absent,
        Ok(Err(_)) | Err(_) => Enforcers::Unknown,
    };
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let masquerade_all = match timeout(PATIENCE, maps.get_opt("kube-proxy")).await {
        Ok(Ok(Some(map))) => serde_json::to_value(map)
            .ok()
            .as_ref()
            .and_then(masquerade_all),
        // Not kubeadm's kube-proxy, or none: nobody else sets this.
        Ok(Ok(None)) => Some(false),
        Ok(Err(_)) | Err(_) => before.masquerade_all,
    };
    Look {
        enforcers,
        masquerade_all,
    }
}
