//! Kubernetes Events on NetworkPolicies that do not take effect as written, so that
//! their authors see it with `kubectl describe`.

use crate::metrics::{Metrics, Trouble};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use ringfence_policy::model::{Name, ObjectKey};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Notices that wait to be posted; more are dropped and counted.
const QUEUE: usize = 256;
/// Between two posts: a node with a thousand faulty policies does not flood the server.
const PACE: Duration = Duration::from_millis(200);
/// The API server refuses longer notes.
const MAX_NOTE: usize = 1000;

/// Something the author of a policy should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The policy.
    pub policy: ObjectKey,
    /// What kind of thing.
    pub reason: Reason,
    /// The sentence.
    pub note: String,
}

/// The `reason` of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The object cannot be understood: its pods are closed.
    PolicyFaulty,
    /// The kernel refused a part: what it would allow is closed.
    PolicyNotProgrammed,
}

/// Where notices go.
#[derive(Clone, Debug)]
pub struct Notices {
    sender: Option<mpsc::Sender<Notice>>,
    metrics: Arc<Metrics>,
}

// === impl Reason ===

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::PolicyFaulty => "PolicyFaulty",
            Self::PolicyNotProgrammed => "PolicyNotProgrammed",
        }
    }
}

// === impl Notices ===

impl Notices {
    /// For sources without Events: the log has it already.
    pub fn to_nowhere(metrics: Arc<Metrics>) -> Self {
        Self {
            sender: None,
            metrics,
        }
    }

    /// Into a channel, for whoever posts them.
    pub fn to_channel(metrics: Arc<Metrics>) -> (Self, mpsc::Receiver<Notice>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let sender = Some(sender);
        (Self { sender, metrics }, receiver)
    }

    /// Never waits.
    pub fn send(&self, notice: Notice) {
        let dropped = self
            .sender
            .as_ref()
            .is_some_and(|s| s.try_send(notice).is_err());
        if dropped {
            self.metrics.failed(Trouble::Event.label());
        }
    }
}

/// Posts what arrives, as `node`, one after another and not too fast.
pub async fn post(
    client: Client,
    node: Name,
    mut notices: mpsc::Receiver<Notice>,
    metrics: Arc<Metrics>,
) {
    let reporter = Reporter {
        controller: "ringfence-enforcer".to_owned(),
        instance: Some(node.to_string()),
    };
    // It joins repetitions into a series.
    let recorder = Recorder::new(client, reporter);
    let mut forbidden = false;
    while let Some(notice) = notices.recv().await {
        let (event, reference) = (event(&notice, &node), reference(&notice));
        let posted = recorder.publish(&event, &reference).await;
        let before =
            std::mem::replace(&mut forbidden, matches!(&posted, Err(e) if is_forbidden(e)));
        if let Err(error) = posted {
            metrics.failed(Trouble::Event.label());
            if !forbidden {
                tracing::warn!(%error, policy = %notice.policy, "cannot post an Event");
            } else if !before {
                tracing::warn!(
                    %error,
                    "may not post Events: allow create and patch on events of events.k8s.io in the \
                     ClusterRole; until then what is wrong with policies is told here only"
                );
            }
        }
        tokio::time::sleep(PACE).await;
    }
}

/// Said once: it stays so until someone changes the RBAC rules.
fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

fn event(notice: &Notice, node: &Name) -> Event {
    let mut text = format!("node {node}: {}", notice.note);
    if text.len() > MAX_NOTE {
        text.truncate(text.floor_char_boundary(MAX_NOTE));
        text.push_str(" ...");
    }
    Event {
        type_: EventType::Warning,
        reason: notice.reason.as_str().to_owned(),
        note: Some(text),
        action: "Enforce".to_owned(),
        secondary: None,
    }
}

fn reference(notice: &Notice) -> ObjectReference {
    ObjectReference {
        api_version: Some("networking.k8s.io/v1".to_owned()),
        kind: Some("NetworkPolicy".to_owned()),
        name: Some(notice.policy.name.to_string()),
        namespace: Some(notice.policy.namespace.to_string()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(note: &str) -> Notice {
        Notice {
            policy: ObjectKey::new("shop", "web"),
            reason: Reason::PolicyFaulty,
            note: note.to_owned(),
        }
    }

    #[test]
    fn an_event_names_node_and_policy() {
        let notice = notice("spec.podSelector: found 7");
        let event = event(&notice, &"worker-1".into());
        assert_eq!(event.reason, "PolicyFaulty");
        assert_eq!(
            event.note.unwrap(),
            "node worker-1: spec.podSelector: found 7"
        );
        assert_eq!(reference(&notice).namespace.as_deref(), Some("shop"));
    }

    #[test]
    fn long_notes_are_cut_between_characters() {
        let event = event(&notice(&"\u{fc}".repeat(900)), &"n".into());
        assert!(event.note.unwrap().len() <= MAX_NOTE + 4);
    }

    #[test]
    fn a_full_queue_never_waits_and_is_counted() {
        let metrics = Arc::new(Metrics::default());
        let (notices, receiver) = Notices::to_channel(Arc::clone(&metrics));
        for _ in 0..=QUEUE {
            notices.send(notice("x"));
        }
        drop(receiver);
        let text = metrics.render().unwrap();
        assert!(text.contains("errors_total{kind=\"event\"} 1"), "{text}");
    }
}
