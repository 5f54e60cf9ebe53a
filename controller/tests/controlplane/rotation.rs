//! Rotation, and the loss of the Secret, while policies are created all the time.

use crate::lab::{Lab, NAMESPACE, SECRET};
use crate::switch::{policy, settled};
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DeleteParams, PostParams};
use ringfence_certs::{Authority, Bundle, Names};
use ringfence_controller::rotation::Contents;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

pub async fn three_in_a_row_under_load(lab: &Lab<'_>) -> Result<()> {
    for round in 1..=3 {
        let old = plant_an_old_pair(lab).await?;
        let (stop, calls) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let load = tokio::spawn(create(lab.plane.client(), stop.clone(), calls.clone()));
        lab.until("rotated", async |lab| {
            let now = contents(lab).await?;
            Ok(now.ca.len() == 1 && now.ca != old && now.next.is_none() && settled(lab).await?)
        })
        .await?;
        stop.store(true, Ordering::Relaxed);
        load.await?
            .with_context(|| format!("a call failed in rotation {round}"))?;
        let calls = calls.load(Ordering::Relaxed);
        ensure!(calls > 20, "only {calls} calls");
        println!("ok: rotation {round}: {calls} policies created meanwhile, none refused");
    }
    Ok(())
}

pub async fn a_lost_secret_is_replaced(lab: &Lab<'_>) -> Result<()> {
    let old = contents(lab).await?;
    let api: Api<Secret> = Api::namespaced(lab.plane.client(), NAMESPACE);
    api.delete(SECRET, &DeleteParams::default()).await?;
    lab.until(
        "issued anew, the old CA trusted meanwhile, then dropped",
        async |lab| {
            if lab.secret().await?.is_none() {
                return Ok(false);
            }
            let now = contents(lab).await?;
            Ok(now.ca.len() == 1 && now.ca != old.ca && settled(lab).await?)
        },
    )
    .await?;
    println!("ok: a lost Secret is replaced");
    Ok(())
}

async fn contents(lab: &Lab<'_>) -> Result<Contents> {
    let secret = lab.secret().await?.context("no Secret")?;
    Ok(Contents::read(&secret)?)
}

/// Has a pair served that was issued 61 days ago, for 90, as if it had been there all the
/// time: its CA is trusted before it is served. Returns what is trusted then.
async fn plant_an_old_pair(lab: &Lab<'_>) -> Result<Bundle> {
    let then = Timestamp::now() - 61 * DAY;
    let names = Names::service("ringfence-webhook", NAMESPACE, "cluster.local")?;
    let authority = Authority::create(90 * DAY, then)?;
    let mut planted = contents(lab).await?;
    planted.ca = planted.ca.and(&Bundle::parse(authority.certificate())?);
    write(lab, &planted).await?;
    lab.until("the planted CA is trusted", settled).await?;
    planted.current = authority.issue(&names, 90 * DAY, then)?;
    write(lab, &planted).await?;
    Ok(planted.ca)
}

async fn write(lab: &Lab<'_>, contents: &Contents) -> Result<()> {
    let api: Api<Secret> = Api::namespaced(lab.plane.client(), NAMESPACE);
    let mut secret = lab.secret().await?.context("no Secret")?;
    secret.metadata.resource_version = None;
    contents.write(&mut secret);
    api.replace(SECRET, &PostParams::default(), &secret).await?;
    Ok(())
}

/// Creates policies, dry, until told to stop; every one must be admitted.
async fn create(
    client: kube::Client,
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
) -> Result<()> {
    let api: Api<NetworkPolicy> = Api::namespaced(client, "default");
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let policy: NetworkPolicy = serde_json::from_value(policy("load"))?;
    while !stop.load(Ordering::Relaxed) {
        api.create(&dry, &policy).await?;
        calls.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
