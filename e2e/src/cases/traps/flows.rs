//! Traps 1 to 4, and what else concerns flows that live through a change.

use super::{DENY_X, FROM_Y, once, trap};
use crate::case::{Case, Stage, policy};
use crate::cases::conversation::Conversation;
use crate::cases::hands::{self, see, see_denied};
use crate::probe::{Outcome, tcp, udp};
use anyhow::{Context, Result, bail, ensure};
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::time::Duration;

const DENY_BOTH: &str = "{podSelector: {}, policyTypes: [Ingress, Egress]}";

/// The cases.
pub fn cases() -> Vec<Case> {
    [cut(), picked_up(), invalid()].concat()
}

fn cut() -> Vec<Case> {
    let source = "dataplane.md, trap 1";
    vec![
        trap("a-cut-flow-lives-again-when-allowed", source)
            .open("udp", "y/a", "x/b", udp(80))
            .open6("udp6", "y/a", "x/b", udp(80))
            .policy("x/deny", DENY_X)
            .cut(&["udp", "udp6"])
            .delete("NetworkPolicy x/deny")
            .kept(&["udp", "udp6"])
            .act("new connections too", |stage| {
                see(stage, "y/a", "x/b", tcp(80), Outcome::Allowed)
            }),
        once(trap(
            "a-silently-cut-connection-goes-on-when-allowed",
            source,
        ))
        .flags(&["--deny-action=drop"])
        .open("tcp", "y/a", "x/b", tcp(80))
        .open6("tcp6", "y/a", "x/b", tcp(80))
        .policy("x/deny", DENY_X)
        .cut(&["tcp", "tcp6"])
        .delete("NetworkPolicy x/deny")
        .kept(&["tcp", "tcp6"]),
        once(trap("keep-established-keeps", source))
            .flags(&["--keep-established"])
            .open("tcp", "y/a", "x/b", tcp(80))
            .open("udp", "y/a", "x/b", udp(80))
            .policy("x/deny", DENY_X)
            .act("new flows are refused", |stage| {
                see(stage, "y/a", "x/b", tcp(80), Outcome::Rejected)
            })
            .kept(&["tcp", "udp"]),
        once(trap("a-half-open-connection-is-cut", source))
            .act("deny between SYN and SYN-ACK", half_open),
    ]
}

/// The server's SYN-ACK is held back in its own pod until the client is denied.
fn half_open(stage: &mut Stage) -> Result<()> {
    hands::inside(stage, "x/b", "iptables -A OUTPUT -p tcp --sport 80 -j DROP")?;
    let target = SocketAddr::from((hands::v4(stage, "x/b")?, 80));
    let netns = stage.world()?.host("y/a")?.netns.clone();
    let (sender, connected) = channel();
    std::thread::spawn(move || {
        let result = netns.run(|| Ok(TcpStream::connect_timeout(&target, Duration::from_secs(4))));
        // Whoever waited has given up.
        let _ = sender.send(result);
    });
    hands::eventually("the SYN is known", || {
        let node = hands::node_of(stage, "x/b")?;
        let flows = hands::run(
            stage,
            &node,
            "conntrack -L -p tcp --state SYN_SENT --orig-port-dst 80",
        )?;
        ensure!(!flows.is_empty(), "conntrack has no such flow");
        Ok(())
    })?;
    stage.apply(&policy("x/deny", DENY_X), "x")?;
    hands::inside(stage, "x/b", "iptables -D OUTPUT -p tcp --sport 80 -j DROP")?;
    match connected.recv_timeout(Duration::from_millis(2500)) {
        Ok(Ok(Ok(_))) => bail!("the connection was established although it is denied"),
        Ok(Ok(Err(error))) => {
            let kinds = [
                ErrorKind::ConnectionRefused,
                ErrorKind::ConnectionReset,
                ErrorKind::TimedOut,
            ];
            ensure!(kinds.contains(&error.kind()), "unexpected: {error}");
            Ok(())
        }
        Ok(Err(error)) => Err(error),
        // Still waiting: silence.
        Err(_) => Ok(()),
    }
}

