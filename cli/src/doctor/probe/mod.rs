//! Sends the packets of `isolation`: a namespace of its own, two pods on every node, two
//! policies; all of it is removed afterwards, also after a signal.

mod pods;

use self::pods::{State, manifest, name_of, policies, state, unfit};
use super::facts::Asked;
use super::gather::words;
use super::isolation::{Fate, Isolation, PORTS, Packet};
use anyhow::{Context, Result, bail};
use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, AttachParams, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use ringfence_e2e::fabric::cluster::Agent;
use ringfence_e2e::probe::agent::{Answer, Request};
use ringfence_e2e::probe::{Call, Outcome, tcp};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

/// How long pods may take to start, image and all.
const START: Duration = Duration::from_secs(90);
/// How long policies may take to be enforced. It takes a second.
const ENFORCED: Duration = Duration::from_secs(15);
/// How long a packet is waited for: where a deny is silent, each takes this long.
const PACKET: Duration = Duration::from_secs(1);
/// How long the namespace may take to go.
const GONE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(250);
/// Requests at a time.
const AT_ONCE: usize = 16;

/// Looks at these nodes with pods of this image. `Err` inside: it could not.
///
/// # Errors
/// When a signal came; everything is removed first.
pub async fn run(client: &Client, nodes: &[Node], image: &str) -> Result<Asked<Isolation>> {
    // From here on a signal is held back until there is something to remove, or nothing.
    let mut signals = (
        signal(SignalKind::interrupt()).context("cannot handle SIGINT")?,
        signal(SignalKind::terminate()).context("cannot handle SIGTERM")?,
    );
    let room = match Room::open(client).await {
        Ok(room) => room,
        Err(error) => return Ok(Err(told(&error))),
    };
    let seen = tokio::select! {
        seen = room.look(nodes, image) => Some(seen),
        () = received(&mut signals) => None,
    };
    let left = room.close().await;
    let Some(seen) = seen else {
        match left {
            Ok(()) => bail!("interrupted; what the probe had made is removed"),
            Err(error) => bail!("interrupted; {}", told(&error)),
        }
    };
    Ok(seen
        .map(|seen| Isolation {
            left: left.is_err().then(|| room.name.clone()),
            ..seen
        })
        .map_err(|error| told(&error)))
}

/// The chain of causes in one line, ending with the API server's own words.
fn told(error: &anyhow::Error) -> String {
    let mut chain: Vec<String> = Vec::new();
    for cause in error.chain() {
        if let Some(last) = cause.downcast_ref::<kube::Error>() {
            chain.push(words(last));
            break;
        }
        chain.push(cause.to_string());
    }
    chain.join(": ")
}

async fn received((interrupt, terminate): &mut (Signal, Signal)) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// The probe's namespace.
struct Room {
    client: Client,
    name: String,
}

/// A pod that runs.
struct Host {
    agent: Arc<Agent>,
    addresses: Vec<IpAddr>,
}

/// The two pods of a node.
struct Pair {
    client: Host,
    server: Host,
}

// === impl Room ===

