//! Whether a stopping agent is being removed for good. Only then does it take its rules
//! away; an update, a restart, a drain and an API server that is away leave them.
//!
//! `kubectl delete -k` takes the agent's rights away in the same moment as its `DaemonSet`,
//! so that nothing can be asked at the end. The namespace therefore is watched all the
//! time: a watch that is open goes on without rights. It is one object that hardly ever
//! changes; the `DaemonSet`, which changes with every node, is asked for at the end only.

use futures::StreamExt;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use ringfence_policy::model::ObjectKey;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long one question may take.
const ANSWER: Duration = Duration::from_secs(3);
/// Between two looks: a `DaemonSet` that is replaced (`kubectl replace --force`) is gone for
/// a moment.
const BETWEEN: Duration = Duration::from_secs(3);

/// How long one watch of the namespace is trusted.
const ANEW: Duration = Duration::from_mins(10);

/// An object by its metadata alone.
type Meta<K> = Api<PartialObjectMeta<K>>;

/// Knows whether the agent's `DaemonSet` or its namespace is going away.
pub(super) struct Removal {
    namespaces: Meta<Namespace>,
    sets: Meta<DaemonSet>,
    owner: ObjectKey,
    /// The namespace was seen going away, which nobody can undo.
    leaving: Arc<AtomicBool>,
}

/// How an object was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    There,
    /// Deleted, and not gone yet.
    Leaving,
    Gone,
    /// Why it cannot be told.
    Unknown(String),
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Judgement {
    Removed,
    Stays,
    /// Rules stay then.
    Unsure(String),
}

// === impl Removal ===

impl Removal {
    /// Begins to watch the namespace; needs a tokio runtime.
    pub fn watch(client: &Client, owner: ObjectKey) -> Self {
        let leaving = Arc::new(AtomicBool::new(false));
        let namespaces = Api::all(client.clone());
        tokio::spawn(look_out(
            namespaces.clone(),
            owner.namespace.to_string(),
            Arc::clone(&leaving),
        ));
        Self {
            namespaces,
            sets: Api::namespaced(client.clone(), &owner.namespace),
            owner,
            leaving,
        }
    }

    /// Whether what stops now is not to come back. Takes no time where it stays.
    pub async fn is_final(&self) -> bool {
        for last in [false, true] {
            if self.leaving.load(Ordering::Relaxed) {
                tracing::info!(namespace = %self.owner.namespace, "the namespace is being deleted");
                return true;
            }
            match self.look().await {
                Judgement::Stays => return false,
                Judgement::Unsure(why) => {
                    tracing::warn!(
                        why,
                        "cannot tell whether this agent is removed for good, so that its rules stay; \
                         if it is, apply manifests/cleanup"
                    );
                    return false;
                }
                Judgement::Removed if last => {}
                Judgement::Removed => sleep(BETWEEN).await,
            }
        }
        tracing::info!(daemon_set = %self.owner, "the DaemonSet is deleted");
        true
    }

    async fn look(&self) -> Judgement {
        let (namespace, set) = tokio::join!(
            seen(&self.namespaces, &self.owner.namespace),
            seen(&self.sets, &self.owner.name),
        );
        judge(namespace, set)
    }
}

fn judge(namespace: Seen, set: Seen) -> Judgement {
    match (namespace, set) {
        (Seen::Leaving | Seen::Gone, _) | (_, Seen::Leaving | Seen::Gone) => Judgement::Removed,
        (_, Seen::There) => Judgement::Stays,
        (_, Seen::Unknown(why)) => Judgement::Unsure(why),
    }
}

async fn seen<K: Clone + Debug>(api: &Meta<K>, name: &str) -> Seen {
    match timeout(ANSWER, api.get(name)).await {
        Ok(Ok(object)) => state(&object),
        Ok(Err(error)) => absence(&error, name),
        Err(_) => Seen::Unknown(format!("no answer within {ANSWER:?}")),
    }
}

fn state<K>(object: &PartialObjectMeta<K>) -> Seen {
    match object.metadata.deletion_timestamp {
        Some(_) => Seen::Leaving,
        None => Seen::There,
    }
}

/// Gone is only what the API server says by name: a 404 may come from anything between.
fn absence(error: &kube::Error, name: &str) -> Seen {
    match error {
        kube::Error::Api(status)
            if status.is_not_found() && status.details.as_ref().is_some_and(|d| d.name == name) =>
        {
            Seen::Gone
        }
        other => Seen::Unknown(other.to_string()),
    }
}

/// Sets `leaving` once the namespace has been deleted. Begins anew now and then: a peer that
/// died without a word says as little as a namespace that nobody changes.
async fn look_out(namespaces: Meta<Namespace>, name: String, leaving: Arc<AtomicBool>) {
    loop {
        let deleted = until_deleted(&namespaces, &name);
        if timeout(ANEW, deleted).await.is_ok() {
            leaving.store(true, Ordering::Relaxed);
            return;
        }
    }
}

async fn until_deleted(namespaces: &Meta<Namespace>, name: &str) {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let changes = watcher(namespaces.clone(), config);
    let mut changes = pin!(changes.default_backoff().applied_objects());
    while let Some(change) = changes.next().await {
        match change {
            Ok(namespace) if state(&namespace) == Seen::Leaving => return,
            Ok(_) => {}
            // It is asked for again at the end.
            Err(error) => tracing::debug!(%error, "cannot watch the own namespace"),
        }
    }
    // A watcher has no end; if this one had, nothing would have been seen.
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;
    use test_case::test_case;

    fn unknown() -> Seen {
        Seen::Unknown("forbidden".into())
    }

    #[test_case(Seen::There, Seen::There, &Judgement::Stays; "an update, a drain, a restart")]
    #[test_case(unknown(), Seen::There, &Judgement::Stays; "no right to see namespaces")]
    #[test_case(Seen::There, Seen::Leaving, &Judgement::Removed; "the set is being deleted")]
    #[test_case(Seen::There, Seen::Gone, &Judgement::Removed; "the set is gone")]
    #[test_case(Seen::Leaving, Seen::There, &Judgement::Removed; "the namespace goes first")]
    #[test_case(Seen::Leaving, unknown(), &Judgement::Removed; "rights go with the namespace")]
    #[test_case(Seen::Gone, Seen::Gone, &Judgement::Removed; "all is gone")]
    #[test_case(Seen::There, unknown(), &Judgement::Unsure("forbidden".into()); "rights go first")]
    #[test_case(unknown(), unknown(), &Judgement::Unsure("forbidden".into()); "the API server is away")]
    fn judges(namespace: Seen, set: Seen, expected: &Judgement) {
        assert_eq!(&judge(namespace, set), expected);
    }

    #[test_case(r#"{"reason": "NotFound", "code": 404, "details": {"name": "enforcer"}}"#, true; "said by name")]
    #[test_case(r#"{"reason": "NotFound", "code": 404, "details": {"name": "other"}}"#, false; "another one")]
    #[test_case(r#"{"reason": "NotFound", "code": 404}"#, false; "a page of something between")]
    #[test_case(r#"{"reason": "Forbidden", "code": 403, "details": {"name": "enforcer"}}"#, false; "forbidden")]
    #[test_case(r#"{"reason": "Unauthorized", "code": 401}"#, false; "the token is gone")]
    fn only_the_api_server_says_that_it_is_gone(status: &str, gone: bool) {
        let status: Status = serde_json::from_str(status).unwrap();
        let seen = absence(&kube::Error::Api(Box::new(status)), "enforcer");
        assert_eq!(seen == Seen::Gone, gone, "{seen:?}");
    }
}
