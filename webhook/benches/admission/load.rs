//! Clients with kept connections, at a pace or as fast as they are answered.

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whom to ask.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub path: &'static str,
    pub trust: Arc<ClientConfig>,
}

/// How long the answers took, sorted.
pub struct Load {
    times: Vec<Duration>,
    all: Duration,
}

/// Nearly as many connections as an API server keeps open: 25.
const CONNECTIONS: u32 = 20;

struct Client {
    tls: TlsStream<TcpStream>,
    request: Arc<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Target {
    fn request(&self, body: &[u8]) -> Arc<Vec<u8>> {
        let (path, length) = (self.path, body.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        Arc::new([head.as_bytes(), body].concat())
    }

    async fn client(&self, request: &Arc<Vec<u8>>) -> Client {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::clone(&self.trust));
        Client {
            tls: connector.connect(name, tcp).await.unwrap(),
            request: Arc::clone(request),
            buffer: Vec::new(),
        }
    }
}

impl Client {
    /// One request; its status.
    async fn ask(&mut self) -> u16 {
        self.tls.write_all(&self.request).await.unwrap();
        self.tls.flush().await.unwrap();
        self.buffer.clear();
        let end = loop {
            assert!(
                self.tls.read_buf(&mut self.buffer).await.unwrap() > 0,
                "no answer"
            );
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = std::str::from_utf8(&self.buffer[..end])
            .unwrap()
            .to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap();
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        while self.buffer.len() < end + length {
            assert!(
                self.tls.read_buf(&mut self.buffer).await.unwrap() > 0,
                "half an answer"
            );
        }
        head[9..12].parse().unwrap()
    }
}

impl Load {
    /// `rate` requests a second. A time counts from when the request was due, so that a
    /// server that stalls does not slow its own measuring down.
    pub async fn paced(target: &Target, body: &[u8], rate: u32, time: Duration) -> Self {
        let request = target.request(body);
        let mut clients = JoinSet::new();
        let start = Instant::now() + Duration::from_millis(500);
        let step = Duration::from_secs(1) * CONNECTIONS / rate;
        for number in 0..CONNECTIONS {
            let mut client = target.client(&request).await;
            let mut due = start + step * number / CONNECTIONS;
            clients.spawn(async move {
                let mut times = Vec::new();
                while due < start + time {
                    sleep_until(due).await;
                    assert_eq!(client.ask().await, 200);
                    times.push(due.elapsed());
                    due += step;
                }
                times
            });
        }
        Self::gather(clients, time).await
    }

    /// As fast as they are answered.
    pub async fn closed(target: &Target, body: &[u8], time: Duration) -> Self {
        let request = target.request(body);
        let mut clients = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let mut client = target.client(&request).await;
            clients.spawn(async move {
                let start = Instant::now();
                let mut times = Vec::new();
                while start.elapsed() < time {
                    let from = Instant::now();
                    assert_eq!(client.ask().await, 200);
                    times.push(from.elapsed());
                }
                times
            });
        }
        Self::gather(clients, time).await
    }

    /// `count` requests at once; how many got which status.
    pub async fn burst(target: &Target, body: &[u8], count: usize) -> BTreeMap<u16, usize> {
        let request = target.request(body);
        let mut clients = JoinSet::new();
        for _ in 0..count {
            let mut client = target.client(&request).await;
            clients.spawn(async move { client.ask().await });
        }
        let mut answers = BTreeMap::new();
        while let Some(status) = clients.join_next().await {
            // A server that refuses a body closes before all of it was sent.
            *answers.entry(status.unwrap_or(0)).or_default() += 1;
        }
        answers
    }

    async fn gather(mut clients: JoinSet<Vec<Duration>>, all: Duration) -> Self {
        let mut times = Vec::new();
        while let Some(client) = clients.join_next().await {
            times.extend(client.unwrap());
        }
        times.sort();
        Self { times, all }
    }

    pub fn percentile(&self, share: f64) -> Duration {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let at = (share * (self.times.len() - 1) as f64).round() as usize;
        self.times[at]
    }

    pub fn requests(&self) -> usize {
        self.times.len()
    }

    /// Answers a second.
    pub fn rate(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let requests = self.times.len() as f64;
        requests / self.all.as_secs_f64()
    }
}
