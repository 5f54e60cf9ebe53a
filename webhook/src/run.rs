//! The wiring: starts everything, waits for the end, and ends in order.

use crate::cache::{self, Published};
use crate::config::Settings;
use crate::configuration;
use crate::files::{Files, Look, Told};
use crate::health::Health;
use crate::metrics::{Loaded, Metrics};
use crate::server::{Server, router, runtime};
use crate::service::{Known, Service};
use crate::status::{Concern, Status};
use crate::tls::Pair;
use anyhow::Context;
use axum_server::tls_rustls::RustlsConfig;
use jiff::Timestamp;
use ringfence_checks::Config;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

/// Until a first certificate is there, it is looked for so often.
const FIRST_CERTIFICATE: Duration = Duration::from_millis(200);
/// How often the certificate's time is looked at.
const CLOCK: Duration = Duration::from_mins(1);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What it cannot start with, or cannot go on without.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    runtime(settings.threads)
        .context("cannot start threads")?
        .block_on(serve(settings))
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let (status, metrics) = (Arc::new(Status::default()), Arc::new(Metrics::default()));
    let mut term = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    status.raise(Concern::NoCertificate, "waiting for a certificate");
    let config = follow_configuration(&settings, &status, &metrics)?;
    let source = settings.source.clone();
    let (published, mut ended) = cache::start(source, Arc::clone(&status), Arc::clone(&metrics))?;
    let Published {
        index,
        facts,
        fences,
    } = published;
    serve_health(settings.health, &status, &metrics).await?;
    let service = Service {
        known: Known {
            index,
            facts,
            config,
            fences,
        },
        metrics: Arc::clone(&metrics),
    };
    let start = async {
        let tls = follow_tls(&settings, &status, &metrics).await;
        let router = router(service, Arc::clone(&status));
        Server::start(settings.address, tls, router, Arc::clone(&metrics))
    };
    let server = tokio::select! {
        server = start => server?,
        error = &mut ended => return Err(why(error)),
        _ = term.recv() => return Ok(()),
        _ = int.recv() => return Ok(()),
    };
    status.settle(Concern::NoCertificate);
    tracing::info!(address = %server.address(), "serving");
    tokio::select! {
        error = &mut ended => return Err(why(error)),
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    // Endpoints change only after readiness has: whoever still comes is served, and asked
    // to come back elsewhere.
    status.raise(Concern::Draining, "ending");
    tracing::info!(drain = ?settings.drain, "ending; served on until endpoints have changed");
    tokio::select! {
        () = tokio::time::sleep(settings.drain) => {}
        _ = int.recv() => {}
    }
    server.stop().await
}

fn why(ended: Result<anyhow::Error, oneshot::error::RecvError>) -> anyhow::Error {
    match ended {
        Ok(error) => error.context("the cluster's objects cannot be followed"),
        Err(_) => anyhow::anyhow!("the thread of the cache has ended"),
    }
}

/// The configuration, and from now on its changes.
fn follow_configuration(
    settings: &Settings,
    status: &Arc<Status>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<watch::Receiver<Arc<Config>>> {
    let Some(path) = &settings.config else {
        // It never changes: a receiver without sender keeps its value.
        return Ok(watch::channel(Arc::new(Config::default())).1);
    };
    let mut files = Files::new(vec![path.clone()]);
    let take = |contents: &[Vec<u8>]| configuration::read(&contents[0]);
    let config = loop {
        match files.look(take) {
            Look::New(config) => break config,
            Look::Broken(error) => return Err(error.context(path.display().to_string())),
            Look::Same | Look::Doubtful => {}
        }
    };
    let (sender, receiver) = watch::channel(Arc::new(config));
    let told = Told {
        concern: Concern::Configuration,
        what: Loaded::Configuration,
        status: Arc::clone(status),
        metrics: Arc::clone(metrics),
    };
    let put = move |config| drop(sender.send_replace(Arc::new(config)));
    tokio::spawn(files.follow(settings.reload_period, told, take, put));
    Ok(receiver)
}

fn pair(contents: &[Vec<u8>]) -> anyhow::Result<Pair> {
    Pair::read(
        &contents[0],
        &contents[1],
        contents.get(2).map(Vec::as_slice),
    )
}

/// The first certificate, once there is one, and from then on its changes: connections
/// that are open keep theirs, new ones get the new one.
async fn follow_tls(
    settings: &Settings,
    status: &Arc<Status>,
    metrics: &Arc<Metrics>,
) -> RustlsConfig {
    let mut files = Files::new(settings.tls.clone());
    let first = loop {
        match files.look(pair) {
            Look::New(pair) => break pair,
            Look::Broken(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "no certificate to serve with; waiting for one");
                status.raise(Concern::NoCertificate, format!("no certificate: {error}"));
            }
            Look::Same | Look::Doubtful => {}
        }
        tokio::time::sleep(FIRST_CERTIFICATE).await;
    };
    let tls = RustlsConfig::from_config(Arc::clone(&first.config));
    metrics.certificate_expiry.set(first.not_after);
    let (sender, receiver) = watch::channel(first);
    let told = Told {
        concern: Concern::Certificate,
        what: Loaded::Tls,
        status: Arc::clone(status),
        metrics: Arc::clone(metrics),
    };
    let put = {
        let (tls, metrics) = (tls.clone(), Arc::clone(metrics));
        move |pair: Pair| {
            tls.reload_from_config(Arc::clone(&pair.config));
            metrics.certificate_expiry.set(pair.not_after);
            drop(sender.send_replace(pair));
        }
    };
    tokio::spawn(files.follow(settings.reload_period, told, pair, put));
    tokio::spawn(watch_time(receiver, Arc::clone(status)));
    tls
}

/// Says when the certificate is out of its time.
async fn watch_time(mut pair: watch::Receiver<Pair>, status: Arc<Status>) {
    loop {
        let untimely = pair
            .borrow_and_update()
            .untimely(Timestamp::now().as_second());
        match untimely {
            Some(text) => {
                if status.raise(Concern::Expired, text) {
                    tracing::error!(text, "the certificate is out of its time");
                }
            }
            None => drop(status.settle(Concern::Expired)),
        }
        tokio::select! {
            changed = pair.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(CLOCK) => {}
        }
    }
}

async fn serve_health(
    address: SocketAddr,
    status: &Arc<Status>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: choose another --health-port or --bind-address")
    })?;
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    let health = Health {
        status: Arc::clone(status),
        metrics: Arc::clone(metrics),
    };
    tracing::info!(%address, "serving health");
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, health.router()).await {
            tracing::error!(%error, "the health server ended");
        }
    });
    Ok(())
}
