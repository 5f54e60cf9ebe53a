//! Listing and watching one kind.

use super::Kubernetes;
use super::failure::Failure;
use super::position::{self, Outcome, Position, Request};
use super::wire::{self, Frame, Named, Page};
use crate::{Event, decode};
use futures::AsyncBufRead;
use kube::api::{ListParams, WatchParams};
use kube::core::{Request as Ask, Status};
use ringfence_policy::snapshot::Kind;
use serde_json::value::RawValue;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Objects per page of a list: some megabytes of JSON at a time.
const PAGE: u32 = 500;
/// The server ends a watch after this many seconds, spread by as much again in tenths.
const WATCH_SECONDS: u32 = 240;
/// A streaming list that has said nothing for this long comes from a server that does not
/// know the parameter and will never say that the list is through.
const LIST_SILENCE: Duration = Duration::from_secs(10);

/// One request's view of the kind.
struct Round<'a> {
    kubernetes: &'a Kubernetes,
    kind: Kind,
    events: &'a mpsc::Sender<Event>,
    position: &'a mut Position,
}

/// The consumer is gone, or the request has failed.
enum Stop {
    Closed,
    Failure(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Lists and watches until the consumer is gone.
pub(super) async fn run(kubernetes: &Kubernetes, kind: Kind, events: &mpsc::Sender<Event>) {
    let mut position = Position::default();
    loop {
        let mut round = Round {
            kubernetes,
            kind,
            events,
            position: &mut position,
        };
        let failure = match round.run().await {
            Ok(()) => continue,
            Err(Stop::Closed) => return,
            Err(Stop::Failure(failure)) => failure,
        };
        let delay = position.after(failure.outcome, &kubernetes.pace, fastrand::f64());
        if let Some(reason) = failure.reason {
            tracing::warn!(kind = kind.as_str(), %reason, ?delay, "cannot read from the API server");
            if events
                .send(Event::Unavailable { kind, reason })
                .await
                .is_err()
            {
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = events.closed() => return,
        }
    }
}

// === impl Round ===

impl Round<'_> {
    /// One request, or one list. `Ok` after a complete paged list.
    async fn run(&mut self) -> Result<(), Stop> {
        match self.position.request() {
            Request::PagedList => self.paged_list().await,
            Request::StreamingList => self.watch("", true).await,
            Request::Watch(version) => self.watch(&version, false).await,
        }
    }

    async fn paged_list(&mut self) -> Result<(), Stop> {
        self.send(Event::ListStarted(self.kind)).await?;
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let ask = Ask::new(position::path(self.kind)).list(&params);
            let stream = std::pin::pin!(self.open(ask, false).await?);
            let read = timeout(self.kubernetes.pace.silence, wire::read_body(stream)).await;
            let body = match read {
                Ok(body) => body.map_err(|error| self.broken(&error))?,
                Err(_) => return Err(self.garbage(&"a list that never ends").into()),
            };
            let page: Page = serde_json::from_slice(&body).map_err(|error| self.garbage(&error))?;
            for item in page.items.unwrap_or_default() {
                self.apply(item).await?;
            }
            params.continue_token = page.metadata.next.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                let version = page.metadata.resource_version;
                self.position.alive();
                self.position.version = Some(version.clone());
                return self.list_done(version).await;
            }
        }
    }

