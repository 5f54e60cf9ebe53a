//! `externalTrafficPolicy: Local` for Services behind an ipBlock rule.
//!
//! With `Cluster`, a client that enters on another node arrives with that node's address,
//! and no ipBlock can tell who it was (design: source addresses behind Services). `Local`
//! keeps the address; a node without an endpoint then answers nobody, which is why this
//! is done only where the owner asked for it.

use super::Injected;
use super::edit::Edit;
use crate::catalogue::ranges::behind::{guard, loses_clients};
use crate::config::Injection;
use crate::finding::Unknown;
use crate::{Subject, World};
use ringfence_policy::model::Service;

/// The check whose finding this mends.
const CHECK: &str = "external-policy-cluster";

/// The annotation by which an author opts out, with the value `off`.
const SWITCH: &str = "inject.ringfence.dev/local";

pub(super) fn inject(
    subject: &Subject,
    service: &Service,
    old: Option<&Subject>,
    world: &World,
) -> Injected {
    let mut injected = Injected::default();
    let off = subject.annotation(SWITCH);
    let off = off.is_some_and(|v| v.trim().eq_ignore_ascii_case("off"));
    if !world.config.default_local
        || off
        || !loses_clients(service)
        || !is_changed(subject, service, old)
    {
        return injected;
    }
    let Some(index) = world.index else {
        injected.unknown.push(Unknown {
            check: CHECK,
            missing: "the cluster's objects are not known (yet)",
        });
        return injected;
    };
    let in_place = world.rules(subject.namespace()).injection == Injection::InPlace;
    if !in_place || guard(world, index, service).is_none() {
        return injected;
    }
    let mut edit = Edit::new(subject);
    edit.field("externalTrafficPolicy", "Local");
    match edit.finish() {
        Ok(patch) => injected.patch = patch,
        Err(why) => injected.rejected = Some(why),
    }
    injected
}

/// Whether the Service is new or has become what it is. An author who wrote `Cluster`
/// means it; the API server fills in the same word, so that only what kubectl keeps of
/// the file can tell.
fn is_changed(subject: &Subject, service: &Service, old: Option<&Subject>) -> bool {
    let typed = subject.last_applied();
    let typed = typed.and_then(|t| t.get("spec")?.get("externalTrafficPolicy").cloned());
    if typed.is_some_and(|t| t == "Cluster") {
        return false;
    }
    old.and_then(Subject::service).is_none_or(|old| {
        old.service_type != service.service_type
            || old.external_traffic_policy != service.external_traffic_policy
    })
}
