//! Requests a second through a real Service with the policy on and off, as a published
//! test of kube-router did it (its result: 10 to 20% fewer requests): nginx and ab
//! without keep-alive, two nginx pods behind one Service, a thousand other Services, the
//! policy of that test on every pod, 80 local pods.
//!
//! Off means no enforcer and no rule of it; on and off take turns, because a shared
//! machine changes its speed over time.

use super::Options;
use super::figures::{Figure, Report, Spread};
use super::lab::{Lab, NODE};
use crate::controlplane::scale::Scale;
use crate::controlplane::{Applier, KubeProxy, ProxyMode, ProxyOptions};
use crate::fabric::{Placement, PodKind, Process, Topology};
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, PostParams};
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

const NAME: &str = "service";
/// The namespace of all pods, as [`Scale`] calls its first.
const NAMESPACE: &str = "scale-0";
const PODS: [&str; 2] = ["scale-0/nginx-1", "scale-0/nginx-2"];
/// Local pods besides [`PODS`]: 8,000 over 100 nodes make 80.
const OTHERS: usize = 78;
/// The outside client, inside of the block that the policy allows.
const CLIENT: &str = "net14";
const NODE_PORT: u16 = 30_080;
/// The policy, three rules from 14.215.0.0/16.
const POLICY: &str = include_str!("../../fixtures/seeds/003/06-perf.yaml");

/// How much is measured.
struct Effort {
    pods: &'static [usize],
    services: usize,
    concurrency: &'static [u32],
    seconds: u32,
    rounds: usize,
}

const FULL: Effort = Effort {
    pods: &[2_000, 4_000, 8_000],
    services: 1_000,
    concurrency: &[10, 50, 200],
    seconds: 2,
    rounds: 7,
};
const QUICK: Effort = Effort {
    pods: &[200],
    services: 20,
    concurrency: &[10],
    seconds: 1,
    rounds: 1,
};

/// Measures and appends to `report`.
pub fn run(options: &Options, report: &mut Report) -> Result<()> {
    let effort = if options.quick { QUICK } else { FULL };
    let mut all = Vec::new();
    for pods in effort.pods.iter().copied() {
        eprintln!(
            "service: making {pods} pods and {} Services",
            effort.services
        );
        let mut site = Site::create(options, &effort, pods)?;
        let mut rates = vec![(Vec::new(), Vec::new(), Vec::new()); effort.concurrency.len()];
        for round in 0..effort.rounds {
            eprintln!("service: {pods} pods, round {}", round + 1);
            // Each goes first as often as the other.
            let order = [round % 2 == 0, round % 2 != 0];
            for (at, concurrency) in effort.concurrency.iter().enumerate() {
                let mut pair = [0.0; 2];
                for on in order {
                    site.enforce(on)?;
                    pair[usize::from(on)] = site.requests(*concurrency, effort.seconds)?;
                }
                let [off, on] = pair;
                rates[at].0.push(off);
                rates[at].1.push(on);
                rates[at].2.push(100.0 * (1.0 - on / off));
            }
        }
        for (concurrency, (off, on, lost)) in effort.concurrency.iter().zip(rates) {
            all.extend_from_slice(&lost);
            let name = |what: &str| format!("{what}, {pods} pods, {concurrency} at once");
            let (off, on, lost) = (Spread::of(off)?, Spread::of(on)?, Spread::of(lost)?);
            report
                .figures
                .push(Figure::new(NAME, name("requests, policy off"), "1/s", off));
            report
                .figures
                .push(Figure::new(NAME, name("requests, policy on"), "1/s", on));
            report.figures.push(
                Figure::new(NAME, name("lost, pair by pair"), "%", lost)
                    .beside(format!(
                        "medians: {:+.1}%; kube-router 10-20 as published",
                        100.0 * (on.median / off.median - 1.0)
                    ))
                    .goal("at most 2%", lost.median <= 2.0),
            );
        }
    }
    // Two runs of the same kind differ by a fifth: only all pairs together can tell two
    // percent.
    let (mean, error) = mean(&all);
    let error = error.map_or("unknown".to_owned(), |error| format!("{error:.1}"));
    let lost = Spread::of(all)?;
    report.figures.push(
        Figure::new(NAME, "lost, all pairs together", "%", lost)
            .beside(format!("mean {mean:.1}, standard error {error}"))
            .goal("at most 2%", mean <= 2.0),
    );
    Ok(())
}

