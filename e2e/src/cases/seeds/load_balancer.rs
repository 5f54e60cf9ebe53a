//! Seed 002's load balancer: it asks every node for the Service's health, and forwards to
//! one that has an endpoint. So Local loses nothing, and policies see the true client.

use super::node_ports::behind;
use crate::case::{Case, Stage};
use crate::cases::hands;
use crate::controlplane::ProxyMode;
use crate::probe::{Observation, Outcome, Shot, tcp};
use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Where the load balancer listens: an address that no node knows.
const FRONT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
const HEALTH: u16 = 32_100;
const NODE_PORT: u16 = 31_640;
/// As in `case::stage`: silence is not waited for longer.
const SILENCE: Duration = Duration::from_millis(300);

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {namespace: foo, name: balanced}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  healthCheckNodePort: 32100
  selector: {door: open}
  ports: [{port: 80, targetPort: 80, nodePort: 31640}]
";

/// The cases.
pub fn cases() -> Vec<Case> {
    let case = |mode, name| {
        behind(mode, name)
            .label("Pod foo/web", &[("door", "open")])
            .apply(SERVICE)
            .act("everybody gets there as himself", open)
            .apply(seed!("002/04-deny-all"))
            .apply(seed!("002/05-v3"))
            .act("the whitelisted client alone", whitelisted)
            .act("a node without endpoint", past_the_health_check)
            .label("Pod foo/web", &[("door", "shut")])
            .label("Pod foo/friend", &[("door", "open")])
            .act("it follows the endpoint", moved)
    };
    vec![
        case(ProxyMode::Iptables, "load-balancer"),
        case(ProxyMode::Nftables, "nft-load-balancer"),
    ]
}

fn open(stage: &mut Stage) -> Result<()> {
    healthy(stage, "node2")?;
    let _forward = Forward::to(stage, "node2")?;
    answered(stage, "office", "foo/web")?;
    answered(stage, "stranger", "foo/web")
}

fn whitelisted(stage: &mut Stage) -> Result<()> {
    let _forward = Forward::to(stage, "node2")?;
    answered(stage, "office", "foo/web")?;
    unanswered(stage, "stranger")
}

/// What happens to a load balancer that does not look.
fn past_the_health_check(stage: &mut Stage) -> Result<()> {
    let _forward = Forward::to(stage, "node3")?;
    unanswered(stage, "office")
}

fn moved(stage: &mut Stage) -> Result<()> {
    healthy(stage, "node1")?;
    let _forward = Forward::to(stage, "node1")?;
    answered(stage, "office", "foo/friend")?;
    unanswered(stage, "stranger")
}

/// Waits until kube-proxy says 200 on this node, and 503 on every other.
fn healthy(stage: &Stage, healthy: &str) -> Result<()> {
    hands::eventually("the health checks", || {
        for name in stage.node_names() {
            let expected = if name == healthy { "200" } else { "503" };
            let status = health(stage, &name)?;
            ensure!(status == expected, "{name} says {status}, not {expected}");
        }
        Ok(())
    })
}

/// The HTTP status that a node gives the load balancer.
fn health(stage: &Stage, node: &str) -> Result<String> {
    let address = SocketAddr::new(stage.world()?.host(node)?.addresses[0], HEALTH);
    stage.world()?.host("office")?.netns.run(|| {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split_whitespace().nth(1);
        status
            .map(str::to_owned)
            .with_context(|| format!("{address} answers {answer:?}"))
    })
}

/// The load balancer's forwarding to a node; dropping it ends that. Clients are behind it,
/// so it need not replace their addresses.
struct Forward<'a>(&'a Stage);

impl<'a> Forward<'a> {
    fn to(stage: &'a Stage, node: &str) -> Result<Self> {
        let address = stage.world()?.host(node)?.addresses[0];
        hands::inside(
            stage,
            "office",
            &format!("ip route replace {FRONT} dev eth0"),
        )?;
        hands::inside(
            stage,
            "office",
            &format!(
                "iptables -w 5 -t nat -A OUTPUT -d {FRONT} -p tcp --dport 80 -j DNAT --to-destination {address}:{NODE_PORT}"
            ),
        )?;
        Ok(Self(stage))
    }
}

impl Drop for Forward<'_> {
    fn drop(&mut self) {
        // On an error the stage is not used again.
        let _ = hands::inside(self.0, "office", "iptables -w 5 -t nat -F OUTPUT");
    }
}

fn call(stage: &Stage, client: &str, patience: Duration) -> Result<(IpAddr, Observation)> {
    let host = stage.world()?.host(client)?;
    let source = host.addresses[0];
    let shot = Shot {
        netns: host.netns.clone(),
        source,
        target: FRONT.into(),
        transport: tcp(80),
        listening: true,
        patience,
    };
    let seen = stage.net()?.fire(&[shot])?.pop();
    Ok((source, seen.context("a probe without an observation")?))
}

fn answered(stage: &Stage, client: &str, pod: &str) -> Result<()> {
    let (source, seen) = call(stage, client, Duration::from_secs(2))?;
    ensure!(
        seen.answered_by.as_deref() == Some(pod),
        "{client}: {pod} should have answered: {seen:?}"
    );
    let peer = seen.seen.map(|peer| peer.ip());
    ensure!(
        peer == Some(source),
        "{pod} saw {peer:?}, and {client} has the address {source}"
    );
    Ok(())
}

fn unanswered(stage: &Stage, client: &str) -> Result<()> {
    let (_, seen) = call(stage, client, SILENCE)?;
    ensure!(
        matches!(seen.outcome, Outcome::Rejected | Outcome::Dropped),
        "{client} should get nowhere: {seen:?}"
    );
    Ok(())
}
