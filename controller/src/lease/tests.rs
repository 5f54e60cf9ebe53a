use super::*;
use http::{Method, Request, Response, StatusCode};
use k8s_openapi::api::coordination::v1::LeaseSpec;
use kube::client::Body;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);

/// An API server that knows one Lease, with versions, and can be unreachable.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    lease: Option<Value>,
    version: u64,
    writes: u32,
    down: bool,
    /// Which client cannot reach it.
    cut_off: Option<&'static str>,
}

impl Server {
    fn client(&self, who: &'static str) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { server.answer(who, request).await }
        });
        Client::new(service, "system")
    }

    async fn answer(
        &self,
        who: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, tower::BoxError> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let mut inner = self.0.lock().unwrap();
        if inner.down || inner.cut_off == Some(who) {
            return Err("connection refused".into());
        }
        let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
        let version = inner.version.to_string();
        let current = sent["metadata"]["resourceVersion"] == version.as_str();
        let code = match (&parts.method, &inner.lease) {
            (&Method::GET, Some(_)) => StatusCode::OK,
            (&Method::POST, None) => inner.store(sent),
            (&Method::PUT, Some(_)) if current => inner.store(sent),
            (&Method::POST | &Method::PUT, _) => StatusCode::CONFLICT,
            _ => StatusCode::NOT_FOUND,
        };
        let answer = if code.is_success() {
            inner.lease.clone().unwrap_or_default()
        } else {
            json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "NotFound", "code": code.as_u16()})
        };
        let body = Body::from(serde_json::to_vec(&answer)?);
        Ok(Response::builder().status(code).body(body)?)
    }

    fn holder(&self) -> Option<String> {
        let inner = self.0.lock().unwrap();
        let holder = inner.lease.as_ref()?["spec"]["holderIdentity"].as_str();
        holder.map(str::to_owned)
    }
}

impl Inner {
    fn store(&mut self, mut lease: Value) -> StatusCode {
        self.version += 1;
        self.writes += 1;
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.lease = Some(lease);
        StatusCode::OK
    }
}

struct Replica {
    standing: watch::Receiver<Standing>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn start(server: &Server, identity: &'static str) -> Replica {
    let candidate = Candidate {
        namespace: "system".into(),
        lease: "controller".into(),
        identity: identity.into(),
        timing: Timing::default(),
    };
    let (sender, standing) = watch::channel(Standing::Unknown("not read yet".into()));
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move { drop(stopped.await) };
    let task = tokio::spawn(run(server.client(identity), candidate, sender, stopped));
    Replica {
        standing,
        stop,
        task,
    }
}

impl Replica {
    fn leads(&self) -> bool {
        *self.standing.borrow() == Standing::Leader
    }

