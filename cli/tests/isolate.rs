//! `isolate`, `allow`, `status` and `migrate` with a real API server, as somebody who has
//! rights in one namespace only. Needs root (or user namespaces) and the programs of `make
//! controlplane`; without them it is skipped, but never where `CI` is set.

use anyhow::{Context, Result, ensure};
use ringfence_e2e::controlplane::{self, Applier, ControlPlane, Identity, Options, Programs};
use ringfence_e2e::fabric::netns::CONTROL_ADDRESS;
use ringfence_e2e::fabric::{PodKind, Topology, World};
use ringfence_e2e::objects::documents;
use ringfence_e2e::patience::within;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::Duration;

/// Until a definition of a kind, or a right, counts.
const PATIENCE: Duration = Duration::from_mins(1);

/// The rights of a namespace's admin, and a guard that only warns.
const OBJECTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: friend}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: owner, namespace: shop}
rules:
- {apiGroups: [ringfence.dev], resources: [namespaceisolations, isolationrules], verbs: [get, list, create, patch, delete]}
- {apiGroups: ['', networking.k8s.io], resources: [pods, services, networkpolicies], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: owner, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: owner}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: tenant}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: warns}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [ringfence.dev], apiVersions: [v1alpha1], operations: [CREATE, UPDATE], resources: [isolationrules]}
  validations: [{expression: 'false', message: think twice}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: warns}
spec: {policyName: warns, validationActions: [Warn]}
";

/// What the controller writes.
const OWNED: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: ringfence-isolation
  namespace: shop
  annotations: {isolation.ringfence.dev/ingress: 'inside,rule/from-friend-web-80'}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {}}]
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: friend}}}]
    ports: [{port: 8080}]
";

fn main() -> ExitCode {
    controlplane::test(run)
}

fn run(programs: &Programs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let world = World::create(Topology::new(PodKind::Bridge, 1))?;
    let options = Options::new(CONTROL_ADDRESS.into());
    let plane = runtime.block_on(ControlPlane::start(programs, world.control(), options))?;
    let lab = Lab {
        applier: Applier::new(plane.client()),
        admin: plane.kubeconfig(Identity::Admin),
        tenant: plane.kubeconfig(Identity::Tenant),
        world: &world,
        runtime: &runtime,
    };
    lab.apply(OBJECTS)?;
    lab.without_the_custom_resources()?;
    for name in ["isolationconfigs", "namespaceisolations", "isolationrules"] {
        lab.apply_file(&format!("../manifests/base/crds/{name}.yaml"))?;
    }
    lab.on_and_a_friend_for_a_day()?;
    lab.who_may_come_in()?;
    lab.off()?;
    lab.moving_from_kubesphere()
}

struct Lab<'a> {
    applier: Applier,
    admin: PathBuf,
    tenant: PathBuf,
    world: &'a World,
    runtime: &'a tokio::runtime::Runtime,
}

