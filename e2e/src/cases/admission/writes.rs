//! Every way to write a policy: repeated, by two tools, compared, dry, and around the spec.

use super::{WITHOUT_SYSTEM, case, stored, version};
use crate::admission::CONFIG;
use crate::case::{Case, Stage, matrix, policy};
use crate::controlplane::Identity;
use crate::probe::tcp;
use anyhow::{Result, ensure};

/// Egress rules, and none for DNS: something will be added.
const FORGETFUL: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: web-to-db}
spec:
  podSelector: {matchLabels: {pod: web}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {pod: db}}}]
";

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("admission-applying-twice-changes-nothing")
            .dns()
            .typed("kubectl apply twice", apply_twice)
            .typed("server-side apply twice", server_side_twice),
        case("admission-diff-and-dry-run")
            .dns()
            .typed("kubectl diff is clean", diff)
            .typed("--dry-run=server shows and keeps nothing", dry_run),
        case("admission-edits-around-the-spec")
            .dns()
            .act("an object from before the webhook", from_before)
            .act("labels", edit_labels)
            .act(
                "finalizers and ownerReferences make no call",
                edit_finalizers,
            )
            .act(
                "a finalizer can be removed whatever the object holds",
                remove_finalizer,
            ),
        case("admission-forged-annotation")
            .dns()
            .typed("the mutating hook takes it away", forged_and_mended)
            .act("the validating hook refuses it", forged_and_refused),
        case("admission-a-direction-that-is-not-named-is-refused")
            .pods(&WITHOUT_SYSTEM)
            .typed(
                "rules in a direction that policyTypes does not name",
                mismatch,
            )
            // Nothing of it is enforced.
            .expect(matrix(&[tcp(80)]).allowed("*", "*")),
        case("admission-what-is-refused-and-why")
            .act("in strict everything marked so", strict)
            .act(
                "a tenant cannot switch a check off where that is forbidden",
                suppressed,
            ),
    ]
}

fn apply_twice(stage: &mut Stage) -> Result<()> {
    stage.kubectl_apply(FORGETFUL, "shop")?.accepted()?;
    let first = stored(stage, "networkpolicy", "shop/web-to-db")?;
    ensure!(
        first["spec"]["egress"]
            .as_array()
            .is_some_and(|rules| rules.len() == 2),
        "DNS was not added: {first:#}"
    );
    stage
        .kubectl_apply(FORGETFUL, "shop")?
        .accepted()?
        .silent()?;
    let second = stored(stage, "networkpolicy", "shop/web-to-db")?;
    ensure!(version(&first) == version(&second), "it was written again");
    stage.delete("NetworkPolicy shop/web-to-db")
}

fn server_side_twice(stage: &mut Stage) -> Result<()> {
    let apply = [
        "apply",
        "--server-side",
        "--field-manager=gitops",
        "-f",
        "-",
    ];
    stage.kubectl(&apply, FORGETFUL)?.accepted()?;
    let first = stored(stage, "networkpolicy", "shop/web-to-db")?;
    stage.kubectl(&apply, FORGETFUL)?.accepted()?;
    let second = stored(stage, "networkpolicy", "shop/web-to-db")?;
    ensure!(version(&first) == version(&second), "it was written again");
    stage
        .kubectl(&["-n", "shop", "delete", "networkpolicy", "web-to-db"], "")?
        .accepted()?;
    Ok(())
}

fn diff(stage: &mut Stage) -> Result<()> {
    stage.kubectl_apply(FORGETFUL, "shop")?.accepted()?;
    let typed = stage.typed(FORGETFUL, "shop")?;
    let said = stage.kubectl(&["diff", "-f", "-"], &typed)?;
    ensure!(
        said.code == 0,
        "kubectl diff shows a difference:\n{}{}",
        said.out,
        said.err
    );
    stage.delete("NetworkPolicy shop/web-to-db")
}

fn dry_run(stage: &mut Stage) -> Result<()> {
    let apply = ["apply", "--dry-run=server", "-o", "yaml", "-f", "-"];
    let said = stage.kubectl(&apply, FORGETFUL)?;
    ensure!(
        said.accepted()?.out.contains("injected.ringfence.dev/dns"),
        "the dry run does not show what would be added:\n{}",
        said.out
    );
    let there = stage.kubectl(&["-n", "shop", "get", "networkpolicy", "web-to-db"], "")?;
    ensure!(there.code != 0, "a dry run kept the object");
    Ok(())
}

/// Written while no webhook answered: shut for DNS, and open to a node's address.
const FROM_BEFORE: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: old}
spec:
  podSelector: {matchLabels: {pod: db}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{ipBlock: {cidr: 10.102.123.11/32}}]
  egress:
  - to: [{podSelector: {matchLabels: {pod: web}}}]
";

fn from_before(stage: &mut Stage) -> Result<()> {
    stage.with_admission(|admission, _, _| admission.kill_replica("node1"))?;
    stage.kubectl_apply(FROM_BEFORE, "shop")?.accepted()?;
    stage.with_admission(|admission, server, world| admission.start_replica(server, world, "node1"))
}

fn edit_labels(stage: &mut Stage) -> Result<()> {
    let label = ["-n", "shop", "label", "networkpolicy", "old", "team=a"];
    stage.kubectl(&label, "")?.accepted()?;
    let object = stored(stage, "networkpolicy", "shop/old")?;
    ensure!(
        object["spec"]["egress"]
            .as_array()
            .is_some_and(|rules| rules.len() == 1),
        "a label brought a rule: {object:#}"
    );
    Ok(())
}

