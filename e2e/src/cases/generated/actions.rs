//! What happens after a policy came: it changes or goes, and so do labels and pods.

use super::peers::{PEERS, Peer};
use super::{Direction, X_A, case, everyone, outside};
use crate::case::{Case, Stage};
use anyhow::Result;

/// The cases.
pub fn cases() -> Vec<Case> {
    Direction::BOTH.into_iter().flat_map(of).collect()
}

fn of(direction: Direction) -> Vec<Case> {
    let mut all = vec![
        labels(
            direction,
            "Pod y/b",
            "podSelector: {matchLabels: {new: 'yes'}}, namespaceSelector: {}",
        ),
        labels(
            direction,
            "Namespace y",
            "namespaceSelector: {matchLabels: {new: 'yes'}}",
        ),
        pod_goes_and_comes(direction),
        target_moves(direction, "another-pod", "{matchLabels: {pod: c}}"),
        target_moves(direction, "all-pods", "{}"),
    ];
    // Each kind of peer is replaced by the next one, and the policy is deleted then.
    let next = PEERS.iter().cycle().skip(1);
    all.extend(
        PEERS
            .iter()
            .zip(next)
            .map(|(one, two)| replaced(direction, one, two)),
    );
    all
}

fn rule(direction: Direction, item: &str) -> String {
    direction.spec(X_A, &format!("{{{}: [{item}]}}", direction.peers()))
}

fn replaced(direction: Direction, one: &Peer, two: &Peer) -> Case {
    let name = format!("{}-{}-becomes-{}", direction.tag(), one.name, two.name);
    let expect = || outside(everyone(), direction);
    case(
        name,
        &["action", "update-policy", "delete-policy", direction.tag()],
    )
    .policy("x/rule", &rule(direction, one.item))
    .expect(expect())
    .policy("x/rule", &rule(direction, two.item))
    .expect(expect())
    .delete("NetworkPolicy x/rule")
    .expect(expect())
}

fn labels(direction: Direction, object: &'static str, item: &str) -> Case {
    let kind = if object.starts_with("Pod") {
        "pod"
    } else {
        "namespace"
    };
    let name = format!("{}-{kind}-gains-and-loses-a-label", direction.tag());
    case(name, &["action", "set-labels", direction.tag()])
        .policy("x/rule", &rule(direction, &format!("{{{item}}}")))
        .expect(everyone())
        .label(object, &[("new", "yes")])
        .expect(everyone())
        .unlabel(object, "new")
        .expect(everyone())
}

/// The policy selects `x/a` at first, then others.
fn target_moves(direction: Direction, whom: &str, selector: &str) -> Case {
    let name = format!("{}-target-moves-to-{whom}", direction.tag());
    let tags = &["action", "target", "update-policy", direction.tag()];
    case(name, tags)
        .policy("x/rule", &direction.spec(X_A, ""))
        .expect(everyone())
        .policy("x/rule", &direction.spec(selector, ""))
        .expect(everyone())
}

fn pod_goes_and_comes(direction: Direction) -> Case {
    let name = format!("{}-a-pod-goes-and-comes", direction.tag());
    case(
        name,
        &["action", "create-pod", "delete-pod", direction.tag()],
    )
    .policy(
        "x/rule",
        &rule(direction, "{namespaceSelector: {matchLabels: {ns: y}}}"),
    )
    .expect(everyone())
    .act("y/b goes and comes", goes_and_comes)
    .expect(everyone())
}

fn goes_and_comes(stage: &mut Stage) -> Result<()> {
    let pod = stage.object("Pod y/b")?;
    stage.delete("Pod y/b")?;
    stage.replace(&pod)
}
