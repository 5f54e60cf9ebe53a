//! The harness' hand in a pod: servers and probes there, driven over standard input and
//! output, one JSON document a line. It ends when its input does.

use super::{Call, Net, Observation};
use crate::admission::dns;
use crate::fabric::Netns;
use crate::objects;
use anyhow::{Context, Result};
use ringfence_policy::model::Protocol;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::net::IpAddr;

/// What an agent is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Servers on these addresses of the pod.
    Listen {
        /// As whom they answer.
        host: String,
        /// The pod's addresses.
        addresses: Vec<IpAddr>,
        /// Protocol by its name in Kubernetes, and number.
        ports: Vec<(String, u16)>,
    },
    /// Probes, all at once.
    Fire(Vec<Call>),
    /// Whether a name is resolved, over UDP and over TCP.
    Resolve {
        /// The DNS server.
        server: IpAddr,
        /// A whole name.
        name: String,
    },
    /// A page of a program that listens on this machine's loopback.
    Get {
        /// Its port.
        port: u16,
        /// The path.
        page: String,
    },
}

/// What an agent answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It was done.
    Done,
    /// What became of the probes, in their order.
    Seen(Vec<Observation>),
    /// Whether a name was resolved, over UDP and over TCP.
    Resolved([bool; 2]),
    /// The body of a page.
    Page(String),
    /// Why it could not be done.
    Failed(String),
}

/// Serves requests until the input ends.
pub fn serve() -> Result<()> {
    let mut net = Net::empty()?;
    let here = Netns::current()?;
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = match answer(&mut net, &here, &line?) {
            Ok(answer) => answer,
            Err(error) => Answer::Failed(format!("{error:#}")),
        };
        serde_json::to_writer(&mut output, &answer)?;
        writeln!(output)?;
        output.flush()?;
    }
    Ok(())
}

fn answer(net: &mut Net, here: &Netns, line: &str) -> Result<Answer> {
    match serde_json::from_str(line).context("not a request")? {
        Request::Listen {
            host,
            addresses,
            ports,
        } => {
            let ports = ports
                .iter()
                .map(|(name, port)| Ok((protocol(name)?, *port)));
            let ports = ports.collect::<Result<Vec<_>>>()?;
            net.listen(&host, here, &addresses, &ports)?;
            Ok(Answer::Done)
        }
        Request::Fire(calls) => {
            let shots = calls.into_iter().map(|call| call.inside(here.clone()));
            net.fire(&shots.collect::<Vec<_>>()).map(Answer::Seen)
        }
        Request::Resolve { server, name } => dns::resolves(server, &name).map(Answer::Resolved),
        Request::Get { port, page } => objects::page_of(port, &page).map(Answer::Page),
    }
}

/// A protocol by its name in Kubernetes.
pub(super) fn protocol(name: &str) -> Result<Protocol> {
    let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let found = all.into_iter().find(|p| p.to_string() == name);
    found.with_context(|| format!("no protocol is called {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::super::{icmp, sctp, tcp};
    use super::*;
    use std::time::Duration;

    #[test]
    fn requests_survive_the_wire() {
        for transport in [tcp(80), sctp(81), icmp()] {
            let call = Call {
                source: [10, 0, 0, 1].into(),
                target: [10, 0, 0, 2].into(),
                transport,
                listening: true,
                patience: Duration::from_millis(300),
            };
            let text = serde_json::to_string(&Request::Fire(vec![call.clone()])).unwrap();
            let Request::Fire(read) = serde_json::from_str(&text).unwrap() else {
                panic!("{text}");
            };
            assert_eq!(read, [call]);
        }
    }

    #[test]
    fn nonsense_is_answered() {
        let mut net = Net::empty().unwrap();
        let here = Netns::current().unwrap();
        assert!(answer(&mut net, &here, "{}").is_err());
        let unknown = r#"{"Listen":{"host":"x/a","addresses":[],"ports":[["DCCP",80]]}}"#;
        let error = answer(&mut net, &here, unknown).unwrap_err().to_string();
        assert_eq!(error, "no protocol is called \"DCCP\"");
    }
}
