//! Events: told to whoever runs `kubectl describe`, never waited for.

use crate::failure::explain;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};

/// Events that wait, two for each of a thousand namespaces; more are dropped, because status
/// says the same.
const QUEUE: usize = 2048;
/// The API allows 1 kB.
const LONGEST: usize = 1000;

/// What Events are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A namespace is isolated now.
    Enabled,
    /// It is not any more.
    Disabled,
    /// Rules are in effect.
    RuleRendered,
    /// A rule cannot be.
    RuleRejected,
    /// What a rule names is gone.
    PeerLost,
    /// A rule's time is over.
    RuleExpired,
    /// Somebody had changed the policy.
    DriftRepaired,
    /// Somebody else's policy has the name of ours.
    ForeignPolicy,
}

/// An Event to be.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Why.
    pub reason: Reason,
    /// About which object.
    pub regarding: ObjectReference,
    /// In words.
    pub note: String,
}

/// Where to put them.
#[derive(Clone, Debug)]
pub struct Notices(mpsc::Sender<Notice>);

/// Notices, and what has to run for them to be published. Each waits for one of `turns` like
/// a status: when thousands of those are written, few Events come between.
pub fn channel(
    client: Client,
    identity: &str,
    turns: Arc<Semaphore>,
) -> (Notices, impl Future<Output = ()> + use<>) {
    let (sender, mut receiver) = mpsc::channel::<Notice>(QUEUE);
    let reporter = Reporter {
        controller: "ringfence-controller".to_owned(),
        instance: Some(identity.to_owned()),
    };
    let recorder = Recorder::new(client, reporter);
    let run = async move {
        while let Some(notice) = receiver.recv().await {
            let event = event(&notice);
            // Nobody closes it.
            let _turn = turns.acquire().await;
            if let Err(error) = recorder.publish(&event, &notice.regarding).await {
                // Most often the namespace is going.
                tracing::debug!(reason = %explain(&error), "an Event was not taken");
            }
        }
        // The desk holds the other end as long as anything runs.
    };
    (Notices(sender), run)
}

// === impl Notice ===

impl Notice {
    /// About an object that is gone: about its namespace, where people look then.
    pub fn of_namespace(reason: Reason, namespace: &str, note: &str) -> Self {
        Self {
            reason,
            regarding: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Namespace".to_owned()),
                name: Some(namespace.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectReference::default()
            },
            note: note.to_owned(),
        }
    }
}

// === impl Notices ===

impl Notices {
    /// Publishes a notice, if there is room.
    pub fn tell(&self, notice: Notice) {
        if self.0.try_send(notice).is_err() {
            tracing::debug!("too many Events at once; one is dropped");
        }
    }
}

// === impl Reason ===

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::RuleRendered => "RuleRendered",
            Self::RuleRejected => "RuleRejected",
            Self::PeerLost => "PeerLost",
            Self::RuleExpired => "RuleExpired",
            Self::DriftRepaired => "DriftRepaired",
            Self::ForeignPolicy => "ForeignPolicy",
        }
    }

    fn kind(self) -> EventType {
        match self {
            Self::Enabled | Self::Disabled | Self::RuleRendered | Self::RuleExpired => {
                EventType::Normal
            }
            Self::RuleRejected | Self::PeerLost | Self::DriftRepaired | Self::ForeignPolicy => {
                EventType::Warning
            }
        }
    }
}

fn event(notice: &Notice) -> Event {
    let mut note = notice.note.clone();
    if note.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| note.is_char_boundary(*at));
        note.truncate(end.unwrap_or_default());
    }
    Event {
        type_: notice.reason.kind(),
        reason: notice.reason.as_str().to_owned(),
        note: Some(note),
        action: "Reconcile".to_owned(),
        secondary: None,
    }
}
