//! A webhook that says yes, notes who called, and answers probes. It serves what the
//! Secret holds at that moment, as a kubelet and the webhook's reload would have it.

use anyhow::{Context, Result};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::Listener;
use axum::{Json, Router};
use k8s_openapi::api::core::v1::Secret;
use ringfence_controller::rotation::Contents;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

#[derive(Clone, Default)]
pub struct Hook(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    tls: Option<Arc<ServerConfig>>,
    down: bool,
    calls: Vec<String>,
}

impl Hook {
    /// Serves on a listener that is there already.
    pub fn serve(&self, listener: TcpListener) {
        let router = Router::new()
            .route("/{hook}", post(answer))
            .with_state(self.clone());
        let tls = Tls {
            listener,
            hook: self.clone(),
        };
        tokio::spawn(async move { axum::serve(tls, router).await });
    }

    /// Serves this Secret from now on.
    pub fn load(&self, secret: &Secret) -> Result<()> {
        let pair = Contents::read(secret)?.current;
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(pair.key.pem().as_bytes())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain.collect::<Result<_, _>>()?, key)?;
        self.0.lock().unwrap().tls = Some(Arc::new(config));
        Ok(())
    }

    /// While down, every call fails.
    pub fn set_down(&self, down: bool) {
        self.0.lock().unwrap().down = down;
    }

    /// Who has called since the last time, probes left out.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }
}

async fn answer(
    State(hook): State<Hook>,
    Path(path): Path<String>,
    Json(review): Json<Value>,
) -> Response {
    let mut inner = hook.0.lock().unwrap();
    if inner.down {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let request = &review["request"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nonce = text(&request["object"]["metadata"]["annotations"]["probe.ringfence.dev/nonce"]);
    let mut response = json!({"uid": request["uid"], "allowed": true});
    if request["dryRun"] == true && !nonce.is_empty() {
        response["warnings"] = json!([format!("ringfence-probe {path} {nonce}")]);
    } else {
        let (operation, kind) = (text(&request["operation"]), text(&request["kind"]["kind"]));
        inner.calls.push(format!(
            "{path} {operation} {kind} {}",
            text(&request["name"])
        ));
    }
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response,
    });
    // Each call begins with a handshake: with the certificate of the moment.
    ([(header::CONNECTION, "close")], Json(review)).into_response()
}

struct Tls {
    listener: TcpListener,
    hook: Hook,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else {
                continue;
            };
            let tls = self.hook.0.lock().unwrap().tls.clone();
            let Some(tls) = tls else { continue };
            let handshake = TlsAcceptor::from(tls).accept(stream);
            let handshake = tokio::time::timeout(Duration::from_secs(5), handshake);
            if let Ok(Ok(stream)) = handshake.await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Keeps what is served in step with the Secret, until it is dropped.
pub async fn follow(hook: Hook, secrets: kube::Api<Secret>, name: &str) -> Result<()> {
    use futures::StreamExt;
    let mut secrets = std::pin::pin!(kube::runtime::watcher::watch_object(secrets, name));
    while let Some(secret) = secrets.next().await {
        if let Some(secret) = secret? {
            hook.load(&secret).context("the Secret cannot be served")?;
        }
    }
    Ok(())
}