/// The mean of samples and its standard error, which one sample alone does not have.
#[allow(clippy::cast_precision_loss)]
fn mean(samples: &[f64]) -> (f64, Option<f64>) {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    let squares: f64 = samples.iter().map(|s| (s - mean).powi(2)).sum();
    let error = (squares / (n - 1.0) / n).sqrt();
    (mean, (samples.len() > 1).then_some(error))
}

/// The cluster, its web servers and its proxy.
struct Site {
    _servers: Vec<Process>,
    _proxy: KubeProxy,
    enforced: bool,
    url: String,
    lab: Lab,
}

// === impl Site ===

impl Site {
    fn create(options: &Options, effort: &Effort, pods: usize) -> Result<Self> {
        let topology = Topology::new(PodKind::Bridge, 1).pods(PODS, Placement::Same);
        let mut lab = Lab::create(options, topology)?;
        let scale = Scale {
            pods,
            policies: 0,
            namespaces: 1,
            node: lab.spec()?.clone(),
            local: OTHERS,
        };
        lab.api_mut().populate(&scale)?;
        let api = lab.api();
        let policy = POLICY.replace("namespace: default", "namespace: scale-0");
        api.block_on(Applier::new(api.client()).apply_yaml(&policy, NAMESPACE))?;
        other_services(&lab, &scale, effort.services)?;
        let endpoints = nginx(&lab)?;
        let servers = serve(&lab, &endpoints)?;
        let options = ProxyOptions {
            mode: ProxyMode::Iptables,
            masquerade_all: false,
            cluster_cidrs: vec!["10.0.0.0/8".parse()?],
        };
        let mut proxy = lab.api().kube_proxy(lab.node()?, &options)?;
        proxy.wait_for(lab.node()?, &endpoints)?;
        let url = format!("http://{}:{NODE_PORT}/", lab.spec()?.v4);
        Ok(Self {
            _servers: servers,
            _proxy: proxy,
            enforced: false,
            url,
            lab,
        })
    }

    fn enforce(&mut self, on: bool) -> Result<()> {
        if on && !self.enforced {
            self.lab.start()?;
        } else if !on && self.enforced {
            self.lab.stop()?;
        }
        self.enforced = on;
        // Connections of the run before would fill the table.
        self.lab.node()?.exec("conntrack", &["-F"], "")?;
        Ok(())
    }

    /// Requests a second.
    ///
    /// # Errors
    /// When one failed: refusals are fast, and would be taken for speed.
    fn requests(&self, concurrency: u32, seconds: u32) -> Result<f64> {
        let client = self.lab.world().host(CLIENT)?;
        let address = client.addresses[0].to_string();
        let (seconds, concurrency) = (seconds.to_string(), concurrency.to_string());
        let output = client.netns.run(|| {
            Command::new("ab")
                // -t sets -n, so -n comes after it.
                .args(["-q", "-t", &seconds, "-n", "10000000", "-c", &concurrency])
                .args(["-B", &address, &self.url])
                .output()
                .context("starting ab (Debian: apt install apache2-utils)")
        })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        rate(&text).with_context(|| format!("ab says:\n{text}{complaint}"))
    }
}

/// The rate, when every request was answered with success.
fn rate(said: &str) -> Result<f64> {
    let field = |key: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let failed = field("Failed requests:").context("ab did not finish")?;
    let other = field("Non-2xx responses:").unwrap_or_default();
    ensure!(
        failed < 1.0 && other < 1.0,
        "{failed} requests failed, {other} had another status than 2xx"
    );
    field("Requests per second:").context("ab tells no rate")
}

