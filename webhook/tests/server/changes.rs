//! Files that change while requests arrive.

use crate::binary::Binary;
use crate::certificates::{Ca, Pair};
use crate::{client, reviews};
use rustls::pki_types::CertificateDer;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::task::JoinSet;

/// Clients that send one request after the other until they are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    clients: JoinSet<()>,
}

impl Load {
    /// Half of them keep their connection, half of them make a new one each time.
    pub fn start(binary: &Binary) -> Self {
        let (stop, sent) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut clients = JoinSet::new();
        for number in 0..4 {
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            let (address, trust) = (binary.address, Arc::clone(&binary.trust));
            clients.spawn(async move {
                let body = reviews::harmless();
                let mut kept = None;
                while !stop.load(Ordering::Relaxed) {
                    let mut tls = match kept.take() {
                        Some(tls) => tls,
                        None => client::connect(address, &trust).await.unwrap(),
                    };
                    client::send(&mut tls, "/validate", &body).await.unwrap();
                    let answer = client::receive(&mut tls).await.unwrap();
                    assert_eq!(answer.response()["allowed"], true);
                    sent.fetch_add(1, Ordering::Relaxed);
                    if number % 2 == 0 {
                        kept = Some(tls);
                    }
                }
            });
        }
        Self {
            stop,
            sent,
            clients,
        }
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends; a request that failed fails the test.
    pub async fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
        self.sent()
    }
}

async fn served(binary: &Binary) -> CertificateDer<'static> {
    let tls = client::connect(binary.address, &binary.trust)
        .await
        .unwrap();
    let chain = tls.get_ref().1.peer_certificates().unwrap();
    chain[0].clone().into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_pairs_in_a_row_under_load_and_no_request_fails() {
    let mut binary = Binary::start().await.ready().await;
    let load = Load::start(&binary);
    for _ in 0..3 {
        let before = load.sent();
        let pair = binary.ca.leaf();
        binary.secret.put(&pair);
        binary
            .until("the new pair is served", async |b| {
                served(b).await == pair.der
            })
            .await;
        binary
            .until("requests go on", async |_| load.sent() > before + 20)
            .await;
    }
    assert!(load.stop().await > 60);
    let taken = "ringfence_webhook_reloads_total{what=\"tls\",result=\"taken\"}";
    assert!((binary.metric(taken).await - 3.0).abs() < f64::EPSILON);
    assert!(binary.metric("ringfence_webhook_certificate_expiry").await > 1e9);
}

#[tokio::test]
async fn a_broken_pair_is_kept_out_and_said() {
    let mut binary = Binary::start().await.ready().await;
    let before = served(&binary).await;
    let (one, other) = (binary.ca.leaf(), Ca::new().leaf());
    binary.secret.put(&Pair {
        key: other.key,
        ..one
    });
    binary
        .until("readiness says so", async |b| {
            let (status, text) = b.get("/readyz").await;
            status == 200 && text.contains("do not belong together")
        })
        .await;
    assert_eq!(served(&binary).await, before);
    let failing = "ringfence_webhook_reload_failing{what=\"tls\"}";
    assert!((binary.metric(failing).await - 1.0).abs() < f64::EPSILON);
    assert!(
        binary
            .logged()
            .contains("is refused; the one of before stays")
    );
    let good = binary.ca.leaf();
    binary.secret.put(&good);
    binary
        .until("a good one is taken", async |b| served(b).await == good.der)
        .await;
    assert_eq!(binary.get("/readyz").await.1, "ok\n");
}

#[tokio::test]
async fn it_waits_for_a_first_pair_and_says_so() {
    let binary = Binary::start_with(&[], |b| {
        fs::remove_file(b.secret.folder.join("tls.key")).unwrap();
    })
    .await;
    binary
        .until("readiness says what is missing", async |b| {
            let (status, text) = b.get("/readyz").await;
            status == 503 && text.contains("tls.key")
        })
        .await;
    assert_eq!(binary.get("/livez").await.0, 200);
    let key = std::path::Path::new("..data/tls.key");
    std::os::unix::fs::symlink(key, binary.secret.folder.join("tls.key")).unwrap();
    let binary = binary.ready().await;
    assert_eq!(
        binary
            .post("/validate", reviews::harmless())
            .await
            .response()["allowed"],
        true
    );
}

#[tokio::test]
async fn a_changed_configuration_counts_and_a_broken_one_does_not() {
    let flags = ["--config={}/checks.yaml"];
    let write =
        |b: &Binary, text: &str| fs::write(b.folder.path().join("checks.yaml"), text).unwrap();
    let binary = Binary::start_with(&flags, |b| write(b, "checks: {types-mismatch: warn}\n"));
    let binary = binary.await.ready().await;
    let allowed = async |b: &Binary| {
        let response = b.post("/validate", reviews::refused()).await.response();
        response["allowed"] == true
    };
    assert!(allowed(&binary).await);
    write(&binary, "checks: {types-mismatsh: deny}\n");
    binary
        .until("readiness says what is wrong", async |b| {
            let (status, text) = b.get("/readyz").await;
            status == 200 && text.contains("did you mean types-mismatch?")
        })
        .await;
    assert!(allowed(&binary).await, "the one of before stays in force");
    let failing = "ringfence_webhook_reload_failing{what=\"configuration\"}";
    assert!((binary.metric(failing).await - 1.0).abs() < f64::EPSILON);
    write(&binary, "checks: {types-mismatch: deny}\n");
    binary
        .until("the good one counts", async |b| !allowed(b).await)
        .await;
    binary
        .until("and nothing is said any more", async |b| {
            b.get("/readyz").await.1 == "ok\n"
        })
        .await;
}

#[tokio::test]
async fn a_configuration_that_is_broken_from_the_start_is_no_start() {
    let flags = ["--config={}/checks.yaml"];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checks.yaml");
    fs::write(&path, "profile: strickt\n").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringfence-webhook"))
        .arg(flags[0].replace("{}", &folder.path().display().to_string()))
        .arg(format!("--objects=folder:{}", folder.path().display()))
        .args(["--port=0", "--health-port=0", "--bind-address=127.0.0.1"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("checks.yaml") && said.contains("strict"),
        "{said}"
    );
}
