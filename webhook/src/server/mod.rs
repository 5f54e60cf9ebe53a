//! The TLS server: connections, bodies, paths, and its orderly end.

mod body;
mod patience;
mod router;

pub use body::{LARGEST_BODY, SMALL_BODY};
pub use patience::{Door, Patience};
pub use router::router;

use crate::metrics::Metrics;
use anyhow::Context;
use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Connections that the kernel may keep for us.
const BACKLOG: u32 = 1024;
/// A TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// What is under way at the end of a drain.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    handle: Handle<SocketAddr>,
    task: JoinHandle<io::Result<()>>,
}

/// `threads` for connections, and as many that judge. Large bodies, two at a time, have
/// theirs beside them: they may take long, and take none from the small ones.
///
/// # Errors
/// The system has no threads for us.
pub fn runtime(threads: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(threads + router::HEAVY as usize)
        .enable_all()
        .build()
}

// === impl Server ===

impl Server {
    /// Listens on `address` and serves `router` over TLS. HTTP/1.1 only: that is what the
    /// API server speaks to a Service, and one request a connection at a time is what the
    /// bounds on bodies are made for.
    ///
    /// # Errors
    /// The address is taken, or not ours.
    pub fn start(
        address: SocketAddr,
        tls: RustlsConfig,
        router: Router,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let listener = listen(address).with_context(|| {
            format!("cannot listen on {address}: choose another --port or --bind-address")
        })?;
        let address = listener
            .local_addr()
            .context("the listener has no address")?;
        let handle = Handle::new();
        let door = Door::new(Patience::default(), metrics);
        let server = axum_server::from_tcp_rustls(listener, tls)
            .context("the listener cannot be used")?
            .map(|tls| tls.handshake_timeout(HANDSHAKE_TIMEOUT).acceptor(door))
            .handle(handle.clone())
            .http1_only();
        let task = tokio::spawn(server.serve(router.into_make_service()));
        Ok(Self {
            address,
            handle,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, waits for the answers that are under way, and ends.
    ///
    /// # Errors
    /// What ended it before.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.handle.graceful_shutdown(Some(LAST_ANSWERS));
        let served = self.task.await.context("the server was aborted")?;
        served.context("the server ended")
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}
