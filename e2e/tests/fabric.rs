//! The fabric and the probes, against rules written by hand.
//!
//! Own `main`: the process must enter its sandbox before it has threads. A machine where
//! that is impossible skips with a message, but never under CI.

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use ringfence_e2e::fabric::{Placement, PodKind, Topology, World};
use ringfence_e2e::patience::eventually;
use ringfence_e2e::probe::{Hearing, Net, Outcome, Shot, Side, Stream, Transport, icmp, tcp, udp};
use ringfence_e2e::sandbox;
use std::path::Path;
use std::time::Duration;

const NINE: [&str; 9] = [
    "x/a", "x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/b", "z/c",
];
/// For what does not come.
const PATIENCE: Duration = Duration::from_millis(400);
/// For what comes, however busy the machine is.
const AT_MOST: Duration = Duration::from_secs(10);

fn main() {
    let arguments = Arguments::from_args();
    if !arguments.list
        && let Err(error) = sandbox::enter()
    {
        assert!(
            std::env::var_os("CI").is_none(),
            "the fabric's tests must run in CI: {error:#}"
        );
        eprintln!("not run: the fabric's tests: {error:#}");
        return;
    }
    let mut trials = Vec::new();
    for kind in PodKind::ALL {
        for overlay in [false, true] {
            let name = format!(
                "{}{}",
                kind.as_str(),
                if overlay { " over VXLAN" } else { "" }
            );
            trials.push(trial(
                format!("{name}: everyone reaches everyone"),
                move || open(kind, overlay),
            ));
        }
        let name = kind.as_str();
        trials.push(trial(
            format!("{name}: outcomes are told apart"),
            move || outcomes(kind),
        ));
        trials.push(trial(
            format!("{name}: a cut flow is seen to be cut"),
            move || streams(kind),
        ));
    }
    trials.push(trial("programs die with their node".into(), programs));
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: String, test: impl Fn() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test().map_err(|e| Failed::from(format!("{e:#}")))
    })
}

fn shot(
    world: &World,
    net: &Net,
    from: &str,
    to: &str,
    v4: bool,
    transport: Transport,
) -> Result<Option<Shot>> {
    let (from, to) = (world.host(from)?, world.host(to)?);
    let family =
        |h: &ringfence_e2e::fabric::Host| h.addresses.iter().copied().find(|a| a.is_ipv4() == v4);
    let (Some(source), Some(target)) = (family(from), family(to)) else {
        return Ok(None);
    };
    Ok(Some(Shot {
        netns: from.netns.clone(),
        source,
        target,
        transport,
        listening: net.is_listening(target, transport),
        patience: PATIENCE,
    }))
}

fn one(
    world: &World,
    net: &Net,
    from: &str,
    to: &str,
    v4: bool,
    transport: Transport,
) -> Result<Outcome> {
    let shot = shot(world, net, from, to, v4, transport)?.context("both have the family")?;
    Ok(net.fire(&[shot])?.remove(0).outcome)
}

fn open(kind: PodKind, overlay: bool) -> Result<()> {
    let start = std::time::Instant::now();
    let mut topology = Topology::new(kind, 2).pods(NINE, Placement::Spread);
    topology.overlay = overlay;
    let world = World::create(topology)?;
    let built = start.elapsed();
    let net = Net::start(&world)?;
    let started = start.elapsed().saturating_sub(built);
    let names: Vec<String> = world.hosts().map(|h| h.name.clone()).collect();
    let mut shots = Vec::new();
    let mut labels = Vec::new();
    for from in &names {
        for to in &names {
            for (v4, transport) in [
                (true, tcp(80)),
                (true, udp(81)),
                (true, icmp()),
                (false, tcp(81)),
                (false, udp(80)),
                (false, icmp()),
            ] {
                if let Some(mut s) = shot(&world, &net, from, to, v4, transport)? {
                    s.patience = AT_MOST;
                    labels.push(format!("{from} -> {to} v4={v4} {transport}"));
                    shots.push(s);
                }
            }
        }
    }
    let before = std::time::Instant::now();
    let observed = net.fire(&shots)?;
    eprintln!(
        "world {built:?}, servers {started:?}, {} probes {:?}",
        shots.len(),
        before.elapsed()
    );
    let bad: Vec<String> = labels
        .iter()
        .zip(&observed)
        .filter(|(_, o)| o.outcome != Outcome::Allowed)
        .map(|(l, o)| format!("{l}: {} {}", o.outcome, o.detail))
        .collect();
    ensure!(
        bad.is_empty(),
        "{} of {} failed:\n{}",
        bad.len(),
        shots.len(),
        bad.join("\n")
    );
    for (s, o) in shots.iter().zip(&observed) {
        if let Some(seen) = o.seen {
            ensure!(seen.ip() == s.source, "{} was seen as {seen}", s.source);
        }
    }
    Ok(())
}