    /// Watches from a version on; with `listing`, everything comes first.
    async fn watch(&mut self, version: &str, mut listing: bool) -> Result<(), Stop> {
        let streaming = listing;
        let seconds = WATCH_SECONDS + fastrand::u32(0..WATCH_SECONDS / 5);
        let mut params = WatchParams::default().timeout(seconds);
        params.bookmarks = true;
        params.send_initial_events = listing;
        let ask = Ask::new(position::path(self.kind)).watch(&params, version);
        let mut stream = std::pin::pin!(self.open(ask, streaming).await?);
        if listing {
            self.send(Event::ListStarted(self.kind)).await?;
        }
        let mut line = Vec::new();
        loop {
            let silence = self.kubernetes.pace.silence;
            let patience = if listing {
                silence.min(LIST_SILENCE)
            } else {
                silence
            };
            match timeout(patience, wire::read_line(&mut stream, &mut line)).await {
                Ok(Ok(true)) => {}
                Ok(Err(error)) => return Err(self.broken(&error).into()),
                Err(_) if listing => return Err(Failure::ordinary(Outcome::NoStreaming).into()),
                Ok(Ok(false)) | Err(_) => return Err(Failure::ordinary(Outcome::Ended).into()),
            }
            let frame: Frame = serde_json::from_slice(&line).map_err(|error| self.lost(&error))?;
            let object = frame.object.get();
            let named = || serde_json::from_str::<Named>(object).map_err(|e| self.lost(&e));
            let reached = match &*frame.kind {
                "ADDED" | "MODIFIED" => self.apply(frame.object).await?,
                "DELETED" => {
                    let named = named()?;
                    let key = named
                        .key()
                        .ok_or_else(|| self.lost(&"a deletion without a name"))?;
                    self.send(Event::Delete(self.kind, key)).await?;
                    // A deletion is a revision too: who waits for it must see it reached.
                    let (kind, resource_version) = (self.kind, named.version());
                    self.send(Event::Bookmark {
                        kind,
                        resource_version,
                    })
                    .await?;
                    Some(named.version())
                }
                "BOOKMARK" => {
                    let bookmark = named()?;
                    let resource_version = bookmark.version();
                    if listing && bookmark.ends_list() {
                        listing = false;
                        self.list_done(resource_version.clone()).await?;
                    } else if !listing {
                        let kind = self.kind;
                        let resource_version = resource_version.clone();
                        self.send(Event::Bookmark {
                            kind,
                            resource_version,
                        })
                        .await?;
                    }
                    Some(resource_version)
                }
                "ERROR" => {
                    let status: Status =
                        serde_json::from_str(object).map_err(|e| self.garbage(&e))?;
                    return Err(self.refused(streaming, &status).into());
                }
                other => return Err(self.garbage(&format!("a watch event {other:?}")).into()),
            };
            // While the list is under way there is nothing to resume from.
            if !listing {
                self.position.alive();
                if let Some(version) = reached {
                    self.position.version = Some(version);
                }
            }
        }
    }

    async fn open(
        &self,
        ask: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
        streaming: bool,
    ) -> Result<impl AsyncBufRead + use<>, Stop> {
        let ask = ask.map_err(|error| self.garbage(&error))?;
        let address = &self.kubernetes.address;
        // The answer's head comes at once, also that of a watch.
        match timeout(
            self.kubernetes.pace.silence,
            self.kubernetes.client.request_stream(ask),
        )
        .await
        {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Failure::request(self.kind, address, streaming, &error).into()),
            Err(_) => Err(self.garbage(&"no answer").into()),
        }
    }

    /// Hands on one object, whole or not; returns its version.
    async fn apply(&self, object: &RawValue) -> Result<Option<Box<str>>, Stop> {
        match decode::raw(self.kind, object.get()) {
            Ok(decoded) => {
                let version = decoded.resource_version.clone();
                self.send(Event::Apply(decoded)).await?;
                Ok(version.filter(|version| !version.is_empty()))
            }
            Err(problem) => {
                self.send(Event::Problem(problem)).await?;
                Ok(None)
            }
        }
    }

    async fn list_done(&self, resource_version: Box<str>) -> Result<(), Stop> {
        let kind = self.kind;
        self.send(Event::ListDone {
            kind,
            resource_version,
        })
        .await
    }

    async fn send(&self, event: Event) -> Result<(), Stop> {
        self.events.send(event).await.map_err(|_| Stop::Closed)
    }

    /// Bytes that are no answer of an API server.
    fn garbage(&self, found: &dyn ToString) -> Failure {
        Failure::protocol(
            &self.kubernetes.address,
            Outcome::Failed { retry_after: 0 },
            found,
        )
    }

    /// A frame that cannot be read may have been any object's: only a new list tells.
    fn lost(&self, found: &dyn ToString) -> Failure {
        Failure::protocol(&self.kubernetes.address, Outcome::Gone, found)
    }

    fn broken(&self, error: &std::io::Error) -> Failure {
        Failure::read(&self.kubernetes.address, error)
    }

    fn refused(&self, streaming: bool, status: &Status) -> Failure {
        Failure::status(self.kind, &self.kubernetes.address, streaming, status)
    }
}
