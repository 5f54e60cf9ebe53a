//! A connection that says nothing, or too little, is given up.
//!
//! hyper has one timeout from the wish for a request to its head, which includes the time
//! between requests: long enough for a kept connection it is far too long for a client
//! that sends a byte a second. Here the two are apart.

use axum_server::accept::Accept;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::metrics::Metrics;

/// Open connections. An API server keeps at most 25 idle ones.
const MOST_CONNECTIONS: usize = 512;

/// How long a connection may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between requests. Longer than the API server's own 90 s, so that it is the client
    /// who closes: a request that meets a closing server would fail.
    pub idle: Duration,
    /// From the first byte of a request to the first byte of its answer, and the same for
    /// a handshake.
    pub busy: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            idle: Duration::from_mins(2),
            busy: Duration::from_secs(5),
        }
    }
}

/// Takes connections in, up to a number.
#[derive(Clone, Debug)]
pub struct Door {
    patience: Patience,
    places: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

// === impl Door ===

impl Door {
    /// A door with room for the usual number of connections.
    pub fn new(patience: Patience, metrics: Arc<Metrics>) -> Self {
        Self {
            patience,
            places: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            metrics,
        }
    }

    fn admit(&self, stream: TcpStream) -> io::Result<Patient<TcpStream>> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.metrics.connections_refused.inc();
            tracing::warn!(MOST_CONNECTIONS, "too many connections");
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        // Answers are small and must not wait for an acknowledgement.
        stream.set_nodelay(true)?;
        self.metrics.connections.inc();
        let place = Place {
            metrics: Arc::clone(&self.metrics),
            _permit: place,
        };
        Ok(Patient::new(stream, self.patience, Some(place)))
    }
}

impl<S> Accept<TcpStream, S> for Door {
    type Stream = Patient<TcpStream>;
    type Service = S;
    type Future = std::future::Ready<io::Result<(Self::Stream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        std::future::ready(self.admit(stream).map(|stream| (stream, service)))
    }
}

/// A connection's place, given back when it ends.
#[derive(Debug)]
struct Place {
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

/// A stream with deadlines.
#[derive(Debug)]
pub struct Patient<S> {
    stream: S,
    patience: Patience,
    /// Something of a request has come, and nothing of its answer has gone.
    busy: bool,
    until: Pin<Box<Sleep>>,
    _place: Option<Place>,
}

// === impl Patient ===

impl<S> Patient<S> {
    fn new(stream: S, patience: Patience, place: Option<Place>) -> Self {
        // The handshake begins with the client.
        let until = Box::pin(sleep_until(Instant::now() + patience.busy));
        Self {
            stream,
            patience,
            busy: true,
            until,
            _place: place,
        }
    }

    fn turn(&mut self, busy: bool) {
        // Pieces of a request, or of an answer, do not begin anew.
        if self.busy == busy && busy {
            return;
        }
        self.busy = busy;
        let patience = if busy {
            self.patience.busy
        } else {
            self.patience.idle
        };
        self.until.as_mut().reset(Instant::now() + patience);
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.until.as_mut().poll(cx).is_ready()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match polled {
            Poll::Ready(Ok(())) if buf.filled().len() > before => self.turn(true),
            Poll::Pending if self.is_over(cx) => {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            _ => {}
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.after_write(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.after_write(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S> Patient<S> {
    fn after_write(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Ok(_)) => self.turn(false),
            // A client that does not read its answer.
            Poll::Pending if self.is_over(cx) => {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            _ => {}
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const PATIENCE: Patience = Patience {
        idle: Duration::from_mins(2),
        busy: Duration::from_secs(5),
    };

    async fn silent_for(stream: &mut Patient<tokio::io::DuplexStream>) -> Duration {
        let from = Instant::now();
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        from.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_says_anything_is_given_up_soon() {
        let (_client, server) = duplex(64);
        let mut server = Patient::new(server, PATIENCE, None);
        assert_eq!(silent_for(&mut server).await, PATIENCE.busy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_a_second_does_not_make_a_request_longer() {
        let (mut client, server) = duplex(64);
        let mut server = Patient::new(server, PATIENCE, None);
        let from = Instant::now();
        let drip = tokio::spawn(async move {
            while client.write_u8(b'x').await.is_ok() {
                tokio::time::sleep(Duration::from_millis(900)).await;
            }
        });
        let mut all = Vec::new();
        let error = server.read_to_end(&mut all).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(from.elapsed() <= PATIENCE.busy + Duration::from_secs(1));
        drop(server);
        drip.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_there_is_time() {
        let (mut client, server) = duplex(64);
        let mut server = Patient::new(server, PATIENCE, None);
        client.write_u8(b'?').await.unwrap();
        server.read_u8().await.unwrap();
        server.write_u8(b'!').await.unwrap();
        assert_eq!(silent_for(&mut server).await, PATIENCE.idle);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_reads_ends_the_connection() {
        let (_client, server) = duplex(4);
        let mut server = Patient::new(server, PATIENCE, None);
        let error = server.write_all(&[b'x'; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
