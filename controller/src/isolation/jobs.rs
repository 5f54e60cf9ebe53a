//! Writes: of each namespace one policy, or its statuses.

use super::api::{Refusal, STATUSES, Server};
use super::duty::Duty;
use super::notices::Notice;
use super::watch::trim;
use futures::{StreamExt, stream};
use kube::api::DynamicObject;
use ringfence_api::{IsolationRule, NamespaceIsolation};
use ringfence_isolation::POLICY;
use ringfence_policy::model::Name;

/// What is to be written.
#[derive(Debug)]
pub enum Job {
    /// About the policy.
    Duty(Duty),
    /// Statuses, and what to tell when they are in.
    Status(Vec<StatusWrite>, Vec<Notice>),
}

/// An object as it was seen, with the status that it is to have.
#[derive(Clone, Debug)]
pub enum StatusWrite {
    /// A rule.
    Rule(Box<IsolationRule>),
    /// What isolates the namespace.
    Isolation(Box<NamespaceIsolation>),
}

/// What became of a job.
#[derive(Debug)]
pub struct Done {
    /// Of this namespace.
    pub namespace: Name,
    /// What was written.
    pub written: Written,
    /// Why not all of it was.
    pub refusal: Option<Refusal>,
}

/// What was written.
#[derive(Debug)]
pub enum Written {
    /// Something about the policy, and the object as it is now.
    Duty(Duty, Option<Box<DynamicObject>>),
    /// These statuses.
    Status {
        /// Of rules.
        rules: Vec<IsolationRule>,
        /// Of the `NamespaceIsolation`.
        isolation: Option<Box<NamespaceIsolation>>,
        /// What to tell.
        notices: Vec<Notice>,
    },
}

// === impl Job ===

impl Job {
    /// Does it.
    pub async fn run(self, server: &Server, namespace: Name) -> Done {
        let (written, refusal) = match self {
            Self::Duty(duty) => carry_out(server, &namespace, duty).await,
            Self::Status(writes, notices) => statuses(server, writes, notices).await,
        };
        Done {
            namespace,
            written,
            refusal,
        }
    }
}

async fn carry_out(server: &Server, namespace: &str, duty: Duty) -> (Written, Option<Refusal>) {
    let object = match &duty {
        Duty::Nothing | Duty::Foreign => Ok(None),
        Duty::Enable(isolation) => server.create(isolation).await.map(|()| None),
        Duty::Disable(uid, version) => server.remove(namespace, uid, version).await.map(|()| None),
        Duty::Create(object) => server
            .apply(namespace, POLICY, object, false)
            .await
            .map(Some),
        Duty::Update(object) => server
            .apply(namespace, POLICY, object, true)
            .await
            .map(Some),
        Duty::Delete(uid, version) => server
            .delete(namespace, POLICY, uid, version)
            .await
            .map(|()| None),
    };
    match object {
        Ok(object) => (Written::Duty(duty, object.map(Box::new)), None),
        Err(refusal) => (Written::Duty(duty, None), Some(refusal)),
    }
}

async fn statuses(
    server: &Server,
    writes: Vec<StatusWrite>,
    notices: Vec<Notice>,
) -> (Written, Option<Refusal>) {
    let all = writes.into_iter().map(|write| status(server, write));
    let mut all = stream::iter(all).buffer_unordered(STATUSES);
    let (mut rules, mut isolation) = (Vec::new(), None);
    let (mut refusal, mut refused) = (None, 0);
    while let Some(result) = all.next().await {
        match result {
            Ok(StatusWrite::Rule(rule)) => rules.push(*rule),
            Ok(StatusWrite::Isolation(object)) => isolation = Some(object),
            // Whoever is gone needs no status.
            Err(Refusal::Gone) => {}
            Err(why) => (refusal, refused) = (Some(why), refused + 1),
        }
        // One that is refused keeps no other waiting; a server that refuses all is left alone.
        if refused == STATUSES {
            break;
        }
    }
    drop(all);
    let written = Written::Status {
        rules,
        isolation,
        notices,
    };
    (written, refusal)
}

/// The object as it is after it.
async fn status(server: &Server, write: StatusWrite) -> Result<StatusWrite, Refusal> {
    Ok(match write {
        StatusWrite::Rule(mut rule) => {
            *rule = server.status(&*rule).await?;
            trim(&mut *rule);
            StatusWrite::Rule(rule)
        }
        StatusWrite::Isolation(mut isolation) => {
            *isolation = server.status(&*isolation).await?;
            trim(&mut *isolation);
            StatusWrite::Isolation(isolation)
        }
    })
}
