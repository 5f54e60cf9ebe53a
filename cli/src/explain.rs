//! `ringfence explain`: the verdict on one connection, and why.

use crate::args::{Common, Output, Transport};
use crate::target::{self, End};
use anyhow::{Context, Result, bail};
use ringfence_policy::Snapshot;
use ringfence_policy::evaluate::explain::what_would_change;
use ringfence_policy::evaluate::{Evaluator, Verdict};
use ringfence_policy::model::{Flow, Pod, Protocol, Service, ServicePort};
use ringfence_policy::path::{self, Door, Origin, Proxy, Way, Ways};
use serde::Serialize;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;

/// `ringfence explain`
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    common: Common,
    /// Where the connection starts: namespace/pod or an address.
    #[arg(long)]
    from: String,
    /// Where it goes: namespace/pod, an address, a Service (namespace/name) or
    /// node:nodePort; with :port where the protocol has ports.
    #[arg(long)]
    to: String,
    /// The protocol.
    #[arg(long, value_enum, default_value = "tcp")]
    protocol: Transport,
    /// kube-proxy runs with masqueradeAll.
    #[arg(long)]
    masquerade_all: bool,
    /// IPv6 addresses of pods and Services instead of IPv4.
    #[arg(short = '6', long)]
    ipv6: bool,
    /// For people or for programs.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// One way the connection can take, with its judgement.
#[derive(Debug, Serialize)]
struct Answer {
    allowed: bool,
    /// The packet as the source's node judges it.
    egress_flow: String,
    egress: String,
    /// The packet as the destination's node judges it.
    ingress_flow: String,
    ingress: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<ServiceWay>,
    what_would_change: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ServiceWay {
    entry_node: String,
    /// Destination after DNAT.
    dnat: String,
    /// Source after SNAT, where it is replaced before the endpoint's node judges.
    #[serde(skip_serializing_if = "Option::is_none")]
    snat: Option<String>,
    endpoint: String,
    endpoint_node: String,
    /// The source address that the endpoint's policy sees.
    policy_sees: String,
}

/// The question's whole answer.
#[derive(Debug, Serialize)]
struct Explanation {
    from: String,
    to: String,
    /// Every way passes.
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_answer: Option<String>,
    ways: Vec<Answer>,
}

/// Runs the subcommand.
pub fn run(args: &ExplainArgs) -> Result<ExitCode> {
    let loaded = args.common.source.load()?;
    let explanation = explain(args, &loaded.snapshot)?;
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&explanation)?),
        Output::Text => print(&explanation),
    }
    Ok(ExitCode::from(u8::from(!explanation.allowed)))
}

fn explain(args: &ExplainArgs, snapshot: &Snapshot) -> Result<Explanation> {
    let namespace = &args.common.source.namespace;
    let (from, from_port) = target::parse(&args.from, namespace, snapshot).context("--from")?;
    if from_port.is_some() {
        bail!(
            "--from {}: found a port; no policy looks at the source port, leave it out",
            args.from
        );
    }
    let (to, port) = target::parse(&args.to, namespace, snapshot).context("--to")?;
    let v4 = match (&from, &to) {
        (End::Address(a), _) | (_, End::Address(a)) => a.is_ipv4(),
        _ => !args.ipv6,
    };
    let origin = Origin::of(snapshot, source_address(&from, v4)?);
    let evaluator = Evaluator::new(snapshot, args.common.settings());
    let question = Question {
        args,
        snapshot,
        evaluator: &evaluator,
        origin: &origin,
        v4,
    };
    let mut explanation = Explanation {
        from: describe(&origin),
        to: args.to.clone(),
        allowed: false,
        no_answer: None,
        ways: Vec::new(),
    };
    match question.ways(&to, port)? {
        Reached::Directly(flow) => explanation.ways.push(question.direct(&flow)),
        Reached::Through(Ways::None(why)) => explanation.no_answer = Some(why),
        Reached::Through(Ways::Some(ways)) => {
            explanation.ways = ways.iter().map(|w| question.through(w)).collect();
        }
    }
    explanation.allowed =
        !explanation.ways.is_empty() && explanation.ways.iter().all(|w| w.allowed);
    Ok(explanation)
}

