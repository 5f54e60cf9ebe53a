//! The eight faults of kube-router: each case fails on what kube-router does.

use super::hands::{self, see, see_denied};
use super::watch::{Always, Watch};
use crate::case::{Case, ObjectsKind, Stage, cells, matrix, policy};
use crate::fabric::{Placement, PodKind};
use crate::probe::{Outcome, icmp, tcp, udp};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The cases.
pub fn cases() -> Vec<Case> {
    [semantics(), names(), behaviour()].concat()
}

fn case(name: &'static str) -> Case {
    Case::new(name, "design.md, faults of kube-router").tags(&["kube-router"])
}

/// A case that looks into the kernel: one world is enough.
fn by_hand(name: &'static str) -> Case {
    case(name)
        .only(ObjectsKind::Folder)
        .kinds(&[PodKind::Bridge])
        .placements(&[Placement::Spread])
}

fn own(mut expect: crate::case::Expect) -> crate::case::Expect {
    for pod in crate::case::NINE {
        expect = expect.allowed(pod, pod);
    }
    expect
}

/// Faults 1, 2, 4 and 5.
fn semantics() -> Vec<Case> {
    vec![
        case("open-ingress-does-not-open-egress")
            .policy("x/both", "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}]}")
            .expect(own(matrix(&[tcp(80), udp(80), icmp()]).denied("x/*", "*"))),
        case("open-egress-does-not-open-ingress")
            .policy("x/both", "{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{}]}")
            .expect(own(matrix(&[tcp(80), udp(80), icmp()]).denied("*", "x/*"))),
        case("directions-of-one-policy-keep-their-peers")
            .policy("x/both", "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}], egress: [{to: [{namespaceSelector: {matchLabels: {ns: z}}}]}]}")
            .expect(own(
                matrix(&[tcp(80), udp(80)])
                    .denied("*", "x/*")
                    .denied("x/*", "*")
                    .allowed("y/*", "x/*")
                    .allowed("x/*", "z/*"),
            )),
        case("except-of-a-block-spares-selected-pods")
            .policy("x/peers", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.16.0.0/16]}}, {ipBlock: {cidr: 'fd00::/8', except: ['fd00:10:16::/48']}}, {namespaceSelector: {matchLabels: {ns: y}}}]}]}")
            .expect(own(matrix(&[tcp(80), udp(80)]).denied("*", "x/*").allowed("y/*", "x/*")))
            .expect(cells(&[tcp(80)], &[("net10", "x/a"), ("lan", "x/a")]).denied("lan", "x/a")),
        case("one-port-name-with-two-numbers")
            .act("name port 80 of x/a and port 81 of x/b web", |stage| {
                name_port(stage, "x/a", 80)?;
                name_port(stage, "x/b", 81)
            })
            .policy("x/web", "{podSelector: {}, ingress: [{ports: [{port: web}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/*").allowed("*", "x/a")))
            .expect(own(matrix(&[tcp(81)]).denied("*", "x/*").allowed("*", "x/b"))),
        case("echo-obeys-policy")
            .policy("x/web", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}, {ports: [{port: 80}]}]}")
            .expect(own(matrix(&[icmp()]).denied("*", "x/*").allowed("y/*", "x/*"))),
    ]
}

/// Fault 3.
fn names() -> Vec<Case> {
    vec![
        case("names-do-not-run-into-each-other")
            .pods(&["dev/a", "dev1/a", "x/b", "y/b"])
            .apply([
                policy("dev/1x", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}}]}]}"),
                policy("dev1/x", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}"),
            ].join("---\n"))
            .expect(split())
            .delete("NetworkPolicy dev/1x")
            .expect(
                matrix(&[tcp(80), udp(80)])
                    .denied("*", "dev1/a")
                    .allowed("y/b", "dev1/a")
                    .allowed("dev1/a", "dev1/a"),
            ),
    ]
}

fn split() -> crate::case::Expect {
    matrix(&[tcp(80), udp(80)])
        .denied("*", "dev/a")
        .denied("*", "dev1/a")
        .allowed("x/b", "dev/a")
        .allowed("y/b", "dev1/a")
        .allowed("dev/a", "dev/a")
        .allowed("dev1/a", "dev1/a")
}