    async fn until(&mut self, wanted: &Standing) {
        let changed = self.standing.wait_for(|s| s == wanted);
        let reached = timeout(60 * SECOND, changed).await.map(drop);
        assert!(reached.is_ok(), "{:?}", self.standing.borrow());
    }
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_keeps_leading() {
    let server = Server::default();
    let mut a = start(&server, "a");
    a.until(&Standing::Leader).await;
    let mut b = start(&server, "b");
    b.until(&Standing::Follower).await;
    for _ in 0..600 {
        sleep(SECOND / 5).await;
        assert!(a.leads() && !b.leads());
    }
    let lease = server.0.lock().unwrap().lease.clone().unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 0);
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 15);
    assert!(server.0.lock().unwrap().writes > 40);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_hands_over_at_once() {
    let server = Server::default();
    let mut a = start(&server, "a");
    a.until(&Standing::Leader).await;
    let mut b = start(&server, "b");
    b.until(&Standing::Follower).await;
    let begin = Instant::now();
    a.stop.send(()).unwrap();
    a.task.await.unwrap();
    assert_eq!(server.holder(), None);
    b.until(&Standing::Leader).await;
    assert!(begin.elapsed() <= 3 * SECOND, "{:?}", begin.elapsed());
    assert_eq!(server.holder().as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_steps_down_before_another_takes_over() {
    let server = Server::default();
    let mut a = start(&server, "a");
    a.until(&Standing::Leader).await;
    let mut b = start(&server, "b");
    b.until(&Standing::Follower).await;
    server.0.lock().unwrap().cut_off = Some("a");
    let mut led_by_nobody = false;
    while !b.leads() {
        assert!(!(a.leads() && b.leads()), "two leaders");
        led_by_nobody |= !a.leads();
        sleep(SECOND / 10).await;
    }
    assert!(led_by_nobody && !a.leads());
    server.0.lock().unwrap().cut_off = None;
    a.until(&Standing::Follower).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_leads_while_the_server_is_away() {
    let server = Server::default();
    let (mut a, mut b) = (start(&server, "a"), start(&server, "b"));
    a.until(&Standing::Leader).await;
    server.0.lock().unwrap().down = true;
    sleep(20 * SECOND).await;
    assert!(!a.leads() && !b.leads());
    assert!(matches!(&*a.standing.borrow(), Standing::Unknown(why) if why.contains("refused")));
    server.0.lock().unwrap().down = false;
    tokio::select! {
        () = a.until(&Standing::Leader) => {}
        () = b.until(&Standing::Leader) => {}
    }
}

fn timing() -> Timing {
    Timing::default()
}

fn held_by(holder: Option<&str>, renewed: &str) -> Lease {
    let renewed: Timestamp = renewed.parse().unwrap();
    let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(renewed);
    Lease {
        spec: Some(LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(15),
            renew_time: Some(time),
            ..LeaseSpec::default()
        }),
        ..Lease::default()
    }
}

const WALL: &str = "2026-06-01T12:00:00Z";
const LONG_AGO: &str = "2020-01-01T00:00:00Z";

#[tokio::test(start_paused = true)]
async fn another_clock_does_not_matter() {
    let mut election = Election::new("b", timing());
    let wall = WALL.parse().unwrap();
    // The holder's clock is years behind; it renews all the same.
    let begin = Instant::now();
    let lease = |n: u64| Some(held_by(Some("a"), &format!("2020-01-01T00:00:{n:02}Z")));
    for n in 0..30_u64 {
        let now = begin + SECOND * u32::try_from(n).unwrap() * 14;
        assert_eq!(election.attempt(lease(n), "x", now, wall), Attempt::Wait);
    }
    // From the moment it stops, its duration counts.
    let last = begin + SECOND * 29 * 14;
    assert_eq!(
        election.attempt(lease(29), "x", last + 14 * SECOND, wall),
        Attempt::Wait
    );
    let taken = election.attempt(lease(29), "x", last + 15 * SECOND, wall);
    let Attempt::Replace(taken) = taken else {
        panic!("{taken:?}")
    };
    let spec = taken.spec.clone().unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("b"));
    assert_eq!(spec.lease_transitions, Some(1));
    assert!(
        !election.is_leader(last + 15 * SECOND),
        "not before it is written"
    );
    election.written(&taken, last + 15 * SECOND);
    assert!(election.is_leader(last + 24 * SECOND) && !election.is_leader(last + 25 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn what_is_free_is_taken_and_what_is_ours_is_kept() {
    let (now, wall) = (Instant::now(), WALL.parse().unwrap());
    let mut election = Election::new("b", timing());
    for holder in [None, Some(""), Some("b")] {
        let attempt = election.attempt(Some(held_by(holder, LONG_AGO)), "x", now, wall);
        assert!(
            matches!(attempt, Attempt::Replace(_)),
            "{holder:?}: {attempt:?}"
        );
    }
    let attempt = election.attempt(Some(Lease::default()), "x", now, wall);
    assert!(
        matches!(attempt, Attempt::Replace(_)),
        "a Lease without a spec"
    );
    let Attempt::Create(lease) = election.attempt(None, "x", now, wall) else {
        panic!()
    };
    assert_eq!(lease.metadata.name.as_deref(), Some("x"));
    assert!(
        election
            .released(held_by(Some("a"), LONG_AGO), wall)
            .is_none()
    );
}
