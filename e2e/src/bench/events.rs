//! Pods come and go at a given rate, and each is followed: when it was written, when a
//! watch of our own saw it, when the kernel's set had it.

use super::follower::Follower;
use super::ipset;
use super::lab::Lab;
use super::usage;
use super::watch::{LABEL, Watch};
use crate::controlplane::scale::Scale;
use crate::controlplane::{Kubelet, ResourceVersion};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// When what happened to an event.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// From the API server's event, as a watch beside the enforcer's saw it, to the
    /// kernel. Negative when the enforcer was faster than that watch.
    pub since_event: f64,
    /// From the request that wrote the pod to the kernel.
    pub since_write: f64,
}

/// A pod of the populated cluster whose like are followed: new pods get its labels.
#[derive(Clone, Debug)]
pub struct Template {
    namespace: String,
    labels: BTreeMap<String, String>,
    set: String,
}

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many events.
    pub events: usize,
    /// Time from one event to the next.
    pub every: Duration,
    /// Each `every` is longer or shorter by up to this share.
    pub jitter: f64,
    /// How many pods take turns: an event makes the next one run, or end if it runs.
    pub pods: usize,
    /// How long an event may take until it is in the kernel.
    pub patience: Duration,
}

/// Remote pods that are in a set of the measured node, evenly chosen; their like will be too.
pub fn templates(lab: &Lab, scale: &Scale, wanted: usize) -> Result<Vec<Template>> {
    let save = lab.node()?.exec("ipset", &["save"], "")?;
    let sets = ipset::sets_by_address(&save);
    let mut known = Vec::new();
    for number in scale.local..scale.pods {
        if let (_, _, IpAddr::V4(address)) = scale.place(number)?
            && let Some(set) = sets.get(&address).and_then(|sets| sets.first())
        {
            known.push((number, set.clone()));
        }
    }
    ensure!(!known.is_empty(), "no remote pod is in any set of the node");
    let step = (known.len() / wanted).max(1);
    known
        .into_iter()
        .step_by(step)
        .take(wanted)
        .map(|(number, set)| {
            let (namespace, name) = scale.pod_key(number);
            let pods: Api<Pod> = Api::namespaced(lab.api().client(), &namespace);
            let pod = lab.api().block_on(pods.get(&name))?;
            Ok(Template {
                namespace,
                labels: pod.metadata.labels.unwrap_or_default(),
                set,
            })
        })
        .collect()
}

/// What the events cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// CPU time of the followed process and the programs that it ran.
    pub cpu: Duration,
    /// From the first event until the last was in the kernel.
    pub wall: Duration,
}

/// Lets pods come and go, and follows them into the node's sets, where the process `pid`
/// puts them.
pub fn follow(
    lab: &Lab,
    pid: u32,
    templates: &[Template],
    plan: Plan,
) -> Result<(Vec<Latency>, Cost)> {
    let (run, first) = (fastrand::u32(..), reserve(plan.events)?);
    let api = lab.api();
    let kubelet = api.kubelet().clone();
    let name = |pod: usize| format!("bench-{run:08x}-{pod}");
    for pod in 0..plan.pods {
        let template = &templates[pod % templates.len()];
        let object = pod_object(&name(pod), template)?;
        let pods = Api::namespaced(api.client(), &template.namespace);
        api.block_on(pods.create(&kube::api::PostParams::default(), &object))
            .with_context(|| format!("creating Pod {}/{}", template.namespace, name(pod)))?;
    }
    let watch = Watch::start(lab);
    let mut follower = Follower::start(lab, plan.patience)?;
    let (written, cost) = api.block_on(async {
        let (cpu, begin) = (usage::cpu(pid)?, Instant::now());
        let mut writes = Vec::new();
        let mut due = tokio::time::Instant::now();
        for event in 0..plan.events {
            tokio::time::sleep_until(due).await;
            let stretch = 1.0 + plan.jitter * (2.0 * fastrand::f64() - 1.0);
            due += plan.every.mul_f64(stretch);
            let (pod, came) = (event % plan.pods, (event / plan.pods).is_multiple_of(2));
            let template = templates[pod % templates.len()].clone();
            let turn = u32::try_from(if came { event } else { event - plan.pods })?;
            let address = Ipv4Addr::from(first + turn);
            follower.want(event, &template.set, address, came);
            let at = Instant::now();
            let write = write(
                kubelet.clone(),
                template.namespace,
                name(pod),
                address,
                came,
            );
            writes.push((event, at, tokio::spawn(write)));
        }
        let mut written = Vec::new();
        for (event, at, write) in writes {
            written.push((event, at, write.await.context("a write panicked")??));
        }
        follower.wait()?;
        let cost = Cost {
            cpu: usage::cpu(pid)?.saturating_sub(cpu),
            wall: begin.elapsed(),
        };
        Ok::<_, anyhow::Error>((written, cost))
    })?;
    let in_kernel = follower.finish()?;
    let latencies = written
        .into_iter()
        .map(|(event, at, version)| {
            let kernel = *in_kernel
                .get(&event)
                .with_context(|| format!("event {event} is not in the kernel"))?;
            let seen = watch.arrival(version)?;
            Ok(Latency {
                since_event: milliseconds(seen, kernel),
                since_write: milliseconds(at, kernel),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok((latencies, cost))
}

async fn write(
    kubelet: Kubelet,
    namespace: String,
    name: String,
    address: Ipv4Addr,
    came: bool,
) -> Result<ResourceVersion> {
    if came {
        let host = Ipv4Addr::new(100, 64, 0, 0).into();
        kubelet
            .set_running(&namespace, &name, &[host], &[address.into()])
            .await
    } else {
        kubelet.set_ended(&namespace, &name, "Succeeded").await
    }
}

/// Signed: the first may be the later one.
pub fn milliseconds(from: Instant, to: Instant) -> f64 {
    let ahead = to.saturating_duration_since(from).as_secs_f64();
    let behind = from.saturating_duration_since(to).as_secs_f64();
    (ahead - behind) * 1e3
}

/// So many addresses that no two pods of a process share one: 10.240.0.0/12 is nobody
/// else's here.
fn reserve(count: usize) -> Result<u32> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = NEXT.fetch_add(u32::try_from(count)?, Ordering::Relaxed);
    Ok(u32::from(Ipv4Addr::new(10, 240, 0, 1)) + first)
}

fn pod_object(name: &str, template: &Template) -> Result<Pod> {
    let mut labels = template.labels.clone();
    labels.insert(LABEL.to_owned(), "yes".to_owned());
    serde_json::from_value(json!({
        "metadata": {"namespace": template.namespace, "name": name, "labels": labels},
        "spec": {
            "nodeName": "scale-node-0",
            "containers": [{"name": "main", "image": "none"}],
        },
    }))
    .context("a pod of a benchmark")
}