/// Faults 6 to 8.
fn behaviour() -> Vec<Case> {
    vec![
        by_hand("small-transactions")
            .policy("y/other", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}}]}]}")
            .policy("x/one", "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}")
            .expect(cells(&[tcp(80)], &[("x/a", "y/a"), ("z/a", "y/a"), ("z/a", "x/a")]))
            .act("a change writes nothing but what it changes", small_transaction),
        by_hand("a-new-pod-is-shut-until-it-is-known")
            .policy("y/deny", "{podSelector: {}, policyTypes: [Ingress, Egress]}")
            .act("no packet passes before, while and after the pod appears", new_pod),
        case("an-established-flow-is-cut")
            .open("tcp", "y/a", "x/b", tcp(80))
            .open("udp", "y/a", "x/b", udp(80))
            .open("other", "y/a", "z/b", tcp(80))
            .policy("x/deny", "{podSelector: {}, policyTypes: [Ingress]}")
            .cut(&["tcp", "udp"])
            .kept(&["other"]),
        by_hand("one-bad-set-stops-no-other")
            .flags(&["--sync-period=1s"])
            .policy("x/bad", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 172.17.0.0/16}}]}]}")
            .act("the set of x/bad cannot be made", bad_set),
        by_hand("foreign-rules-and-sets-stay")
            .act("make foreign rules and sets", make_foreign)
            .policy("x/deny", "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}")
            .expect(own(matrix(&[tcp(80)]).denied("*", "x/*").allowed("y/*", "x/*")))
            .delete("NetworkPolicy x/deny")
            .act("foreign rules and sets are as they were", |stage| {
                see_foreign(stage)?;
                stage.uninstall()?;
                see_foreign(stage)?;
                for node in stage.node_names() {
                    let text = hands::everything(stage, &node)?;
                    let left: Vec<&str> = text.lines().filter(|l| is_ours(l)).collect();
                    ensure!(left.is_empty(), "cleanup left {left:?} on {node}");
                }
                stage.spoil();
                hands::start_all(stage)
            }),
    ]
}

fn name_port(stage: &mut Stage, pod: &str, number: u16) -> Result<()> {
    let mut object = stage.object(&format!("Pod {pod}"))?;
    let port = json!([{ "name": "web", "containerPort": number, "protocol": "TCP" }]);
    object["spec"]["containers"][0]["ports"] = port;
    stage.replace(&object)
}

/// Packets counted by each rule of the chains that have rules of `policy`.
fn counts(stage: &Stage, policy: &str) -> Result<BTreeMap<String, u64>> {
    let mut all = BTreeMap::new();
    for node in stage.node_names() {
        let text = hands::run(stage, &node, "iptables-save -c -t mangle")?;
        let chain = |line: &str| {
            let rule = line.split_once("] -A ")?.1;
            rule.split(' ').next().map(str::to_owned)
        };
        let named = text.lines().filter(|line| line.contains(policy));
        let chains: BTreeSet<String> = named.filter_map(chain).collect();
        let is_theirs = |line: &&str| chain(line).is_some_and(|chain| chains.contains(&chain));
        for line in text.lines().filter(is_theirs) {
            let (count, rule) = line.split_once("] ").context("a rule without a counter")?;
            let packets = count
                .trim_start_matches('[')
                .split(':')
                .next()
                .unwrap_or_default();
            all.insert(format!("{node} {rule}"), packets.parse()?);
        }
    }
    Ok(all)
}

fn small_transaction(stage: &mut Stage) -> Result<()> {
    let before = counts(stage, "y/other")?;
    ensure!(
        before.values().any(|n| *n > 0),
        "no rule of y/other has counted a packet: {before:?}"
    );
    let lines = hands::metric(stage, "node1", "transaction_lines_total")?;
    stage.apply(
        &policy(
            "x/one",
            "{podSelector: {}, ingress: [{ports: [{port: 81}]}]}",
        ),
        "x",
    )?;
    let after = counts(stage, "y/other")?;
    for (rule, packets) in &before {
        let now = after.get(rule).with_context(|| format!("{rule} is gone"))?;
        ensure!(
            now >= packets,
            "{rule} counted {packets} packets, and {now} after a change of x/one"
        );
    }
    let written = hands::metric(stage, "node1", "transaction_lines_total")? - lines;
    ensure!(
        (1..=60).contains(&written),
        "one port of one policy took {written} lines"
    );
    see(stage, "z/a", "x/a", tcp(81), Outcome::Allowed)?;
    see(stage, "z/a", "x/a", tcp(80), Outcome::Rejected)
}

fn new_pod(stage: &mut Stage) -> Result<()> {
    let pod = stage.object("Pod y/c")?;
    stage.delete("Pod y/c")?;
    let watch = Watch::start(
        stage,
        &[
            ("x/a", "y/c", Always::Denied),
            ("y/c", "z/a", Always::Denied),
            ("x/a", "z/a", Always::Allowed),
        ],
    )?;
    see_denied(stage, "x/a", "y/c", tcp(80))?;
    stage.replace(&pod)?;
    see_denied(stage, "x/a", "y/c", tcp(80))?;
    watch.finish().map(drop)
}