/// How the far end is reached.
enum Reached {
    Directly(Flow),
    Through(Ways),
}

struct Question<'a> {
    args: &'a ExplainArgs,
    snapshot: &'a Snapshot,
    evaluator: &'a Evaluator<'a>,
    origin: &'a Origin,
    v4: bool,
}

impl Question<'_> {
    fn ways(&self, to: &End, port: Option<u16>) -> Result<Reached> {
        Ok(match to {
            End::Pod(pod) => Reached::Directly(self.flow(pod_address(pod, self.v4)?, port)?),
            End::Service(service) => {
                let port = path::service_port(service, port, self.service_protocol()?, false)
                    .map_err(anyhow::Error::msg)?;
                Reached::Through(self.through_service(service, port, &Door::ClusterIp))
            }
            End::Node(node) => {
                let number = port.with_context(|| {
                    format!(
                        "--to {}: found no port; write {}:NODEPORT",
                        self.args.to, node.name
                    )
                })?;
                let protocol = self.service_protocol()?;
                if let Some((service, port)) =
                    path::node_port_owner(self.snapshot, number, protocol)
                {
                    let door = Door::NodePort(Arc::clone(node));
                    return Ok(Reached::Through(self.through_service(service, port, &door)));
                }
                let address = node.addresses.iter().find(|a| a.is_ipv4() == self.v4);
                let address = address
                    .with_context(|| format!("node {} has no address of this family", node.name))?;
                Reached::Directly(self.flow(*address, port)?)
            }
            End::Address(address) => self.to_address(*address, port)?,
        })
    }

    /// An address may be a Service's: then kube-proxy is in between.
    fn to_address(&self, address: IpAddr, port: Option<u16>) -> Result<Reached> {
        let service = self
            .snapshot
            .services
            .values()
            .find(|s| s.cluster_ips.contains(&address));
        if let (Some(service), Some(protocol)) = (service, self.args.protocol.protocol()) {
            let port =
                path::service_port(service, port, protocol, false).map_err(anyhow::Error::msg)?;
            return Ok(Reached::Through(self.through_service(
                service,
                port,
                &Door::ClusterIp,
            )));
        }
        let node = self
            .snapshot
            .nodes
            .values()
            .find(|n| n.addresses.contains(&address));
        if let (Some(node), Some(number), Some(protocol)) =
            (node, port, self.args.protocol.protocol())
            && let Some((service, port)) = path::node_port_owner(self.snapshot, number, protocol)
        {
            let door = Door::NodePort(Arc::clone(node));
            return Ok(Reached::Through(self.through_service(service, port, &door)));
        }
        Ok(Reached::Directly(self.flow(address, port)?))
    }

    fn through_service(&self, service: &Service, port: &ServicePort, door: &Door) -> Ways {
        let proxy = Proxy {
            masquerade_all: self.args.masquerade_all,
        };
        path::ways(self.snapshot, proxy, self.origin, service, port, door)
    }

    fn service_protocol(&self) -> Result<Protocol> {
        self.args
            .protocol
            .protocol()
            .context("--protocol icmp: Services carry TCP, UDP and SCTP only; name a pod to ping")
    }

    fn flow(&self, to: IpAddr, port: Option<u16>) -> Result<Flow> {
        let from = self.origin.address();
        if from.is_ipv4() != to.is_ipv4() {
            bail!(
                "{from} and {to} are of different families; no packet goes from one to the other"
            );
        }
        match (self.args.protocol.protocol(), port) {
            (None, None) => Ok(Flow::ping(from, to)),
            (None, Some(_)) => bail!("--protocol icmp has no ports; leave the port out"),
            (Some(protocol), Some(port)) => Ok(Flow::new(protocol, from, to, port)),
            (Some(protocol), None) => bail!(
                "--to {}: found no port; write {}:PORT ({protocol}), or --protocol icmp",
                self.args.to,
                self.args.to
            ),
        }
    }

    fn direct(&self, flow: &Flow) -> Answer {
        let verdict = self.evaluator.judge(flow);
        Answer {
            allowed: verdict.allowed(),
            egress_flow: flow.to_string(),
            egress: verdict.egress.to_string(),
            ingress_flow: flow.to_string(),
            ingress: verdict.ingress.to_string(),
            service: None,
            what_would_change: what_would_change(self.evaluator, flow),
        }
    }

    /// Each end's node sees its own version of the packet.
    fn through(&self, way: &Way) -> Answer {
        let verdict = Verdict {
            egress: self.evaluator.judge(&way.egress).egress,
            ingress: self.evaluator.judge(&way.ingress).ingress,
        };
        let mut change = Vec::new();
        if !verdict.egress.allowed() {
            change.extend(what_would_change(self.evaluator, &way.egress));
        }
        if !verdict.ingress.allowed() {
            change.extend(what_would_change(self.evaluator, &way.ingress));
        }
        if let (false, Some(node)) = (verdict.ingress.allowed(), way.masqueraded) {
            change.push(format!(
                "the client arrives as {node}, a node's address; allowing that admits everything that \
                 comes through that node: externalTrafficPolicy: Local keeps the client's address"
            ));
        }
        Answer {
            allowed: verdict.allowed(),
            egress_flow: way.egress.to_string(),
            egress: verdict.egress.to_string(),
            ingress_flow: way.ingress.to_string(),
            ingress: verdict.ingress.to_string(),
            service: Some(ServiceWay {
                entry_node: way.entry.to_string(),
                dnat: std::net::SocketAddr::from(way.to).to_string(),
                snat: way.masqueraded.map(|a| a.to_string()),
                endpoint: way.endpoint.key.to_string(),
                endpoint_node: way.endpoint.node.to_string(),
                policy_sees: way.ingress.src.to_string(),
            }),
            what_would_change: change,
        }
    }
}

