//! A thousand namespaces to isolate, with ten rules each: how long the controller takes, and
//! what it costs.

use super::figures::{Figure, Report, Spread};
use super::{Options, usage};
use crate::controlplane::{ApiServer, Identity, Options as Plane, Programs};
use crate::fabric::netns::CONTROL_ADDRESS;
use crate::fabric::{PodKind, Topology, World};
use crate::{binaries, isolation};
use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, pin_mut, stream};
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, NotUsed, Object, Patch, PatchParams,
};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// More do not make a two-core API server faster.
const CONNECTIONS: usize = 8;
/// How long all of it may take before it counts as failed.
const PATIENCE: Duration = Duration::from_mins(5);
/// Everything is in: what is resident then is what stays.
const REST: Duration = Duration::from_secs(5);

/// How many namespaces, and rules in each.
#[derive(Clone, Copy)]
struct Effort {
    namespaces: usize,
    rules: usize,
}

const FULL: Effort = Effort {
    namespaces: 1000,
    rules: 10,
};
const QUICK: Effort = Effort {
    namespaces: 20,
    rules: 2,
};

/// The goals of docs/performance.md: seconds for everything, and MiB at most.
const GOALS: (f64, f64) = (30.0, 150.0);

/// Measures, with the background scan and without.
pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    let effort = if options.quick { QUICK } else { FULL };
    for (scan, flag) in [("with the scan", "metrics"), ("without scan", "off")] {
        eprintln!("isolation: {} namespaces, {scan}", effort.namespaces);
        measure(options, effort, scan, flag, report)
            .with_context(|| format!("isolation, {scan}"))?;
    }
    Ok(())
}

fn measure(
    options: &Options,
    effort: Effort,
    scan: &str,
    reports: &str,
    report: &mut Report,
) -> Result<()> {
    let programs = Programs::find(&options.controlplane)?;
    let program = binaries::find("ringfence-controller")?;
    let world = World::create(Topology::new(PodKind::Bridge, 1))?;
    let control = world.control();
    let mut server = ApiServer::start(&programs, control, Plane::new(CONTROL_ADDRESS.into()))?;
    isolation::install(&mut server)?;
    let client = server.client();
    server.block_on(populate(&client, effort))?;

    let flags = [
        format!(
            "--kubeconfig={}",
            server.kubeconfig(Identity::Controller).display()
        ),
        "--identity=bench".to_owned(),
        "--certs=external".to_owned(),
        format!("--reports={reports}"),
    ];
    let begin = Instant::now();
    let mut controller = control.spawn("controller", &program, &flags, &[])?;
    let written = server.block_on(async {
        let all = written(&client, effort, begin);
        tokio::time::timeout(PATIENCE, all).await
    });
    controller.check_running()?;
    let Ok(written) = written else {
        bail!(
            "not within {PATIENCE:?}; its log ends:\n{}",
            controller.log_tail(20)
        );
    };
    let written = written?;
    std::thread::sleep(REST);
    let writes = server.block_on(status_writes(&client))?;
    let memory = usage::memory(controller.pid())?;
    let cpu = usage::cpu(controller.pid())?;

    let (seconds, mib) = GOALS;
    let mut add = |what: &str, unit, value: f64, goal: Option<f64>| {
        let name = format!("{what}, {scan}");
        let mut figure = Figure::new("isolation", name, unit, Spread::single(value));
        if let Some(goal) = goal {
            figure = figure.goal(format!("at most {goal} {unit}"), value <= goal);
        }
        report.figures.push(figure);
    };
    let (policies, statuses) = (written.policies, written.statuses);
    add(
        "every policy after the start",
        "s",
        policies.as_secs_f64(),
        None,
    );
    add(
        "every status after the start",
        "s",
        statuses.as_secs_f64(),
        Some(seconds),
    );
    add("status writes", "writes", writes, None);
    add("most resident memory", "MiB", memory.peak, Some(mib));
    add("resident memory at rest", "MiB", memory.resident, None);
    add("CPU of the controller", "s", cpu.as_secs_f64(), None);
    Ok(())
}

/// Until everything was written.
struct Written {
    policies: Duration,
    statuses: Duration,
}