fn picked_up() -> Vec<Case> {
    let source = "dataplane.md, traps 2 and 3";
    vec![
        trap("allowed-flows-survive-a-flush-of-conntrack", source)
            .open("tcp", "y/a", "x/b", tcp(80))
            .open("udp", "y/a", "x/b", udp(80))
            .open6("tcp6", "y/a", "x/b", tcp(80))
            .policy("x/from-y", FROM_Y)
            .policy("y/deny", "{podSelector: {}, policyTypes: [Ingress]}")
            .act("flush conntrack", flush)
            .kept(&["tcp", "udp", "tcp6"]),
        first_installation("first-installation-cuts-what-is-denied")
            .act("conntrack knows the flows, for kube-proxy's rules need it", |stage| {
                hands::tables(stage, "-A FORWARD -m conntrack --ctstate INVALID -j DROP")
            })
            .open("allowed", "y/a", "x/b", tcp(80))
            .open6("allowed6", "y/a", "x/b", tcp(80))
            .open("allowed-udp", "y/a", "x/b", udp(80))
            .open("denied", "z/a", "x/b", tcp(80))
            .open6("denied6", "z/a", "x/b", tcp(80))
            .open("denied-udp", "z/a", "x/b", udp(80))
            .policy("x/from-y", FROM_Y)
            .act("install", hands::start_all)
            .kept(&["allowed", "allowed6", "allowed-udp"])
            .cut(&["denied", "denied6", "denied-udp"])
            .act("take the rule away", |stage| {
                hands::tables(stage, "-D FORWARD -m conntrack --ctstate INVALID -j DROP")
            }),
        // Nobody knows which end opened these: they go on if either could have.
        first_installation("first-installation-spares-what-is-allowed")
            .open("allowed", "y/a", "x/b", tcp(80))
            .open6("allowed6", "y/a", "x/b", tcp(80))
            .open("denied", "z/a", "x/b", tcp(80))
            .open6("denied6", "z/a", "x/b", tcp(80))
            .open("denied-udp", "z/a", "x/b", udp(80))
            .policy("x/from-y", "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}")
            .act("install", hands::start_all)
            .kept(&["allowed", "allowed6"])
            .cut(&["denied", "denied6", "denied-udp"]),
        once(trap("a-half-closed-connection-lives-on", source)).act("half-close, flush, go on", |stage| {
            let mut flows = Conversation::open_both(stage, "y/a", "x/b")?;
            stage.apply(&[policy("x/from-y", FROM_Y), policy("y/deny", DENY_X)].join("---\n"), "x")?;
            flows.iter_mut().try_for_each(Conversation::half_close)?;
            flush(stage)?;
            flows.iter_mut().try_for_each(|flow| flow.server_talks().context("after a half-close and a flush"))
        }),
        once(trap("without-loose-pickup-nothing-is-reset", source)).act("flush with tcp_loose=0", |stage| {
            let mut flows = Conversation::open_both(stage, "y/a", "x/b")?;
            stage.apply(&policy("x/from-y", FROM_Y), "x")?;
            hands::sysctl(stage, "netfilter/nf_conntrack_tcp_loose", "0")?;
            flush(stage)?;
            // What conntrack takes for INVALID is dropped and never answered by a reset.
            let stalled = flows.iter_mut().try_for_each(Conversation::is_dead);
            hands::sysctl(stage, "netfilter/nf_conntrack_tcp_loose", "1")?;
            stalled.context("tcp_loose=0 must stall the connections")?;
            flows.iter_mut().try_for_each(|flow| {
                flow.client.set_read_timeout(Some(Duration::from_secs(5)))?;
                flow.client.read_exact(&mut [0; 5]).context("the connection was reset while conntrack did not know it")
            })
        }),
        // Either end could have opened it: it is cut when neither might.
        trap("what-is-picked-up-in-the-middle-is-cut", source).act("the server speaks first after a flush", |stage| {
            for (from, to) in [("y/a", "x/b"), ("x/b", "z/b")] {
                let mut flows = Conversation::open_both(stage, from, to)?;
                flush(stage)?;
                flows.iter_mut().try_for_each(Conversation::server_talks)?;
                stage.apply(&policy("x/deny", DENY_BOTH), "x")?;
                flows.iter_mut().try_for_each(Conversation::is_dead)?;
                stage.delete("NetworkPolicy x/deny")?;
            }
            Ok(())
        }),
        once(trap("both-flavours-legacy", "dataplane.md, flavours"))
            .flags(&["--iptables-flavour=legacy"])
            .open("tcp", "y/a", "x/b", tcp(80))
            .policy("x/deny", DENY_X)
            .cut(&["tcp"])
            .expect(crate::case::matrix(&[tcp(80), udp(80)])),
        once(trap("both-flavours-nft", "dataplane.md, flavours"))
            .flags(&["--iptables-flavour=nft"])
            .open("tcp", "y/a", "x/b", tcp(80))
            .policy("x/deny", DENY_X)
            .cut(&["tcp"])
            .expect(crate::case::matrix(&[tcp(80), udp(80)])),
    ]
}

fn first_installation(name: &'static str) -> Case {
    trap(name, "dataplane.md, traps 2 and 3").act("nothing is installed", |stage| {
        stage.uninstall()?;
        flush(stage)
    })
}

fn flush(stage: &mut Stage) -> Result<()> {
    hands::everywhere(stage, "conntrack -F")
}

fn invalid() -> Vec<Case> {
    let source = "dataplane.md, trap 4";
    vec![trap("an-invalid-packet-kills-no-connection", source).act(
        "forge a segment outside the window",
        |stage| {
            stage.apply(
                &[policy("x/from-y", FROM_Y), policy("y/deny", DENY_X)].join("---\n"),
                "x",
            )?;
            for mut flow in Conversation::open_both(stage, "y/a", "x/b")? {
                let resets = flow.resets_seen_by_server()?;
                flow.forge_invalid()?;
                let count = resets.count()?;
                ensure!(count == 0, "{count} resets answered an INVALID segment");
                flow.both_talk().context("after an INVALID segment")?;
            }
            see_denied(stage, "z/a", "x/b", tcp(80))
        },
    )]
}
