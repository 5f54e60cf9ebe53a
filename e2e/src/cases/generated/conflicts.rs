//! Two policies that say different things. None wins: what any allows is allowed.

use super::{Direction, X_A, case, everyone, outside};
use crate::case::Case;

/// In names of cases, and rules.
const SAYS: [(&str, &str); 5] = [
    ("nothing", ""),
    ("everything", "{}"),
    (
        "no-pod",
        "{PEERS: [{podSelector: {matchLabels: {this-is: nowhere}}}]}",
    ),
    ("all-pods", "{PEERS: [{namespaceSelector: {}}]}"),
    (
        "all-addresses",
        "{PEERS: [{ipBlock: {cidr: 0.0.0.0/0}}, {ipBlock: {cidr: '::/0'}}]}",
    ),
];

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut all = ends();
    for direction in Direction::BOTH {
        for (at, one) in SAYS.iter().enumerate() {
            all.extend(SAYS[at + 1..].iter().map(|two| both(direction, *one, *two)));
        }
    }
    all
}

fn both(direction: Direction, one: (&str, &str), two: (&str, &str)) -> Case {
    let spec = |rules: &str| direction.spec(X_A, &rules.replace("PEERS", direction.peers()));
    let name = format!("{}-of-{}-beside-{}", direction.tag(), one.0, two.0);
    case(name, &["conflict", direction.tag()])
        .policy("x/one", &spec(one.1))
        .policy("x/two", &spec(two.1))
        .expect(outside(everyone(), direction))
}

/// One end allows what the other denies.
fn ends() -> Vec<Case> {
    [
        ("source-denies", "", "{}"),
        ("destination-denies", "{}", ""),
        (
            "ends-allow-others",
            "{to: [{namespaceSelector: {matchLabels: {ns: z}}}]}",
            "{from: [{namespaceSelector: {matchLabels: {ns: z}}}]}",
        ),
        (
            "ends-allow-each-other",
            "{to: [{namespaceSelector: {matchLabels: {ns: y}}}]}",
            "{from: [{namespaceSelector: {matchLabels: {ns: x}}}]}",
        ),
    ]
    .map(|(name, source, destination)| {
        case(name.to_owned(), &["conflict", "ingress", "egress"])
            .policy("x/source", &Direction::Egress.spec(X_A, source))
            .policy("y/destination", &Direction::Ingress.spec(X_A, destination))
            .expect(everyone())
    })
    .to_vec()
}