fn outcomes(kind: PodKind) -> Result<()> {
    let world =
        World::create(Topology::new(kind, 2).pods(["x/a", "x/b", "y/c@node1"], Placement::Spread))?;
    let net = Net::start(&world)?;
    let node2 = world.node("node2")?;
    for (restore, ip, unreachable) in [
        ("iptables-restore", "10.16.2.10", "icmp-port-unreachable"),
        (
            "ip6tables-restore",
            "fd00:10:16:2::a",
            "icmp6-port-unreachable",
        ),
    ] {
        node2.exec(
            restore,
            &[],
            &format!(
                "*filter\n-A FORWARD -d {ip} -p tcp --dport 80 -j REJECT --reject-with tcp-reset\n\
                 -A FORWARD -d {ip} -p udp --dport 80 -j REJECT --reject-with {unreachable}\n\
                 -A FORWARD -d {ip} -p udp --dport 81 -j DROP\n\
                 -A FORWARD -d {ip} -p tcp --dport 81 -j DROP\nCOMMIT\n"
            ),
        )?;
    }
    for v4 in [true, false] {
        for (transport, wanted) in [
            (tcp(80), Outcome::Rejected),
            (udp(80), Outcome::Rejected),
            (tcp(81), Outcome::Dropped),
            (udp(81), Outcome::Dropped),
            (tcp(82), Outcome::Refused),
            (udp(82), Outcome::Refused),
            (icmp(), Outcome::Allowed),
        ] {
            let seen = one(&world, &net, "x/a", "x/b", v4, transport)?;
            ensure!(seen == wanted, "{transport} v4={v4}: {seen}, not {wanted}");
        }
        let same = one(&world, &net, "x/a", "y/c", v4, tcp(80))?;
        ensure!(same == Outcome::Allowed, "node1 has no rules, but {same}");
    }
    // 40 refusals in one burst: none is swallowed by a rate limit (trap 14).
    let one = shot(&world, &net, "x/a", "x/b", true, udp(80))?.context("IPv4")?;
    let burst = net.fire(&vec![one; 100])?;
    let refused = burst
        .iter()
        .filter(|o| o.outcome == Outcome::Rejected)
        .count();
    ensure!(refused == 100, "{refused} of 100 refusals arrived");
    Ok(())
}

fn streams(kind: PodKind) -> Result<()> {
    let world = World::create(Topology::new(kind, 2).pods(["x/a", "x/b"], Placement::Spread))?;
    let net = Net::start(&world)?;
    for transport in [tcp(80), udp(80)] {
        let shot = shot(&world, &net, "x/a", "x/b", true, transport)?.context("IPv4")?;
        // Nothing denies it yet: however late it comes, it has to come.
        let shot = Shot {
            patience: AT_MOST,
            ..shot
        };
        let stream = Stream::open(&net, &shot)?;
        ensure!(stream.say(Side::Client, AT_MOST) == Hearing::Heard);
        let node = world.node("node2")?;
        node.exec(
            "iptables",
            &["-I", "FORWARD", "-d", "10.16.2.10", "-j", "DROP"],
            "",
        )?;
        stream.hush();
        ensure!(
            stream.say(Side::Client, PATIENCE) == Hearing::Silence,
            "{transport}: still heard"
        );
        ensure!(
            transport == tcp(80) || stream.say(Side::Server, AT_MOST) == Hearing::Heard,
            "only one direction was cut"
        );
        node.exec("iptables", &["-F", "FORWARD"], "")?;
        ensure!(
            stream.say(Side::Client, AT_MOST) == Hearing::Heard,
            "open again"
        );
        node.exec(
            "iptables",
            &[
                "-I",
                "FORWARD",
                "-d",
                "10.16.2.10",
                "-p",
                "tcp",
                "-j",
                "REJECT",
                "--reject-with",
                "tcp-reset",
            ],
            "",
        )?;
        if transport == tcp(80) {
            let hearing = stream.say(Side::Client, AT_MOST);
            ensure!(
                matches!(hearing, Hearing::Reset(_)),
                "a reset was sent, but {hearing:?}"
            );
        }
        node.exec("iptables", &["-F", "FORWARD"], "")?;
    }
    Ok(())
}

fn programs() -> Result<()> {
    let world = World::create(Topology::new(PodKind::Bridge, 1))?;
    let node = world.node("node1")?;
    let says = node.exec("ip", &["-brief", "address", "show", "eth0"], "")?;
    ensure!(says.contains("10.102.123.11"), "{says}");
    let failure = node.exec("iptables", &["-A", "NOWHERE"], "");
    ensure!(failure.is_err(), "a failing program is an error");
    let sleep = node.spawn("sleeper", "sleep".as_ref(), &["1000".into()], &[])?;
    let pid = sleep.pid();
    let proc = format!("/proc/{pid}/stat");
    // The death signal is set before the program begins.
    eventually("the program begins", || {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"))?;
        Ok(name.trim() == "sleep")
    })?;
    // Not dropped: the kernel must end it when the node's thread does.
    std::mem::forget(sleep);
    let folder = Path::new(sandbox::RUN).join(world.name());
    ensure!(folder.exists(), "{}", folder.display());
    drop(world);
    ensure!(!folder.exists(), "{} stays", folder.display());
    eventually("the program ends with its node", || {
        Ok(std::fs::read_to_string(&proc).map_or(true, |stat| stat.contains(") Z ")))
    })
}
