//! A real `CoreDNS` in a pod, and pods that resolve names with it.

use crate::controlplane::{ApiServer, Identity};
use crate::fabric::{Process, World};
use crate::patience::within;
use anyhow::{Context, Result, ensure};
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, Question, RCODE, TYPE};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long it may take until it answers.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pod in which it runs.
const POD: &str = "kube-system/dns";
/// The port on which it listens behind port 53 of its Service: rules see this one.
const PORT: u16 = 1053;
/// The DNS Service of a world, which clusters have as well.
pub const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {namespace: kube-system, name: kube-dns}
spec:
  selector: {pod: dns}
  ports:
  - {name: dns, port: 53, targetPort: 1053, protocol: UDP}
  - {name: dns-tcp, port: 53, targetPort: 1053, protocol: TCP}
";

/// `CoreDNS`, running in the network of a pod.
pub struct Dns {
    process: Process,
}

impl Dns {
    /// Starts it in the pod behind [`SERVICE`], and waits until it is ready. It reads Services
    /// as the harness itself: its rights are not what is tested.
    pub fn start(server: &ApiServer, world: &World, program: &Path) -> Result<Self> {
        let control = world.control();
        let host = world.host(POD)?;
        let kubeconfig = server.kubeconfig(Identity::Admin);
        let corefile = control.folder().join("Corefile");
        let text = format!(
            ".:{PORT} {{\n  errors\n  ready 127.0.0.1:8181\n  kubernetes cluster.local {{\n    \
             kubeconfig {} e2e\n  }}\n}}\n",
            kubeconfig.display()
        );
        std::fs::write(&corefile, text).context("writing the Corefile")?;
        let args = [
            format!("--net={}", host.netns.path()),
            program.display().to_string(),
            "-conf".to_owned(),
            corefile.display().to_string(),
        ];
        let mut process = control.spawn("coredns", Path::new("nsenter"), &args, &[])?;
        within(PATIENCE, "CoreDNS is ready", || {
            process.check_running()?;
            let ready = host.netns.run(|| {
                let stream = std::net::TcpStream::connect("127.0.0.1:8181");
                Ok(stream.is_ok_and(is_ready) && is_listening())
            })?;
            ensure!(ready, "its log ends:\n{}", process.log_tail(20));
            Ok(true)
        })?;
        Ok(Self { process })
    }

    /// Fails when it has ended.
    pub fn check_running(&mut self) -> Result<()> {
        self.process.check_running()
    }
}

/// It says that it is ready a moment before it listens. Whatever it answers will do.
fn is_listening() -> bool {
    let own = IpAddr::from(Ipv4Addr::LOCALHOST);
    let answers = |tcp| !matches!(lookup(own, PORT, "ready", tcp), Ok(Lookup::Silence));
    answers(false) && answers(true)
}

fn is_ready(mut stream: std::net::TcpStream) -> bool {
    use std::io::{Read, Write};
    let mut answer = String::new();
    stream
        .write_all(b"GET /ready HTTP/1.0\r\n\r\n")
        .and_then(|()| stream.read_to_string(&mut answer))
        .is_ok_and(|_| answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"))
}

/// What came of asking for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The first IPv4 address.
    Address(IpAddr),
    /// Nobody answered, or the question was refused on its way.
    Silence,
}

/// Asks `server` for the IPv4 address of `name`, over UDP or TCP, from inside the namespace
/// of the calling thread.
pub fn lookup(server: IpAddr, port: u16, name: &str, tcp: bool) -> Result<Lookup> {
    let question = question(name)?;
    let answer = if tcp {
        ask_tcp(server, port, &question)
    } else {
        ask_udp(server, port, &question)
    };
    match answer {
        Ok(answer) => read_answer(&answer).map(Lookup::Address),
        // A reject shows as "connection refused", a drop as a timeout.
        Err(_) => Ok(Lookup::Silence),
    }
}

const WAIT: Duration = Duration::from_millis(800);

fn ask_udp(server: IpAddr, port: u16, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.connect((server, port))?;
    let mut buffer = vec![0; 4096];
    // The first may be lost to neighbour resolution.
    for _ in 0..2 {
        socket.send(question)?;
        match socket.recv(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::ErrorKind::TimedOut.into())
}

fn ask_tcp(server: IpAddr, port: u16, question: &[u8]) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect_timeout(&(server, port).into(), WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(question)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn question(name: &str) -> Result<Vec<u8>> {
    let mut packet = Packet::new_query(fastrand::u16(..));
    packet.questions.push(Question::new(
        Name::new(name)?,
        TYPE::A.into(),
        CLASS::IN.into(),
        false,
    ));
    Ok(packet.build_bytes_vec()?)
}

fn read_answer(message: &[u8]) -> Result<IpAddr> {
    let packet = Packet::parse(message).context("no DNS message")?;
    let code = packet.rcode();
    ensure!(
        code == RCODE::NoError,
        "the name does not resolve: {code:?}"
    );
    let addresses = packet
        .answers
        .iter()
        .filter_map(|record| match &record.rdata {
            RData::A(a) => Some(IpAddr::from(a.address.to_be_bytes())),
            _ => None,
        });
    addresses.into_iter().next().context("no A record")
}

/// Whether `name` is resolved by `server`, over UDP and over TCP, in the namespace of the
/// calling thread.
pub fn resolves(server: IpAddr, name: &str) -> Result<[bool; 2]> {
    let ask = |tcp| lookup(server, 53, name, tcp).map(|found| found != Lookup::Silence);
    Ok([ask(false)?, ask(true)?])
}

/// Where `CoreDNS` is built to.
pub fn program(controlplane: &Path) -> Result<PathBuf> {
    let path = controlplane.join("coredns");
    ensure!(
        path.is_file(),
        "{} is missing: run `make controlplane`",
        path.display()
    );
    Ok(path)
}