/// Watches, because lists of ten thousand objects would be what is measured.
async fn written(client: &Client, effort: Effort, begin: Instant) -> Result<Written> {
    let Effort { namespaces, rules } = effort;
    let policy = ApiResource {
        plural: "networkpolicies".to_owned(),
        ..ApiResource::from_gvk(&GroupVersionKind::gvk(
            "networking.k8s.io",
            "v1",
            "NetworkPolicy",
        ))
    };
    let policies = async {
        all(client, &policy, namespaces, |_| true).await?;
        anyhow::Ok(begin.elapsed())
    };
    let (isolation, rule) = (ours("NamespaceIsolation"), ours("IsolationRule"));
    let (policies, ..) = tokio::try_join!(
        policies,
        all(client, &isolation, namespaces, is_ready),
        all(client, &rule, namespaces * rules, is_ready),
    )?;
    Ok(Written {
        policies,
        statuses: begin.elapsed(),
    })
}

/// How many statuses of isolation were written, as the API server has counted: each once, if
/// all goes well.
async fn status_writes(client: &Client) -> Result<f64> {
    let metrics = client.request_text(http::Request::get("/metrics").body(Vec::new())?);
    let metrics = metrics.await.context("the API server's metrics")?;
    let ours = metrics.lines().filter(|line| {
        line.starts_with("apiserver_request_total{")
            && line.contains(r#"group="ringfence.dev""#)
            && line.contains(r#"subresource="status""#)
    });
    let counts = ours.filter_map(|line| line.rsplit(' ').next());
    counts
        .map(|count| count.parse::<f64>().context("a count of the API server"))
        .sum()
}

/// What of an object is decoded: the watches should cost next to nothing.
type Watched = Object<NotUsed, Status>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    name: String,
    status: String,
}

/// Ends when so many objects of a kind are as they should be.
async fn all(
    client: &Client,
    kind: &ApiResource,
    wanted: usize,
    so: impl Fn(&Watched) -> bool,
) -> Result<()> {
    let api: Api<Watched> = Api::all_with(client.clone(), kind);
    let objects = watcher(api, watcher::Config::default()).default_backoff();
    let objects = objects.applied_objects();
    pin_mut!(objects);
    let mut found = HashSet::new();
    while found.len() < wanted {
        let next = objects.try_next().await?;
        let object = next.with_context(|| format!("the watch of {} has ended", kind.kind))?;
        let key = (object.namespace(), object.name_any());
        if so(&object) {
            found.insert(key);
        } else {
            found.remove(&key);
        }
    }
    Ok(())
}

fn is_ready(object: &Watched) -> bool {
    let status = object.status.iter();
    let mut conditions = status.flat_map(|status| &status.conditions);
    conditions.any(|c| c.name == "Ready" && c.status == "True")
}

/// Namespaces that let some of the others in.
async fn populate(client: &Client, effort: Effort) -> Result<()> {
    let Effort { namespaces, rules } = effort;
    let one = async |number: usize| {
        let namespace = format!("scale-{number}");
        let own = |name: &str| json!({"namespace": namespace, "name": name});
        let core = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
        create(
            client,
            &core,
            None,
            json!({"metadata": {"name": namespace}}),
        )
        .await?;
        let on = json!({"metadata": own("default"), "spec": {}});
        create(client, &ours("NamespaceIsolation"), Some(&namespace), on).await?;
        for rule in 0..rules {
            let peer = format!("scale-{}", (number + rule + 1) % namespaces);
            let object = json!({
                "metadata": own(&format!("rule-{rule}")),
                "spec": {"direction": "Ingress", "peer": {"namespace": peer}},
            });
            create(client, &ours("IsolationRule"), Some(&namespace), object).await?;
        }
        anyhow::Ok(())
    };
    stream::iter((0..namespaces).map(one))
        .buffer_unordered(CONNECTIONS)
        .try_collect()
        .await
}

async fn create(
    client: &Client,
    kind: &ApiResource,
    namespace: Option<&str>,
    mut object: Value,
) -> Result<()> {
    object["apiVersion"] = kind.api_version.clone().into();
    object["kind"] = kind.kind.clone().into();
    let name = object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, kind),
        None => Api::all_with(client.clone(), kind),
    };
    let written = api
        .patch(&name, &PatchParams::apply("bench"), &Patch::Apply(object))
        .await;
    written.map(drop).with_context(|| {
        format!(
            "writing {} {}/{name}",
            kind.kind,
            namespace.unwrap_or_default()
        )
    })
}

fn ours(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("ringfence.dev", "v1alpha1", kind))
}