/// Takes the name of a set of ours for a set of another type, held by a foreign rule.
fn bad_set(stage: &mut Stage) -> Result<()> {
    let bad = stage.object("NetworkPolicy x/bad")?;
    let mut taken = Vec::new();
    for node in stage.node_names() {
        let name = set_with(stage, &node, "172.17.0.0/16")?;
        taken.push((node, name));
    }
    stage.delete("NetworkPolicy x/bad")?;
    for (node, set) in &taken {
        hands::run(stage, node, &format!("ipset create {set} hash:ip"))?;
        hands::run(
            stage,
            node,
            &format!("iptables -A FORWARD -m set --match-set {set} src"),
        )?;
    }
    stage.replace(&bad)?;
    // Its pods are closed, and the next policy goes on.
    see_denied(stage, "y/a", "x/a", tcp(80))?;
    stage.apply(
        &policy("z/deny", "{podSelector: {}, policyTypes: [Ingress]}"),
        "z",
    )?;
    see(stage, "y/a", "z/a", tcp(80), Outcome::Rejected)?;
    see(stage, "z/a", "y/a", tcp(80), Outcome::Allowed)?;
    for (node, set) in &taken {
        ensure!(
            hands::metric(stage, node, "broken_sets")? > 0,
            "{node} does not count the set it could not make"
        );
        hands::run(
            stage,
            node,
            &format!("iptables -D FORWARD -m set --match-set {set} src"),
        )?;
    }
    // The next read-back mends it.
    hands::eventually("the set is made", || {
        for (node, _) in &taken {
            let broken = hands::metric(stage, node, "broken_sets")?;
            ensure!(broken == 0, "{broken} sets are still broken on {node}");
        }
        let seen = hands::probe(stage, "net172", "x/a", tcp(80), true)?;
        ensure!(seen == Outcome::Allowed, "net172 -> x/a: {seen}");
        Ok(())
    })
}

/// The set of ours that has this member.
fn set_with(stage: &Stage, node: &str, member: &str) -> Result<String> {
    let text = hands::run(stage, node, "ipset save")?;
    let found = text.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words.first() == Some(&"add") && words.get(2) == Some(&member))
            .then(|| words[1].to_owned())
    });
    found.with_context(|| format!("no set has {member} on {node}:\n{text}"))
}

/// Names that look like ours, and names that kube-router would take for its own.
const FOREIGN_SETS: [&str; 4] = ["rf4-mine", "KUBE-SRC-MINE", "xRF4-a", "cali40mine"];
const FOREIGN_CHAINS: [&str; 3] = ["RFC-2544", "KUBE-NWPLCY-MINE", "XRF-FORWARD"];

fn make_foreign(stage: &mut Stage) -> Result<()> {
    for set in FOREIGN_SETS {
        hands::everywhere(stage, &format!("ipset create {set} hash:ip"))?;
        hands::everywhere(stage, &format!("ipset add {set} 192.0.2.1"))?;
    }
    for chain in FOREIGN_CHAINS {
        for table in ["mangle", "filter"] {
            hands::tables(stage, &format!("-t {table} -N {chain}"))?;
            hands::tables(
                stage,
                &format!("-t {table} -A {chain} -p tcp --dport 7 -j RETURN"),
            )?;
            hands::tables(
                stage,
                &format!("-t {table} -A FORWARD -p tcp --dport 7 -j {chain}"),
            )?;
        }
    }
    hands::everywhere(
        stage,
        "iptables -A FORWARD -m set --match-set rf4-mine src -j ACCEPT",
    )
}

fn see_foreign(stage: &Stage) -> Result<()> {
    for node in stage.node_names() {
        let text = hands::everything(stage, &node)?;
        let lines = |what: &str| text.lines().filter(|line| *line == what).count();
        for set in FOREIGN_SETS {
            ensure!(
                lines(&format!("add {set} 192.0.2.1")) == 1,
                "set {set} was touched on {node}"
            );
        }
        for chain in FOREIGN_CHAINS {
            // Two tables of two families.
            for rule in ["", " (jump)"] {
                let rule = match rule {
                    "" => format!("-A {chain} -p tcp -m tcp --dport 7 -j RETURN"),
                    _ => format!("-A FORWARD -p tcp -m tcp --dport 7 -j {chain}"),
                };
                ensure!(
                    lines(&rule) == 4,
                    "{rule}: {} left of 4 on {node}",
                    lines(&rule)
                );
            }
        }
        ensure!(
            lines("-A FORWARD -m set --match-set rf4-mine src -j ACCEPT") == 1,
            "a foreign rule is gone on {node}"
        );
    }
    Ok(())
}

/// A chain, rule or set of Ringfence's in what `iptables-save` and `ipset save` print.
fn is_ours(line: &str) -> bool {
    line.split(' ').any(|word| {
        let word = word.trim_start_matches(':');
        word.starts_with("RF-") || word.starts_with("RF4-") || word.starts_with("RF6-")
    })
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn our_names_and_those_of_others() {
        assert!(is_ours(":RF-FORWARD - [0:0]") && is_ours("create RF4-abc hash:net"));
        assert!(!is_ours("create rf4-mine hash:ip") && !is_ours("-A XRF-FORWARD -j RFC-2544"));
    }
}
