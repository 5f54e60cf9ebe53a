//! The running agent: a thread for the kernel, everything else beside it.
//!
//! ```text
//!  main thread (tokio)                         kernel thread
//!   source --event, received at--> queue -->   Engine: take, tick    (blocks in the kernel)
//!   health server <-- Status, Metrics --       |
//!   signals ------- stop ------------------>   |
//! ```
//!
//! The kernel thread may wait for the xtables lock; probes are answered meanwhile.

mod clock;
mod driver;
mod engine;
mod entries;
mod error;
mod flows;
mod judge;
mod keep;
mod node;
mod removal;
mod report;
mod watch;

pub use driver::Driver;
pub use engine::{Engine, KINDS, Opener};
pub use entries::Held;
pub use error::DriveError;
pub use flows::clear_mark;

use self::removal::Removal;
use crate::cleanup::{self, Removed};
use crate::config::{CommonSettings, Settings};
use crate::events::{Notice, Notices, post};
use crate::health::{self, Health, Question, Status};
use crate::metrics::Metrics;
use crate::system::{self, Kernel, LinuxKernel};
use anyhow::Context;
use ringfence_cluster::{Event, Feed, Folder, Kubernetes, Origin};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// Events between the source and the kernel thread; the source waits when it is full.
const QUEUE: usize = 256;
/// How long the kernel thread is given at the end. Rules stay, so that it is cut off in
/// the middle does no harm.
const GRACE: Duration = Duration::from_millis(1500);
/// And when it has to have ended, because the rules are taken away after it.
const GRACE_OF_REMOVAL: Duration = Duration::from_secs(8);
/// The namespace of objects in a folder that name none, as with kubectl.
const DEFAULT_NAMESPACE: &str = "default";

/// Runs until a signal, or until something makes it senseless to go on.
///
/// # Errors
/// The lists were not complete in time; a port is taken; the kubeconfig is unusable.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(supervise(settings));
    // Whatever still waits for a socket or a disk is not worth waiting for.
    runtime.shutdown_background();
    result
}

/// The kernel of this node, opened when it is first needed.
pub fn opener(settings: &CommonSettings) -> Opener {
    let options = system::Options {
        flavour: settings.flavour,
        ..system::Options::default()
    };
    Box::new(move || Ok(Arc::new(LinuxKernel::open(options.clone())?) as Arc<dyn Kernel>))
}

async fn supervise(settings: Settings) -> anyhow::Result<()> {
    let mut stop = StopSignals::new()?;
    let status = Arc::new(Status::default());
    let metrics = Arc::new(Metrics::default());
    let (questions, asked) = mpsc::channel(4);
    let health = Health {
        status: Arc::clone(&status),
        metrics: Arc::clone(&metrics),
        questions,
    };
    if let Some(address) = settings.health {
        let router = health.clone().router(settings.metrics_on_health);
        health::serve(address, "--health-port", router).await?;
    }
    if let Some(address) = settings.metrics {
        health::serve(address, "--metrics-port", health.metrics_router()).await?;
    }

    // The kernel thread first: it restores the last program before any source answers,
    // and even when none can be started.
    let (events, queue) = mpsc::channel(QUEUE);
    let (ended, mut end) = oneshot::channel();
    let (halt, halted) = oneshot::channel();
    let (notices, posts) = match settings.origin {
        Origin::Folder(_) => (Notices::to_nowhere(Arc::clone(&metrics)), None),
        Origin::Kubernetes => {
            let (notices, posts) = Notices::to_channel(Arc::clone(&metrics));
            (notices, Some(posts))
        }
    };
    let engine = Engine::new(
        settings.clone(),
        opener(&settings.common),
        status,
        Arc::clone(&metrics),
        notices,
        Instant::now(),
    );
    std::thread::Builder::new()
        .name("kernel".to_owned())
        .spawn(move || {
            // The receiver is gone only when the process is ending anyway.
            let _ = ended.send(drive(engine, queue, asked, halted));
        })
        .context("cannot start the kernel thread")?;

    let removal = OnceLock::new();
    let forward = forward(&settings, &removal, events, posts, metrics);
    let (result, signal) = tokio::select! {
        name = stop.received() => (Ok(()), Some(name)),
        result = &mut end => return result.context("the kernel thread panicked")?,
        result = forward => (result, None),
    };
    // Meanwhile the kernel thread keeps the rules.
    let is_final = match (signal, removal.get()) {
        (Some("SIGTERM"), Some(removal)) => removal.is_final().await,
        _ => false,
    };
    drop(halt);
    let grace = if is_final { GRACE_OF_REMOVAL } else { GRACE };
    let Ok(ended) = tokio::time::timeout(grace, end).await else {
        tracing::info!("the kernel is still busy; leaving it, rules stay");
        return result;
    };
    let result = result.and(ended.context("the kernel thread panicked")?);
    if is_final {
        return result.and(take_away(settings.common).await);
    }
    tracing::info!(signal, "stopped; rules stay");
    result
}

