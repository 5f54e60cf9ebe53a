//! Whom a policy selects, and rules that allow nothing or everything.

use super::{Direction, case, everyone};
use crate::case::Case;

/// The cases.
pub fn cases() -> Vec<Case> {
    let namespaces = ["x", "y", "z"].into_iter().map(|namespace| {
        case(format!("target-namespace-{namespace}"), &["target"])
            .policy(
                &format!("{namespace}/deny"),
                "{podSelector: {}, policyTypes: [Ingress, Egress]}",
            )
            .expect(everyone())
    });
    let selectors = [
        ("all", "{}"),
        ("by-label", "{matchLabels: {pod: a}}"),
        ("by-expression", "{matchExpressions: [{key: pod, operator: In, values: [a, b]}]}"),
        ("by-absence", "{matchExpressions: [{key: role, operator: DoesNotExist}, {key: pod, operator: NotIn, values: [c]}]}"),
        ("none", "{matchLabels: {pod: nobody}}"),
    ]
    .into_iter()
    .map(|(name, selector)| {
        let spec = format!(
            "{{podSelector: {selector}, policyTypes: [Ingress, Egress], ingress: [{{from: [{{podSelector: {{}}}}]}}], egress: [{{ports: [{{port: 80}}]}}]}}"
        );
        case(format!("target-{name}"), &["target"])
            .policy("x/rule", &spec)
            .expect(everyone())
    });
    let rules = Direction::BOTH.into_iter().flat_map(|direction| {
        [
            ("nothing", "", "deny-all"),
            ("everything", "{}", "allow-all"),
        ]
        .map(|(name, rules, tag)| {
            let name = format!("{}-of-{name}", direction.tag());
            case(name, &["rule", tag, direction.tag()])
                .policy("x/rule", &direction.spec("{}", rules))
                .expect(everyone())
        })
    });
    namespaces.chain(selectors).chain(rules).collect()
}
