//! What a policy takes away from others, and from its own pods.

pub mod api_server;
pub mod impact;
pub mod ingress;
pub mod monitoring;
pub mod webhook;

use crate::engine::{Answers, Ask};
use crate::impact::{Edit, Ways, ways};
use crate::index::Index;
use crate::subject::Body;
use crate::world::Occasion;
use ringfence_policy::model::Name;
use std::sync::Arc;

/// The object as a change of the cluster: a policy, or the labels of a namespace. The scan
/// looks at what is there: two watches that are not at the same point are no change.
fn edit<'a>(ask: &Ask<'a>) -> Option<&'a Edit> {
    let made = || made_edit(ask);
    ask.memo.edit.get_or_init(made).as_ref()
}

fn made_edit(ask: &Ask) -> Option<Edit> {
    let subject = ask.subject;
    match &subject.body {
        _ if subject.is_deleted() || ask.world.occasion == Occasion::Scan => None,
        Body::Policy(_) => Some(Edit::default().put(Arc::new(subject.policy()?.clone()))),
        Body::Namespace(namespace) => {
            let labels = namespace.labels.clone();
            Some(Edit::default().relabel(Name::clone(&namespace.name), labels))
        }
        Body::Service(_) => None,
    }
}

/// What the object does to the ways in and out of the cluster; found out once for it.
fn changed_ways<'a>(ask: &Ask<'a>, answers: &mut Answers) -> Option<&'a Ways> {
    let edit = edit(ask)?;
    let index: &Index = ask.index(answers)?;
    Some(ask.memo.ways.get_or_init(|| ways(ask.world, index, edit)))
}
