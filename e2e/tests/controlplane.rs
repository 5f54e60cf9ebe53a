//! The real control plane on namespaces, from nothing to rules in the nodes, and back to
//! nothing. Needs root (or user namespaces) and the programs of `make controlplane`.

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use ringfence_e2e::controlplane::{
    self, ApiServer, Applier, ControlPlane, Identity, KubeProxy, Kubelet, Options, Programs,
    ProxyMode, ProxyOptions, scale,
};
use ringfence_e2e::fabric::netns::CONTROL_ADDRESS;
use ringfence_e2e::fabric::{Placement, PodKind, Topology, World};
use ringfence_e2e::objects::{Objects, Watcher, documents};
use ringfence_e2e::patience::eventually;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

const SERVICE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec:
  podSelector: {}
  policyTypes: [Ingress]
";

fn main() -> ExitCode {
    controlplane::test(run)
}

fn run(programs: &Programs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut topology =
        Topology::new(PodKind::Bridge, 2).pods(["x/a@node1", "x/b@node2"], Placement::Spread);
    topology.externals.clear();
    let world = World::create(topology)?;
    let result = runtime.block_on(whole_way(programs, &world));
    drop(world);
    drop(runtime);
    let result = result.and_then(|()| objects_of_cases(programs));
    let left = children()?;
    result?;
    ensure!(left.is_empty(), "programs are left behind: {left:?}");
    println!("ok: nothing is left behind");
    Ok(())
}

async fn whole_way(programs: &Programs, world: &World) -> Result<()> {
    let begin = Instant::now();
    let options = Options::new(CONTROL_ADDRESS.into());
    let mut plane = ControlPlane::start(programs, world.control(), options).await?;
    println!("ok: control plane ready after {:?}", begin.elapsed());
    let kubelet = Kubelet::new(plane.client());
    for node in &world.topology().nodes {
        kubelet.register(node).await?;
    }
    let mut proxies = world
        .nodes()
        .zip(ProxyMode::ALL)
        .map(|(node, mode)| {
            let cluster_cidrs = vec!["10.16.0.0/14".parse()?, "fd00:10:16::/48".parse()?];
            let options = ProxyOptions {
                mode,
                masquerade_all: false,
                cluster_cidrs,
            };
            plane.kube_proxy(node, &options)
        })
        .collect::<Result<Vec<_>>>()?;

    let objects = Applier::new(plane.client());
    let applied = objects.apply_yaml(SERVICE, "x").await?;
    let endpoints = start_pods(&kubelet, world).await?;
    for (proxy, node) in proxies.iter_mut().zip(world.nodes()) {
        proxy.wait_for(node, &endpoints)?;
    }
    println!(
        "ok: both kube-proxies send Service traffic to both pods after {:?}",
        begin.elapsed()
    );

    rights(&plane, world).await?;
    pods_leave(&kubelet, world, &mut proxies, &endpoints).await?;

    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "closed"},
    });
    let gone = objects
        .delete(&policy, "x")
        .await?
        .context("the policy was not there")?;
    ensure!(
        gone > applied,
        "a deletion is later than what it deletes: {gone} after {applied}"
    );
    ensure!(
        objects.delete(&policy, "x").await?.is_none(),
        "the policy is gone"
    );
    println!("ok: writes come with revisions that can be compared");

    outage(&mut plane, world).await?;
    populate(&plane, world).await?;
    plane.check_running()?;

    // For looking at by hand: keep everything until Enter is pressed.
    if std::env::var_os("KEEP").is_some() {
        println!("KUBECONFIG={}", plane.kubeconfig(Identity::Admin).display());
        println!(
            "nsenter --net={} --mount -t {}",
            world.control().netns().path(),
            std::process::id()
        );
        std::io::stdin().read_line(&mut String::new())?;
    }
    Ok(())
}

/// One ready pod on each node; their endpoints, both with the Service's target port.
async fn start_pods(kubelet: &Kubelet, world: &World) -> Result<Vec<SocketAddr>> {
    let mut endpoints = Vec::new();
    for spec in &world.topology().pods {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": spec.name, "namespace": spec.namespace, "labels": {"app": "web"}},
            "spec": {"nodeName": spec.node, "containers": [{"name": "web", "image": "none"}]},
        }))?;
        let host = world.host(&format!("{}/{}", spec.namespace, spec.name))?;
        let node = world.host(&spec.node)?;
        kubelet
            .start(&pod, &node.addresses, &host.addresses)
            .await?;
        endpoints.push(SocketAddr::new(host.addresses[0], 8080));
    }
    Ok(endpoints)
}

