//! Without the controller.

use super::{ON, case, everybody, isolated, rule};
use crate::case::Case;
use crate::isolation::Isolation;

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("isolation-outlives-its-controller")
            .isolate(ON, &[("demo-project", "inside")])
            .act("the controller is killed", |stage| {
                stage.with_isolation(|isolation, server, _| isolation.kill(server))
            })
            .expect(isolated())
            // A rule waits for it.
            .isolate(
                rule!(
                    "friend",
                    "{direction: Ingress, peer: {namespace: demo-project-2}}"
                ),
                &[("demo-project", "inside")],
            )
            .expect(isolated())
            .act("it is back", |stage| {
                stage.with_isolation(|isolation, server, world| {
                    Isolation::resume(isolation, server, world)
                })?;
                stage.isolated(&[("demo-project", "inside,rule/friend")])
            })
            .expect(isolated().allowed("demo-project-2/*", "demo-project/*"))
            .act("killed again; off is garbage collection's", |stage| {
                stage.with_isolation(|isolation, server, _| isolation.kill(server))?;
                stage.unisolate(
                    "NamespaceIsolation demo-project/default",
                    &[("demo-project", "-")],
                )
            })
            .expect(everybody().allowed("*", "*")),
    ]
}