fn pod_address(pod: &Pod, v4: bool) -> Result<IpAddr> {
    pod.ips
        .iter()
        .copied()
        .find(|a| a.is_ipv4() == v4)
        .with_context(|| {
            format!(
                "pod {} has no {} address in status.podIPs",
                pod.key,
                if v4 { "IPv4" } else { "IPv6" }
            )
        })
}

fn source_address(end: &End, v4: bool) -> Result<IpAddr> {
    match end {
        End::Pod(pod) => pod_address(pod, v4),
        End::Address(address) => Ok(*address),
        End::Node(node) => node
            .addresses
            .iter()
            .copied()
            .find(|a| a.is_ipv4() == v4)
            .with_context(|| format!("node {} has no address of this family", node.name)),
        End::Service(service) => bail!(
            "--from: found Service {}; a Service sends nothing, name the pod, node or address",
            service.key
        ),
    }
}

fn describe(origin: &Origin) -> String {
    match origin {
        Origin::Pod(pod, address) if pod.node.is_empty() => format!("pod {} ({address})", pod.key),
        Origin::Pod(pod, address) => format!("pod {} ({address}, on {})", pod.key, pod.node),
        Origin::Node(node, address) => format!("node {} ({address})", node.name),
        Origin::Outside(address) => format!("{address}, outside the cluster"),
    }
}

fn print(explanation: &Explanation) {
    println!("from  {}", explanation.from);
    println!("to    {}", explanation.to);
    if let Some(why) = &explanation.no_answer {
        println!("\nNO ANSWER: {why}");
    }
    for way in &explanation.ways {
        println!();
        if let Some(service) = &way.service {
            println!("  entry node   {}", service.entry_node);
            println!(
                "  DNAT to      {} (pod {}, on {})",
                service.dnat, service.endpoint, service.endpoint_node
            );
            if let Some(snat) = &service.snat {
                println!("  SNAT to      {snat}");
            }
            println!("  policy sees  {}", service.policy_sees);
        }
        println!("  egress       {}", way.egress);
        println!("  ingress      {}", way.ingress);
        println!("  => {}", if way.allowed { "ALLOWED" } else { "REFUSED" });
        for change in &way.what_would_change {
            println!("     {change}");
        }
    }
    let refused = explanation.ways.iter().filter(|w| !w.allowed).count();
    if refused > 0 && refused < explanation.ways.len() {
        println!(
            "\nkube-proxy picks any of these {} ways: {refused} of them are refused, so some connections fail.",
            explanation.ways.len()
        );
    }
}
