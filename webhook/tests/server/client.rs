//! A small HTTP/1.1 client over TLS that can also misbehave.

use crate::certificates::{Ca, Pair};
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub type Tls = TlsStream<TcpStream>;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `response` of the `AdmissionReview` that it is.
    pub fn response(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        let review: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(review["kind"], "AdmissionReview");
        review["response"].clone()
    }

    pub fn closes(&self) -> bool {
        self.head.to_lowercase().contains("connection: close")
    }
}

/// What a client trusts and who it is.
pub fn trust(ca: &Ca, identity: Option<&Pair>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = CertificateDer::pem_slice_iter(pair.cert.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            let chain = chain.collect::<Result<_, _>>().unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

pub async fn connect(address: SocketAddr, trust: &Arc<ClientConfig>) -> io::Result<Tls> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::clone(trust))
        .connect(name, tcp)
        .await
}

pub async fn send(tls: &mut Tls, path: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut request = head.into_bytes();
    request.extend_from_slice(body);
    tls.write_all(&request).await?;
    tls.flush().await
}

pub async fn receive(tls: &mut Tls) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if tls.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let status = head[9..12].parse().unwrap();
    let lower = head.to_lowercase();
    let length = lower.split("content-length: ").nth(1).unwrap();
    let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
    let mut body = bytes.split_off(head_end);
    while body.len() < length {
        if tls.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Answer { status, head, body })
}

/// One request on a connection of its own.
pub async fn post(
    address: SocketAddr,
    trust: &Arc<ClientConfig>,
    path: &str,
    body: &[u8],
) -> io::Result<Answer> {
    let mut tls = connect(address, trust).await?;
    // A server that refuses a body may do so before all of it was sent.
    let sent = send(&mut tls, path, body).await;
    match receive(&mut tls).await {
        Ok(answer) => Ok(answer),
        Err(error) => sent.and(Err(error)),
    }
}
