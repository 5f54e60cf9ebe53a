//! A long-lived flow, both of whose ends are ours.

use super::Transport;
use super::client::Shot;
use super::server::{Accepted, Net};
use anyhow::{Context, Result, bail};
use ringfence_policy::model::Protocol;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who opened it.
    Client,
    /// Who accepted it.
    Server,
}

impl Side {
    /// The far end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What became of something that one end said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// It reached the far end.
    Heard,
    /// It did not; the speaker was told so (RST, ICMP).
    Reset(String),
    /// It did not, and nothing was said.
    Silence,
}

enum Writer {
    Tcp(OwnedWriteHalf),
    Udp(Arc<UdpSocket>),
    UdpTo(Arc<UdpSocket>, SocketAddr),
}

impl Writer {
    async fn send(&mut self, message: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Tcp(half) => half.write_all(message).await,
            Self::Udp(socket) => socket.send(message).await.map(drop),
            Self::UdpTo(socket, peer) => socket.send_to(message, *peer).await.map(drop),
        }
    }
}

/// What one end has received, and why it is broken, if it is.
struct End {
    writer: tokio::sync::Mutex<Writer>,
    received: watch::Sender<u64>,
    broken: watch::Sender<Option<String>>,
}

impl End {
    fn new(writer: Writer) -> Arc<Self> {
        Arc::new(Self {
            writer: tokio::sync::Mutex::new(writer),
            received: watch::Sender::new(0),
            broken: watch::Sender::new(None),
        })
    }

    fn hear(&self, count: u64) {
        self.received.send_modify(|n| *n += count);
    }

    /// Keeps the first reason.
    fn fail(&self, reason: String) {
        self.broken.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(reason);
            first
        });
    }

    fn broken(&self) -> Option<String> {
        self.broken.borrow().clone()
    }

    /// Comes back when the end is broken.
    async fn breaks(&self) {
        // The sender is ours: it does not go away meanwhile.
        let _ = self.broken.subscribe().wait_for(Option::is_some).await;
    }

    async fn send(&self, message: &[u8]) {
        if let Err(error) = self.writer.lock().await.send(message).await {
            self.fail(error.to_string());
        }
    }
}

/// A TCP or UDP flow through which both ends keep talking until told to be still.
pub struct Stream {
    runtime: Handle,
    /// A refusal ends it for good; a UDP flow goes on after one.
    connected: bool,
    message: Arc<[u8]>,
    client: Arc<End>,
    server: Arc<End>,
    beating: Arc<AtomicBool>,
    beats: Mutex<Vec<JoinHandle<()>>>,
}

/// How often each end speaks while the flow is lively.
const BEAT: Duration = Duration::from_millis(20);

impl Stream {
    /// Opens a flow as `shot` describes it and sees both directions pass once.
    ///
    /// # Errors
    /// When it cannot be opened within the shot's patience: no flow, nothing to cut.
    pub fn open(net: &Net, shot: &Shot) -> Result<Self> {
        let raw = shot.netns.run(|| net.socket(shot))?;
        let stream = net
            .runtime
            .block_on(async { timeout(shot.patience, open(net, shot, raw)).await })
            .with_context(|| {
                format!(
                    "no {} flow to {} within {:?}",
                    shot.transport, shot.target, shot.patience
                )
            })??;
        for side in [Side::Client, Side::Server] {
            let hearing = stream.say(side, shot.patience);
            if hearing != Hearing::Heard {
                bail!(
                    "the new flow to {} does not carry what the {side:?} says: {hearing:?}",
                    shot.target
                );
            }
        }
        stream.beat();
        Ok(stream)
    }

    /// Both ends talk in the background, from now on.
    fn beat(&self) {
        self.beating.store(true, Ordering::Relaxed);
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        for end in [&self.client, &self.server] {
            let (end, message, beating) = (
                Arc::clone(end),
                Arc::clone(&self.message),
                Arc::clone(&self.beating),
            );
            beats.push(self.runtime.spawn(async move {
                while beating.load(Ordering::Relaxed) && end.broken().is_none() {
                    end.send(&message).await;
                    sleep(BEAT).await;
                }
            }));
        }
    }

    /// Both ends fall silent: the next to speak is whoever [`Self::say`] is called for.
    pub fn hush(&self) {
        self.beating.store(false, Ordering::Relaxed);
        let beats = std::mem::take(&mut *self.beats.lock().unwrap_or_else(PoisonError::into_inner));
        for beat in beats {
            // A beat that panicked speaks no more either.
            let _ = self.runtime.block_on(beat);
        }
    }