fn edit_finalizers(stage: &mut Stage) -> Result<()> {
    let patch = "{\"metadata\": {\"finalizers\": [\"example.com/wait\"], \"ownerReferences\": \
                 [{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"name\": \"x\", \"uid\": \"1\"}]}}";
    let before = calls(stage)?;
    stage
        .kubectl(
            &[
                "-n",
                "shop",
                "patch",
                "networkpolicy",
                "old",
                "--type=merge",
                "-p",
                patch,
            ],
            "",
        )?
        .accepted()?
        .silent()?;
    let none = "{\"metadata\": {\"ownerReferences\": null}}";
    stage
        .kubectl(
            &[
                "-n",
                "shop",
                "patch",
                "networkpolicy",
                "old",
                "--type=merge",
                "-p",
                none,
            ],
            "",
        )?
        .accepted()?;
    let after = calls(stage)?;
    ensure!(
        before == after,
        "{} calls for finalizers and ownerReferences",
        after - before
    );
    Ok(())
}

fn remove_finalizer(stage: &mut Stage) -> Result<()> {
    let delete = [
        "-n",
        "shop",
        "delete",
        "networkpolicy",
        "old",
        "--wait=false",
    ];
    stage.kubectl(&delete, "")?.accepted()?;
    let none = "{\"metadata\": {\"finalizers\": null}}";
    stage
        .kubectl(
            &[
                "-n",
                "shop",
                "patch",
                "networkpolicy",
                "old",
                "--type=merge",
                "-p",
                none,
            ],
            "",
        )?
        .accepted()?;
    let there = stage.kubectl(&["-n", "shop", "get", "networkpolicy", "old"], "")?;
    ensure!(there.code != 0, "it is still there: {}", there.out);
    let gone = crate::objects::documents(FROM_BEFORE, "shop")?;
    gone.iter().try_for_each(|object| stage.adopt(object))
}

/// How many requests about NetworkPolicies the webhook has answered.
fn calls(stage: &mut Stage) -> Result<u64> {
    stage.with_admission(|admission, _, world| {
        let metrics = admission.metrics(world)?;
        let labels = [("kind", "NetworkPolicy")];
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let calls = metrics.sum("ringfence_webhook_requests_total", &labels) as u64;
        Ok(calls)
    })
}

const FORGED: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  namespace: shop
  name: forged
  annotations: {injected.ringfence.dev/dns: 'v1:0123456789abcdef'}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

fn forged_and_mended(stage: &mut Stage) -> Result<()> {
    stage.kubectl_apply(FORGED, "shop")?.accepted()?;
    let object = stored(stage, "networkpolicy", "shop/forged")?;
    ensure!(
        object["metadata"]["annotations"]["injected.ringfence.dev/dns"].is_null(),
        "the forged annotation is stored: {object:#}"
    );
    stage.delete("NetworkPolicy shop/forged")
}

/// With the mutating configuration out of the way, as when it was down.
fn forged_and_refused(stage: &mut Stage) -> Result<()> {
    let configuration = ["mutatingwebhookconfiguration", "ringfence"];
    stage
        .kubectl(&[&["delete"], &configuration[..]].concat(), "")?
        .accepted()?;
    let said = stage.kubectl_apply(FORGED, "shop")?;
    said.refused(&["injected.ringfence.dev/dns"])?;
    stage.with_admission(|admission, server, _| admission.register(server, None))
}

fn mismatch(stage: &mut Stage) -> Result<()> {
    let yaml = policy(
        "shop/mixed",
        "podSelector: {}\npolicyTypes: [Ingress]\negress: [{to: [{podSelector: {}}]}]",
    );
    let said = stage.kubectl_apply(&yaml, "shop")?;
    said.refused(&["types-mismatch", "spec.egress"])?;
    Ok(())
}

const OPEN: &str = "podSelector: {}\ningress: [{}]";

fn strict(stage: &mut Stage) -> Result<()> {
    let yaml = policy("shop/open", OPEN);
    stage
        .kubectl_apply(&yaml, "shop")?
        .accepted()?
        .warned(&["shop/open"])?;
    stage.delete("NetworkPolicy shop/open")?;
    stage.with_admission(|admission, _, world| admission.configure(world, "profile: strict\n"))?;
    stage
        .kubectl_apply(&yaml, "shop")?
        .refused(&["allow-all-ingress"])?;
    Ok(())
}

fn suppressed(stage: &mut Stage) -> Result<()> {
    let yaml = policy("shop/open", OPEN).replace(
        "name: open",
        "name: open, annotations: {ignore.ringfence.dev/allow-all-ingress: 'until=2999-01-01 a demo'}",
    );
    stage.kubectl_apply(&yaml, "shop")?.accepted()?;
    stage.delete("NetworkPolicy shop/open")?;
    let forbidden = "profile: strict\nsuppression: {forbidden: true}\n";
    stage.with_admission(|admission, _, world| admission.configure(world, forbidden))?;
    // Somebody of the team may write policies, and not this one.
    stage
        .kubectl_as(Identity::Tenant, &["apply", "-f", "-"], &yaml)?
        .refused(&["allow-all-ingress"])?;
    stage.with_admission(|admission, _, world| admission.configure(world, CONFIG))
}
