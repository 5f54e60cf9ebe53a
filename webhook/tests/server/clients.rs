//! Clients that misbehave, and clients that are not let in.

use crate::binary::{Binary, LIMIT};
use crate::certificates::Ca;
use crate::{client, reviews};
use std::fs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, sleep, timeout};

#[tokio::test]
async fn a_client_that_drips_and_one_that_never_speaks_are_dropped_and_others_are_served() {
    let binary = Binary::start().await.ready().await;
    let half_open = async {
        let mut tcp = TcpStream::connect(binary.address).await.unwrap();
        let mut nothing = Vec::new();
        // An end or a reset: both are an end.
        drop(tcp.read_to_end(&mut nothing).await);
        assert!(nothing.is_empty());
    };
    let head = async {
        let mut tls = client::connect(binary.address, &binary.trust)
            .await
            .unwrap();
        while tls
            .write_all(b"POST /validate HTTP/1.1\r\nx: ")
            .await
            .is_ok()
        {
            tls.flush().await.unwrap_or_default();
            let mut byte = [0];
            match timeout(Duration::from_millis(100), tls.read(&mut byte)).await {
                Err(_) => {}
                Ok(Ok(0) | Err(_)) => return,
                Ok(Ok(_)) => panic!("an answer to half a head"),
            }
        }
    };
    let body = async {
        let mut tls = client::connect(binary.address, &binary.trust)
            .await
            .unwrap();
        let request = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{";
        tls.write_all(request.as_bytes()).await.unwrap();
        let answer = client::receive(&mut tls).await.unwrap();
        assert_eq!(answer.status, 408, "{answer:?}");
        assert!(answer.closes(), "{answer:?}");
    };
    let others = async {
        for _ in 0..20 {
            let response = binary
                .post("/validate", reviews::harmless())
                .await
                .response();
            assert_eq!(response["allowed"], true);
            sleep(Duration::from_millis(20)).await;
        }
    };
    let all = async { tokio::join!(half_open, head, body, others) };
    timeout(LIMIT, all)
        .await
        .expect("every bad client is dropped");
    binary
        .until("all connections are given back", async |b| {
            b.metric("ringfence_webhook_connections ").await < 1.0
        })
        .await;
}

#[tokio::test]
async fn with_a_client_ca_only_its_clients_are_let_in() {
    let (client_ca, body) = (Ca::new(), reviews::harmless());
    let pem = client_ca.pem();
    let flags = ["--client-ca={}/client-ca.crt"];
    let binary = Binary::start_with(&flags, |b| {
        fs::write(b.folder.path().join("client-ca.crt"), pem).unwrap();
    });
    let binary = binary.await.ready().await;
    let with = client::trust(&binary.ca, Some(&client_ca.leaf()));
    let answer = client::post(binary.address, &with, "/validate", &body);
    assert_eq!(answer.await.unwrap().response()["allowed"], true);
    let stranger = client::trust(&binary.ca, Some(&Ca::new().leaf()));
    for trust in [&binary.trust, &stranger] {
        let answer = client::post(binary.address, trust, "/validate", &body);
        assert!(answer.await.is_err());
    }
}
