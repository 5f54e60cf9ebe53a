//! New flows all the time while something changes: what must never pass, what must
//! always pass.

use crate::case::Stage;
use crate::fabric::Netns;
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two new flows of a pair.
const PACE: Duration = Duration::from_millis(1);
/// Sockets kept open for late answers.
const KEPT: usize = 500;
/// How long an answer to what is always allowed may take.
const ANSWER: Duration = Duration::from_secs(5);

/// What holds at every moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Always {
    /// No answer ever arrives.
    Denied,
    /// Every answer arrives.
    Allowed,
}

/// Threads in the namespaces of pods that keep asking.
pub struct Watch {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<u64>>>,
}

struct Pair {
    title: String,
    netns: Netns,
    source: IpAddr,
    target: SocketAddr,
}

impl Watch {
    /// Starts asking UDP port 80 of the second of each pair from the first, IPv4 and IPv6.
    pub fn start(stage: &Stage, pairs: &[(&str, &str, Always)]) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (from, to, always) in pairs {
            let (client, server) = (stage.world()?.host(from)?, stage.world()?.host(to)?);
            for target in &server.addresses {
                let Some(source) = client.address_like(*target) else {
                    continue;
                };
                let pair = Pair {
                    title: format!("{from} -> {to} ({target})"),
                    netns: client.netns.clone(),
                    source,
                    target: SocketAddr::new(*target, 80),
                };
                let (stop, always) = (Arc::clone(&stop), *always);
                threads.push(std::thread::spawn(move || match always {
                    Always::Denied => pair.never(&stop),
                    Always::Allowed => pair.always(&stop),
                }));
            }
        }
        Ok(Self { stop, threads })
    }

    /// Stops asking. Says how many flows were tried.
    ///
    /// # Errors
    /// When something held not always, or nothing was tried.
    pub fn finish(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut tried = 0;
        for thread in self.threads.drain(..) {
            tried += thread
                .join()
                .map_err(|_| anyhow!("a watching thread panicked"))??;
        }
        ensure!(tried > 0, "nothing was watched");
        Ok(tried)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Pair {
    fn ask(&self) -> Result<Option<UdpSocket>> {
        let socket = UdpSocket::bind((self.source, 0)).with_context(|| self.title.clone())?;
        socket.connect(self.target)?;
        match socket.send(b"ring watch") {
            Ok(_) => Ok(Some(socket)),
            // A local refusal is a refusal.
            Err(error) if is_refusal(error.kind()) => Ok(None),
            Err(error) => Err(error).with_context(|| self.title.clone()),
        }
    }

    fn never(&self, stop: &AtomicBool) -> Result<u64> {
        self.netns.enter()?;
        let (mut tried, mut open) = (0, VecDeque::new());
        while !stop.load(Ordering::Relaxed) {
            open.extend(self.ask()?);
            tried += 1;
            if open.len() > KEPT
                && let Some(oldest) = open.pop_front()
            {
                self.is_silent(&oldest, tried)?;
            }
            std::thread::sleep(PACE);
        }
        // What was asked last may be answered a moment later.
        std::thread::sleep(Duration::from_millis(50));
        open.iter()
            .try_for_each(|socket| self.is_silent(socket, tried))?;
        Ok(tried)
    }

    fn is_silent(&self, socket: &UdpSocket, tried: u64) -> Result<()> {
        socket.set_nonblocking(true)?;
        // The first call may only tell of an ICMP error.
        for _ in 0..2 {
            match socket.recv(&mut [0; 64]) {
                Ok(_) => bail!(
                    "{}: answered, which every state denies (within {tried} flows)",
                    self.title
                ),
                Err(error) if is_refusal(error.kind()) || error.kind() == ErrorKind::WouldBlock => {
                }
                Err(error) => return Err(error).with_context(|| self.title.clone()),
            }
        }
        Ok(())
    }

    fn always(&self, stop: &AtomicBool) -> Result<u64> {
        self.netns.enter()?;
        let mut tried = 0;
        while !stop.load(Ordering::Relaxed) {
            tried += 1;
            let refused = || {
                format!(
                    "{}: refused, which every state allows (flow {tried})",
                    self.title
                )
            };
            let socket = self.ask()?.with_context(refused)?;
            socket.set_read_timeout(Some(ANSWER))?;
            socket.recv(&mut [0; 64]).with_context(refused)?;
            std::thread::sleep(PACE);
        }
        Ok(tried)
    }
}

fn is_refusal(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::PermissionDenied
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    )
}