/// Services without a selector, with 2, 6 or 8 of the pods as endpoints.
fn other_services(lab: &Lab, scale: &Scale, count: usize) -> Result<()> {
    let client = lab.api().client();
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let slices: Api<EndpointSlice> = Api::namespaced(client, NAMESPACE);
    let post = PostParams::default();
    let create = async |number: usize| -> Result<()> {
        let name = format!("other-{number}");
        let endpoints = (0..[2, 6, 8][number % 3])
            .map(|n| {
                let (_, _, address) = scale.place((number * 8 + n) % scale.pods)?;
                Ok(json!({"addresses": [address], "conditions": {"ready": true}}))
            })
            .collect::<Result<Vec<_>>>()?;
        let http = json!({"name": "http", "port": 8080, "protocol": "TCP"});
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        }))?;
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [http],
        }))?;
        services.create(&post, &service).await?;
        slices.create(&post, &slice).await?;
        Ok(())
    };
    lab.api().block_on(
        stream::iter((0..count).map(create))
            .buffer_unordered(8)
            .try_collect::<()>(),
    )
}

/// Creates the Service and its pods; their addresses.
fn nginx(lab: &Lab) -> Result<Vec<SocketAddr>> {
    let (api, node) = (lab.api(), lab.world().host(NODE)?);
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "nginx"},
        "spec": {
            "type": "NodePort", "externalTrafficPolicy": "Local", "selector": {"app": "nginx"},
            "ports": [{"port": 80, "nodePort": NODE_PORT}],
        },
    }))?;
    let services: Api<Service> = Api::namespaced(api.client(), NAMESPACE);
    api.block_on(services.create(&PostParams::default(), &service))
        .context("creating Service nginx")?;
    let mut endpoints = Vec::new();
    for key in PODS {
        let host = lab.world().host(key)?;
        let name = key.rsplit('/').next().unwrap_or(key);
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"namespace": NAMESPACE, "name": name, "labels": {"app": "nginx"}},
            "spec": {
                "nodeName": NODE,
                "containers": [{"name": "nginx", "image": "nginx", "ports": [{"containerPort": 80}]}],
            },
        }))?;
        api.block_on(api.kubelet().start(&pod, &node.addresses, &host.addresses))?;
        let address = host.addresses.iter().find(|a| a.is_ipv4());
        endpoints.push(SocketAddr::new(*address.context("an IPv4 address")?, 80));
    }
    Ok(endpoints)
}

/// Starts nginx in each pod.
fn serve(lab: &Lab, endpoints: &[SocketAddr]) -> Result<Vec<Process>> {
    let node = lab.node()?;
    PODS.iter()
        .zip(endpoints)
        .map(|(key, endpoint)| {
            let name = key.replace('/', "-");
            let folder = node.folder().join(&name);
            fs::create_dir_all(&folder)
                .with_context(|| format!("creating {}", folder.display()))?;
            let file = folder.join("nginx.conf");
            fs::write(&file, configuration(&folder, *endpoint))
                .with_context(|| format!("writing {}", file.display()))?;
            let flags = [
                format!("--net={}", lab.world().host(key)?.netns.path()),
                "nginx".to_owned(),
                "-c".to_owned(),
                file.display().to_string(),
            ];
            node.spawn(&name, Path::new("nsenter"), &flags, &[])
        })
        .collect()
}

fn configuration(folder: &Path, endpoint: SocketAddr) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {folder}/{kind};\n"))
        .concat();
    format!(
        "user root;\ndaemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log stderr;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n{temporary}  server {{\n    \
         listen {endpoint} backlog=4096;\n    \
         location / {{ return 200 \"hello\\n\"; }}\n  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_request_is_no_speed() {
        let ab = |failed: u32, other: &str| {
            format!(
                "Concurrency Level:      10\nComplete requests:      100\n\
                 Failed requests:        {failed}\n{other}Requests per second:    4321.50 [#/sec] (mean)\n"
            )
        };
        assert!((rate(&ab(0, "")).unwrap() - 4321.5).abs() < 0.1);
        assert!(rate(&ab(1, "")).is_err());
        assert!(rate(&ab(0, "Non-2xx responses:      7\n")).is_err());
        assert!(rate("").is_err());
    }

    #[test]
    fn a_mean_has_an_error() {
        let (of_four, error) = mean(&[1.0, 3.0, 5.0, 7.0]);
        assert!((of_four - 4.0).abs() < 1e-9);
        // Squares 9 + 1 + 1 + 9 = 20, by 3, by 4.
        assert!((error.unwrap() - (20.0_f64 / 12.0).sqrt()).abs() < 1e-9);
        assert_eq!(mean(&[1.0]).1, None);
    }
}