/// The enforcer may read its four kinds and nothing else; a stranger may read nothing.
async fn rights(plane: &ControlPlane, world: &World) -> Result<()> {
    let node = world.node("node1")?;
    let enforcer = plane.client_as(Identity::Enforcer, node)?;
    let pods: Api<Pod> = Api::all(enforcer.clone());
    ensure!(
        pods.list(&ListParams::default()).await?.items.len() == 2,
        "the enforcer sees two pods"
    );
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::all(enforcer);
    forbidden("secrets", secrets.list(&ListParams::default()).await)?;
    let stranger: Api<Pod> = Api::all(plane.client_as(Identity::Stranger, node)?);
    forbidden("pods", stranger.list(&ListParams::default()).await)?;
    println!("ok: the enforcer has the least rights, from its node");
    Ok(())
}

fn forbidden<T>(what: &str, answer: kube::Result<T>) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        Err(error) => bail!("listing {what}: {error}"),
        Ok(_) => bail!("listing {what} should be forbidden"),
    }
}

/// A terminating pod and a pod that ended leave the rules, and are gone when removed.
async fn pods_leave(
    kubelet: &Kubelet,
    world: &World,
    proxies: &mut [KubeProxy],
    endpoints: &[SocketAddr],
) -> Result<()> {
    let terminating = kubelet.terminate("x", "a").await?;
    kubelet.set_ended("x", "b", "Succeeded").await?;
    for (proxy, node) in proxies.iter_mut().zip(world.nodes()) {
        proxy.wait_without(node, &endpoints[1..])?;
    }
    let removed = kubelet
        .remove("x", "a")
        .await?
        .context("the terminating pod was not there")?;
    ensure!(removed > terminating, "removal comes after termination");
    ensure!(kubelet.remove("x", "a").await?.is_none(), "the pod is gone");
    for (proxy, node) in proxies.iter_mut().zip(world.nodes()) {
        proxy.wait_without(node, endpoints)?;
    }
    println!("ok: pods that end leave the rules");
    Ok(())
}

/// While the API server is away connections are refused; after it, everything is there.
async fn outage(plane: &mut ControlPlane, world: &World) -> Result<()> {
    plane.stop_apiserver();
    ensure!(
        plane.client().apiserver_version().await.is_err(),
        "a killed API server answered"
    );
    plane.start_apiserver(world.control()).await?;
    let version = plane.client().apiserver_version().await?;
    ensure!(
        version.git_version.starts_with("v1."),
        "unstamped version {}",
        version.git_version
    );
    println!("ok: the API server, {}, came back", version.git_version);
    Ok(())
}

/// A small population here; `PODS=10000` measures the large one.
async fn populate(plane: &ControlPlane, world: &World) -> Result<()> {
    let node = world.topology().nodes[0].clone();
    let mut scale = scale::Scale {
        pods: 60,
        policies: 20,
        namespaces: 4,
        node: node.clone(),
        local: 10,
    };
    if std::env::var("PODS").is_ok_and(|pods| pods == "10000") {
        scale = scale::Scale::large(node);
    }
    let begin = Instant::now();
    scale::populate(&plane.client(), &scale).await?;
    let pods: Api<Pod> = Api::all(plane.client());
    let local = pods
        .list(&ListParams::default().fields("spec.nodeName=node1"))
        .await?;
    ensure!(
        local.items.len() == scale.local,
        "{} pods on node1",
        local.items.len()
    );
    let all: Value = serde_json::to_value(pods.list_metadata(&ListParams::default()).await?)?;
    let count = all["items"].as_array().map_or(0, Vec::len);
    // x/b ended but is still there.
    ensure!(count == scale.pods + 1, "{count} pods");
    println!(
        "ok: {} pods and {} policies in {:?}",
        scale.pods,
        scale.policies,
        begin.elapsed()
    );
    Ok(())
}