impl Room {
    async fn open(client: &Client) -> Result<Self> {
        let suffix: String = (0..5).map(|_| fastrand::lowercase()).collect();
        let name = format!("ringfence-doctor-{suffix}");
        let namespace = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": {
                    "app.kubernetes.io/part-of": "ringfence",
                    "pod-security.kubernetes.io/enforce": "restricted",
                },
            },
        }))?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let made = namespaces.create(&PostParams::default(), &namespace).await;
        made.context("making a namespace for the probe")?;
        let client = client.clone();
        Ok(Self { client, name })
    }

    /// Removes the namespace and waits until it is gone.
    async fn close(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let parameters = DeleteParams::default();
        let what = || {
            format!(
                "the probe's namespace stays: `kubectl delete namespace {}`",
                self.name
            )
        };
        namespaces
            .delete(&self.name, &parameters)
            .await
            .with_context(what)?;
        let deadline = Instant::now() + GONE;
        while namespaces
            .get_opt(&self.name)
            .await
            .with_context(what)?
            .is_some()
        {
            if Instant::now() >= deadline {
                bail!("{} (it is not gone after {GONE:?})", what());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    async fn look(&self, nodes: &[Node], image: &str) -> Result<Isolation> {
        let mut seen = Isolation::default();
        let mut fit = Vec::new();
        for node in nodes {
            match unfit(node) {
                Some(why) => {
                    seen.missing.insert(node.name_any(), why);
                }
                None => fit.push(node.name_any()),
            }
        }
        let pairs = self.start(&fit, image, &mut seen.missing).await?;
        let names: Vec<String> = pairs.keys().cloned().collect();
        let families = |from: &str, to: &str| {
            let has = |host: &Host, v4| host.addresses.iter().any(|a| a.is_ipv4() == v4);
            let both = |v4: &bool| has(&pairs[from].client, *v4) && has(&pairs[to].server, *v4);
            [true, false].into_iter().filter(both).collect()
        };
        let packets = Packet::plan(&names, families);

        let before = fire(&pairs, &packets).await;
        for policy in policies() {
            let api: Api<NetworkPolicy> = self.api();
            let policy = serde_json::from_value(policy)?;
            let made = api.create(&PostParams::default(), &policy).await;
            made.context("making the probe's policies")?;
        }
        let deadline = Instant::now() + ENFORCED;
        let after = loop {
            let after = fire(&pairs, &packets).await;
            let wanted = |(packet, (outcome, _)): (&Packet, &(Outcome, String))| {
                packet.is_as_wanted(*outcome)
            };
            if packets.iter().zip(&after).all(wanted) || Instant::now() >= deadline {
                break after;
            }
            sleep(LOOK).await;
        };
        let fates = before.into_iter().zip(after);
        let fates = fates.map(|(before, after)| Fate { before, after });
        seen.packets = packets.into_iter().zip(fates).collect();
        Ok(seen)
    }

    /// Two pods on every node, as far as they start.
    async fn start(
        &self,
        nodes: &[String],
        image: &str,
        missing: &mut BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Pair>> {
        let pods: Api<Pod> = self.api();
        let wanted = nodes.iter().enumerate().flat_map(|(index, node)| {
            ["client", "server"].map(|role| (name_of(role, index), role, node))
        });
        let made: Vec<Result<Pod, kube::Error>> = stream::iter(wanted)
            .map(|(name, role, node)| {
                let pods = &pods;
                async move {
                    let pod = serde_json::from_value(manifest(&name, role, node, image))
                        .map_err(kube::Error::SerdeError)?;
                    pods.create(&PostParams::default(), &pod).await
                }
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        // What one pod may not, the others may not either.
        made.into_iter()
            .collect::<Result<Vec<_>, _>>()
            .context("making the probe's pods")?;

        let deadline = Instant::now() + START;
        let states: BTreeMap<String, State> = loop {
            let list = pods.list(&ListParams::default()).await;
            let list = list.context("listing the probe's pods")?;
            let states: BTreeMap<_, _> = list.iter().map(|p| (p.name_any(), state(p))).collect();
            let waits = |state: &State| matches!(state, State::Waits(_));
            if !states.values().any(waits) || Instant::now() >= deadline {
                break states;
            }
            sleep(LOOK).await;
        };
        let pairs: Vec<(String, Result<Pair>)> = stream::iter(nodes.iter().enumerate())
            .map(|(index, node)| {
                let pods = &pods;
                let states = &states;
                async move {
                    let host = async |role: &str| {
                        let name = name_of(role, index);
                        host(pods, &name, states.get(&name)).await
                    };
                    let pair = async {
                        let (client, server) = (host("client").await?, host("server").await?);
                        listen(&server, node).await?;
                        anyhow::Ok(Pair { client, server })
                    };
                    (node.clone(), pair.await)
                }
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut usable = BTreeMap::new();
        for (node, pair) in pairs {
            match pair {
                Ok(pair) => {
                    usable.insert(node, pair);
                }
                Err(error) => {
                    missing.insert(node, told(&error));
                }
            }
        }
        Ok(usable)
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }
}

async fn host(pods: &Api<Pod>, name: &str, state: Option<&State>) -> Result<Host> {
    let addresses = match state {
        Some(State::Runs(addresses)) => addresses.clone(),
        Some(State::Waits(why)) => bail!("its pod {name} does not run after {START:?}: {why}"),
        Some(State::Failed(why)) => bail!("its pod {name} does not run: {why}"),
        None => bail!("its pod {name} is gone"),
    };
    let parameters = AttachParams::default()
        .stdin(true)
        .stdout(true)
        .stderr(false);
    let process = pods.exec(name, ["/program", "agent"], &parameters).await;
    let process = process.with_context(|| format!("starting a program in its pod {name}"))?;
    let agent = Arc::new(Agent::in_pod(name, process)?);
    Ok(Host { agent, addresses })
}

async fn listen(server: &Host, node: &str) -> Result<()> {
    let request = Request::Listen {
        host: node.to_owned(),
        addresses: server.addresses.clone(),
        ports: PORTS.map(|port| ("TCP".to_owned(), port)).to_vec(),
    };
    server.agent.ask(&request).await.map(drop)
}

/// Sends all packets, and returns what became of each, in their order.
async fn fire(pairs: &BTreeMap<String, Pair>, packets: &[Packet]) -> Vec<(Outcome, String)> {
    let mut results: Vec<(Outcome, String)> =
        vec![(Outcome::Error, "it was not sent".to_owned()); packets.len()];
    let by_client = pairs.iter().map(|(node, pair)| async move {
        let own = packets.iter().enumerate().filter(|(_, p)| p.from == *node);
        let (places, calls): (Vec<usize>, Vec<Call>) = own
            .filter_map(|(place, packet)| {
                Some((place, call(pair, pairs.get(&packet.to)?, packet)?))
            })
            .unzip();
        let seen = match pair.client.agent.ask(&Request::Fire(calls)).await {
            Ok(Answer::Seen(seen)) if seen.len() == places.len() => {
                seen.into_iter().map(|o| (o.outcome, o.detail)).collect()
            }
            Ok(other) => vec![(Outcome::Error, format!("{other:?}")); places.len()],
            Err(error) => vec![(Outcome::Error, format!("{error:#}")); places.len()],
        };
        places.into_iter().zip(seen).collect::<Vec<_>>()
    });
    let all: Vec<Vec<_>> = stream::iter(by_client)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (place, seen) in all.into_iter().flatten() {
        results[place] = seen;
    }
    results
}

fn call(from: &Pair, to: &Pair, packet: &Packet) -> Option<Call> {
    let of = |host: &Host| {
        host.addresses
            .iter()
            .copied()
            .find(|a| a.is_ipv4() == packet.v4)
    };
    Some(Call {
        source: of(&from.client)?,
        target: of(&to.server)?,
        transport: tcp(packet.port),
        listening: true,
        patience: PACKET,
    })
}