impl Lab<'_> {
    fn apply(&self, yaml: &str) -> Result<()> {
        self.runtime.block_on(async {
            for object in documents(yaml, "default")? {
                self.applier.apply(object, "default").await?;
            }
            Ok(())
        })
    }

    fn apply_file(&self, name: &str) -> Result<()> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = std::fs::read_to_string(&path);
        self.apply(&text.with_context(|| path.display().to_string())?)
    }

    fn ringfence(&self, who: &Path, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command.args(args).arg("--kubeconfig").arg(who);
        let netns = self.world.control().netns();
        netns.run(move || Ok(command.output()?))
    }

    /// Standard output and error, when it ended so.
    fn ends(&self, code: i32, who: &Path, args: &[&str]) -> Result<(String, String)> {
        let output = self.ringfence(who, args)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        ensure!(output.status.code() == Some(code), "{args:?}: {out}{error}");
        Ok((out, error))
    }

    /// Runs it until it succeeds and says `wanted` on standard error: a kind, or a guard, that
    /// was defined a moment ago counts soon. Returns standard output.
    fn in_time(&self, who: &Path, args: &[&str], wanted: &[&str]) -> Result<String> {
        let mut said = String::new();
        within(PATIENCE, &format!("{args:?} says {wanted:?}"), || {
            let (out, error) = self.ends(0, who, args)?;
            ensure!(wanted.iter().all(|text| error.contains(text)), "{error:?}");
            said = out;
            Ok(true)
        })?;
        Ok(said)
    }

    fn without_the_custom_resources(&self) -> Result<()> {
        let (_, error) = self.ends(2, &self.admin, &["isolate", "shop", "--apply"])?;
        ensure!(error.contains("CustomResourceDefinitions"), "{error}");
        let (out, _) = self.ends(0, &self.admin, &["status", "shop"])?;
        ensure!(out.starts_with("namespace shop: not isolated"), "{out}");
        println!("ok: without the custom resources");
        Ok(())
    }

    fn on_and_a_friend_for_a_day(&self) -> Result<()> {
        let out = self.in_time(&self.tenant, &["isolate", "shop", "--apply"], &[])?;
        ensure!(out == "NamespaceIsolation shop/default applied\n", "{out}");
        let day = [
            "allow", "--to", "shop", "--from", "friend", "--ports", "web/80", "--for", "24h",
            "--apply",
        ];
        let out = self.in_time(&self.tenant, &day, &["Warning: ", "think twice"])?;
        ensure!(
            out == "IsolationRule shop/from-friend-web-80 applied\n",
            "{out}"
        );
        let elsewhere = ["allow", "--to", "friend", "--from", "shop", "--apply"];
        let (_, error) = self.ends(2, &self.tenant, &elsewhere)?;
        ensure!(error.contains("forbidden"), "{error}");
        println!("ok: a namespace's admin isolates it, and lets a friend in");
        Ok(())
    }

    fn who_may_come_in(&self) -> Result<()> {
        let status = || -> Result<Value> {
            let (out, _) = self.ends(0, &self.tenant, &["status", "shop", "-o", "json"])?;
            Ok(serde_json::from_str(&out)?)
        };
        let before = status()?;
        ensure!(before["isolation"]["inForce"] == false, "{before:#}");
        ensure!(
            before["unknown"].to_string().contains("/api/v1/nodes"),
            "{before:#}"
        );
        self.apply(OWNED)?;
        let after = status()?;
        ensure!(after["isolation"]["inForce"] == true, "{after:#}");
        let friend = json!({
            "who": ["namespace friend"], "ports": ["TCP 8080"],
            "because": "IsolationRule from-friend-web-80",
        });
        ensure!(after["ingress"]["allowed"][1] == friend, "{after:#}");
        let (text, _) = self.ends(0, &self.admin, &["status", "shop"])?;
        ensure!(text.contains("Ringfence enforces on 0 of"), "{text}");
        let (_, error) = self.ends(2, &self.admin, &["status", "nowhere"])?;
        ensure!(error.contains("no namespace nowhere"), "{error}");
        println!("ok: it sees who may come in, and what it may not see");
        Ok(())
    }

    fn off(&self) -> Result<()> {
        let off = ["isolate", "shop", "--off", "--apply"];
        let (out, _) = self.ends(0, &self.tenant, &off)?;
        ensure!(out == "NamespaceIsolation shop/default deleted\n", "{out}");
        let (out, _) = self.ends(0, &self.tenant, &off)?;
        ensure!(
            out == "NamespaceIsolation shop/default was not there\n",
            "{out}"
        );
        println!("ok: off again");
        Ok(())
    }

    fn moving_from_kubesphere(&self) -> Result<()> {
        for (group, kind, plural, scope) in [
            (
                "network",
                "NamespaceNetworkPolicy",
                "namespacenetworkpolicies",
                "Namespaced",
            ),
            ("tenant", "Workspace", "workspaces", "Cluster"),
            (
                "installer",
                "ClusterConfiguration",
                "clusterconfigurations",
                "Namespaced",
            ),
        ] {
            self.apply(&definition(group, kind, plural, scope).to_string())?;
        }
        self.apply("{apiVersion: v1, kind: Namespace, metadata: {name: kubesphere-system}}")?;
        within(PATIENCE, "KubeSphere's kinds are served", || {
            let applied = self.apply_file("tests/isolation/kubesphere.yaml");
            applied.map(|()| true)
        })?;
        let (out, error) = self.ends(0, &self.admin, &["migrate", "kubesphere", "--apply"])?;
        let expected = "\
IsolationConfig default applied
NamespaceIsolation demo-project/default applied
IsolationRule demo-project/allow-nginx applied
IsolationRule demo-project/allow-project applied
IsolationRule demo-project/balancer applied
";
        ensure!(out == expected, "{out}{error}");
        ensure!(error.contains("differs: "), "{error}");
        println!("ok: from KubeSphere's objects in a cluster");
        Ok(())
    }
}

/// A kind of KubeSphere's, without its schema.
fn definition(group: &str, kind: &str, plural: &str, scope: &str) -> Value {
    let group = format!("{group}.kubesphere.io");
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }},
            }],
        },
    })
}