/// Every example of the documents, and the shop, is accepted by a real API server and
/// taken back again.
fn objects_of_cases(programs: &Programs) -> Result<()> {
    let world = World::create(Topology::new(PodKind::Bridge, 2))?;
    let mut server = ApiServer::start(
        programs,
        world.control(),
        Options::new(CONTROL_ADDRESS.into()),
    )?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Seed 002's Service has an address of a range of its own.
    server.apply(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "seed-002"}, "spec": {"cidrs": ["10.233.0.0/16"]},
    }))?;
    wait_for_range(&server)?;
    for namespace in [
        "demo-project",
        "demo-project-2",
        "foo",
        "nsa",
        "my-namespace",
        "database",
    ] {
        server.apply(&json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace},
        }))?;
    }
    let mut files = 0;
    for folder in ["000", "001", "002", "003", "004"] {
        files += round_trip(&mut server, &root.join("fixtures/seeds").join(folder))?;
    }
    files += round_trip(&mut server, &root.join("../examples/shop"))?;
    println!("ok: the objects of {files} files were accepted and taken back");
    replaced_and_terminating(&mut server)
}

fn wait_for_range(server: &ApiServer) -> Result<()> {
    let api: Api<k8s_openapi::api::networking::v1::ServiceCIDR> = Api::all(server.client());
    eventually("the range is ready", || {
        let range = serde_json::to_value(server.block_on(api.get("seed-002"))?)?;
        Ok(range["status"]["conditions"][0]["status"] == "True")
    })
}

/// Applies every manifest of `folder`, and deletes all of it, file by file; the number of
/// files. Unknown kinds must be refused by name.
fn round_trip(server: &mut ApiServer, folder: &Path) -> Result<usize> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    let mut all = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file)?;
        for object in documents(&text, "default")? {
            let answer = server
                .apply(&object)
                .with_context(|| file.display().to_string());
            if object["kind"] == "ClusterConfiguration" {
                let error = format!(
                    "{:#}",
                    answer.err().context("an unknown kind was accepted")?
                );
                ensure!(
                    error.contains("knows no installer.kubesphere.io/v1alpha1"),
                    "{error}"
                );
                continue;
            }
            answer?;
            all.push(object);
        }
    }
    // Namespaces come first in a folder, so they go last, empty.
    for object in all.iter().rev() {
        server.delete(object)?;
    }
    Ok(files.len())
}

/// A pod that changes what cannot change is replaced; one that terminates stays until it
/// is removed; every write moves the mark.
fn replaced_and_terminating(server: &mut ApiServer) -> Result<()> {
    let pod = |port: u16| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"},
            "spec": {
                "nodeName": "node1",
                "containers": [{"name": "p", "image": "none", "ports": [{"containerPort": port}]}],
            },
            "status": {"phase": "Running", "podIP": "10.16.1.9", "podIPs": [{"ip": "10.16.1.9"}]},
        })
    };
    let pods: Api<Pod> = Api::namespaced(server.client(), "default");
    server.apply(&pod(80))?;
    let mark = |server: &ApiServer| server.mark(Watcher::Enforcer);
    let (first, before) = (server.block_on(pods.get("p"))?, mark(server)?);
    ensure!(before == mark(server)?, "reading moved the mark");
    server.apply(&pod(81))?;
    let second = server.block_on(pods.get("p"))?;
    ensure!(
        first.metadata.uid != second.metadata.uid,
        "the pod was not replaced"
    );
    ensure!(before != mark(server)?, "a write did not move the mark");
    let mut terminating = pod(81);
    terminating["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    server.apply(&terminating)?;
    let third = server.block_on(pods.get("p"))?;
    ensure!(
        third.metadata.deletion_timestamp.is_some(),
        "the pod does not terminate"
    );
    server.delete(&terminating)?;
    ensure!(
        server.block_on(pods.get_opt("p"))?.is_none(),
        "the pod is still there"
    );
    println!("ok: pods are replaced, terminate, and go");
    Ok(())
}

/// What this process has started and not ended.
fn children() -> Result<Vec<String>> {
    let own = std::process::id().to_string();
    let output = Command::new("ps")
        .args(["-o", "pid=,args=", "--ppid", &own])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|l| !l.contains("ps -o"))
        .map(String::from)
        .collect())
}
