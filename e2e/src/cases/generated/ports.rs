//! Every kind of port with every protocol, and several in one rule.

use super::{Direction, X_A, case, every_port};
use crate::case::Case;

/// In names of cases, its tag, and the field of a port.
const KINDS: [(&str, &str, &str); 6] = [
    ("any", "any-port", ""),
    ("80", "numbered-port", "port: 80"),
    ("80-to-81", "port-range", "port: 80, endPort: 81"),
    ("serve-80-tcp", "named-port", "port: serve-80-tcp"),
    ("serve-81-udp", "named-port", "port: serve-81-udp"),
    ("unserved", "numbered-port", "port: 7981"),
];

/// The same, of protocols. A missing one is TCP.
const PROTOCOLS: [(&str, &str, &str); 4] = [
    ("", "tcp", ""),
    ("-tcp", "tcp", "protocol: TCP"),
    ("-udp", "udp", "protocol: UDP"),
    ("-sctp", "sctp", "protocol: SCTP"),
];

/// In names of cases, tags, and the items of `ports`.
const SEVERAL: [(&str, &[&str], &str); 6] = [
    (
        "80-and-81",
        &["numbered-port", "tcp"],
        "{port: 80}, {port: 81}",
    ),
    (
        "tcp-and-udp",
        &["numbered-port", "tcp", "udp"],
        "{port: 80}, {port: 80, protocol: UDP}",
    ),
    (
        "a-number-and-a-name",
        &["numbered-port", "named-port", "tcp", "udp"],
        "{port: 80}, {port: serve-81-udp, protocol: UDP}",
    ),
    (
        "two-names",
        &["named-port", "tcp"],
        "{port: serve-80-tcp}, {port: serve-81-tcp}",
    ),
    (
        "a-protocol-and-a-port-of-another",
        &["any-port", "numbered-port", "tcp", "udp"],
        "{protocol: TCP}, {port: 81, protocol: UDP}",
    ),
    (
        "ranges-that-overlap",
        &["port-range", "tcp"],
        "{port: 79, endPort: 80}, {port: 80, endPort: 80}, {port: 81, endPort: 90, protocol: UDP}",
    ),
];

/// The cases.
pub fn cases() -> Vec<Case> {
    Direction::BOTH.into_iter().flat_map(of).collect()
}

fn of(direction: Direction) -> Vec<Case> {
    let mut all = Vec::new();
    for (port, tag, number) in KINDS {
        for (suffix, protocol, field) in PROTOCOLS {
            // Without both it is an item that says nothing: still TCP on every port.
            let fields: Vec<&str> = [number, field]
                .into_iter()
                .filter(|f| !f.is_empty())
                .collect();
            let item = format!("{{{}}}", fields.join(", "));
            let name = format!("{}-port-{port}{suffix}", direction.tag());
            all.push(with(direction, name, &item, &[tag, protocol]));
        }
    }
    for (name, tags, items) in SEVERAL {
        let name = format!("{}-ports-{name}", direction.tag());
        all.push(with(direction, name, items, tags).tags(&["two-ports"]));
    }
    all
}

fn with(direction: Direction, name: String, items: &str, tags: &[&'static str]) -> Case {
    // One peer besides: ports hold for a rule's peers, not for everyone.
    let rules = format!(
        "{{{}: [{{namespaceSelector: {{matchLabels: {{ns: y}}}}}}], ports: [{items}]}}",
        direction.peers()
    );
    case(name, &["port", direction.tag()])
        .tags(tags)
        .policy("x/rule", &direction.spec(X_A, &rules))
        .expect(every_port())
}
