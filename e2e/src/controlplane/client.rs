//! A Kubernetes client whose connections are made inside a network namespace, so that
//! the harness itself can stay where it is.

use crate::fabric::Netns;
use anyhow::{Context as _, Result};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::ConfigExt;
use kube::{Client, Config};
use std::future::Future;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{BoxError, Service, ServiceBuilder};

/// Long enough for a busy machine; a connection inside the machine takes microseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to one address from inside a namespace, whatever the request's host.
#[derive(Clone, Debug)]
struct Inside {
    netns: Netns,
    address: SocketAddr,
}

impl Service<http::Uri> for Inside {
    type Response = TokioIo<tokio::net::TcpStream>;
    type Error = anyhow::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let Self { netns, address } = self.clone();
        Box::pin(async move {
            let connect = move || {
                netns.run(|| {
                    let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)
                        .with_context(|| format!("connecting to {address}"))?;
                    stream.set_nodelay(true)?;
                    stream.set_nonblocking(true)?;
                    Ok(stream)
                })
            };
            let stream = tokio::task::spawn_blocking(connect)
                .await
                .context("connecting")??;
            Ok(TokioIo::new(tokio::net::TcpStream::from_std(stream)?))
        })
    }
}

/// A client for the API server at `address`, reached from inside `netns`.
///
/// `ca` is the authority's certificate in DER. Each concurrent request gets a connection of its own.
pub fn connect(netns: &Netns, address: SocketAddr, ca: &[u8], token: &str) -> Result<Client> {
    let uri = format!("https://{address}")
        .parse()
        .context("the API server's address")?;
    let mut config = Config::new(uri);
    config.root_cert = Some(vec![ca.to_vec()]);
    config.auth_info.token = Some(token.to_owned().into());
    let connector = config
        .rustls_https_connector_with_connector(Inside {
            netns: netns.clone(),
            address,
        })
        .context("preparing TLS")?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().context("preparing the token")?)
        .map_err(BoxError::from)
        .service(HttpClient::builder(TokioExecutor::new()).build(connector));
    Ok(Client::new(service, config.default_namespace))
}