    /// Messages received so far by (client, server).
    pub fn received(&self) -> (u64, u64) {
        (
            *self.client.received.borrow(),
            *self.server.received.borrow(),
        )
    }

    /// Why an end is broken, if it is.
    pub fn broken(&self, side: Side) -> Option<String> {
        self.end(side).broken()
    }

    fn end(&self, side: Side) -> &Arc<End> {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// One end speaks. Waits at most `patience` for the far end to hear it; less when the
    /// speaker's connection is reset, after which nothing can be heard.
    pub fn say(&self, side: Side, patience: Duration) -> Hearing {
        let (speaker, hearer) = (self.end(side), self.end(side.other()));
        let mut received = hearer.received.subscribe();
        let before = *received.borrow_and_update();
        let heard = self.runtime.block_on(async {
            speaker.send(&self.message).await;
            let answer = async {
                tokio::select! {
                    biased;
                    heard = received.wait_for(|n| *n > before) => heard.is_ok(),
                    () = speaker.breaks(), if self.connected => false,
                }
            };
            timeout(patience, answer).await.unwrap_or(false)
        });
        match speaker.broken() {
            _ if heard => Hearing::Heard,
            Some(reason) => Hearing::Reset(reason),
            None => Hearing::Silence,
        }
    }

    /// Whether an end that has spoken learns within `patience` that its connection is gone.
    pub fn is_told(&self, side: Side, patience: Duration) -> bool {
        let end = self.end(side);
        self.runtime
            .block_on(async { timeout(patience, end.breaks()).await.is_ok() })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.beating.store(false, Ordering::Relaxed);
    }
}

async fn open(net: &Net, shot: &Shot, raw: socket2::Socket) -> Result<Stream> {
    let Transport::Port(protocol, port) = shot.transport else {
        bail!("a flow needs a port");
    };
    let id = fastrand::u64(..);
    let mut arrivals = net.await_flow(id);
    let target = SocketAddr::new(shot.target, port);
    let message: Arc<[u8]> = format!("flow {id} \n").into_bytes().into();
    let (client, server);
    if protocol == Protocol::Tcp {
        let mut stream = TcpSocket::from_std_stream(raw.into())
            .connect(target)
            .await?;
        stream.set_nodelay(true)?;
        stream.write_all(&message).await?;
        let Some(Accepted::Tcp(accepted)) = arrivals.recv().await else {
            bail!("the server's end of the flow went to somebody else");
        };
        accepted.set_nodelay(true)?;
        let (client_in, client_out) = stream.into_split();
        let (server_in, server_out) = accepted.into_split();
        client = End::new(Writer::Tcp(client_out));
        server = End::new(Writer::Tcp(server_out));
        tokio::spawn(listen_tcp(client_in, Arc::clone(&client)));
        tokio::spawn(listen_tcp(server_in, Arc::clone(&server)));
    } else {
        let socket = Arc::new(UdpSocket::from_std(raw.into())?);
        socket.connect(target).await?;
        socket.send(&message).await?;
        let Some(Accepted::Udp(accepted, peer)) = arrivals.recv().await else {
            bail!("the server's end of the flow went to somebody else");
        };
        client = End::new(Writer::Udp(Arc::clone(&socket)));
        server = End::new(Writer::UdpTo(accepted, peer));
        tokio::spawn(listen_udp(socket, Arc::clone(&client)));
        tokio::spawn(listen_datagrams(arrivals, Arc::clone(&server)));
    }
    Ok(Stream {
        runtime: net.runtime.handle().clone(),
        connected: protocol == Protocol::Tcp,
        message,
        client,
        server,
        beating: Arc::default(),
        beats: Mutex::default(),
    })
}

async fn listen_tcp(mut half: OwnedReadHalf, end: Arc<End>) {
    let mut buffer = [0; 1024];
    loop {
        match half.read(&mut buffer).await {
            Ok(0) => return end.fail("closed by the far end".into()),
            Ok(length) => end.hear(buffer[..length].split(|b| *b == b'\n').count() as u64 - 1),
            Err(error) => return end.fail(error.to_string()),
        }
    }
}

async fn listen_udp(socket: Arc<UdpSocket>, end: Arc<End>) {
    let mut buffer = [0; 256];
    // As long as anyone else holds the socket; an ICMP error does not end a UDP flow.
    while Arc::strong_count(&socket) > 1 {
        match socket.recv(&mut buffer).await {
            Ok(_) => end.hear(1),
            Err(error) => end.fail(error.to_string()),
        }
    }
}

async fn listen_datagrams(mut arrivals: mpsc::UnboundedReceiver<Accepted>, end: Arc<End>) {
    while arrivals.recv().await.is_some() {
        end.hear(1);
    }
}