/// Removes everything of ours from this node.
async fn take_away(settings: CommonSettings) -> anyhow::Result<()> {
    let work = tokio::task::spawn_blocking(move || cleanup::run(&settings));
    let removed = work.await.context("removing the rules panicked")?;
    let Removed {
        rules,
        sets,
        flows,
        kept,
    } = removed.context("cannot remove the rules; apply manifests/cleanup")?;
    let kept = kept.join(", ");
    tracing::info!(
        rules,
        sets,
        flows,
        kept,
        "removed for good; rules are taken away"
    );
    Ok(())
}

/// Starts the source and stamps its events with the time of their receipt. Ends only when
/// the source cannot be started.
async fn forward(
    settings: &Settings,
    removal: &OnceLock<Removal>,
    events: mpsc::Sender<(Instant, Event)>,
    posts: Option<mpsc::Receiver<Notice>>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<()> {
    let mut feed = match &settings.origin {
        Origin::Folder(path) => Feed::folder(Folder::new(path, DEFAULT_NAMESPACE)),
        Origin::Kubernetes => {
            let kubernetes = Kubernetes::new(settings.kubeconfig.as_deref()).await?;
            let feed = Feed::kubernetes(&kubernetes, KINDS);
            if let Some(owner) = &settings.daemon_set {
                removal.get_or_init(|| Removal::watch(kubernetes.client(), owner.clone()));
            }
            if let Some(posts) = posts {
                let client = kubernetes.client().clone();
                tokio::spawn(post(client, Arc::clone(&settings.node), posts, metrics));
            }
            feed
        }
    };
    while let Some(event) = feed.next().await {
        if events.send((Instant::now(), event)).await.is_err() {
            break;
        }
    }
    // The kernel thread has ended: its own result says why.
    std::future::pending().await
}

/// The kernel thread: waits for events, questions and the clock.
fn drive(
    mut engine: Engine,
    mut events: mpsc::Receiver<(Instant, Event)>,
    mut questions: mpsc::Receiver<Question>,
    mut halted: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .context("cannot start the kernel thread's timers")?;
    runtime.block_on(async {
        loop {
            engine.tick(Instant::now())?;
            tokio::select! {
                biased;
                _ = &mut halted => break,
                Some(question) = questions.recv() => {
                    // Whoever asked may have gone away.
                    let _ = question.send(engine.describe());
                }
                Some((at, event)) = events.recv() => {
                    engine.take(event, at);
                    while let Ok((at, event)) = events.try_recv() {
                        engine.take(event, at);
                    }
                }
                () = tokio::time::sleep_until(engine.deadline().into()) => {}
            }
        }
        engine.finish();
        Ok(())
    })
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

// === impl StopSignals ===

impl StopSignals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot handle SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot handle SIGINT")?,
        })
    }

    async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
