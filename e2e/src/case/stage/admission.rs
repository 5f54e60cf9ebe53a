//! A stage with the webhook: what people type, and what of it arrives.

use super::{Ground, Stage};
use crate::admission::dns::{self, Dns};
use crate::admission::{Admission, Kubectl, Said};
use crate::case::Recorded;
use crate::controlplane::Identity;
use crate::fabric::cluster::mark_as_made;
use crate::objects::{Reference, Watcher, documents};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

impl Stage {
    /// Starts the webhook and registers it.
    pub(super) fn start_admission(&mut self) -> Result<()> {
        let (server, world) = self.api_server()?;
        let admission = Admission::start(server, world)?;
        self.admission = Some(admission);
        Ok(())
    }

    /// Whether policies go through a webhook on their way.
    pub(super) fn has_webhook(&self) -> bool {
        match &self.ground {
            Ground::Here { .. } => self.admission.is_some(),
            Ground::There(cluster) => cluster.has_webhook(),
        }
    }

    /// The folder that objects are written to, where they are.
    pub fn objects_folder(&self) -> Option<PathBuf> {
        self.objects.folder().map(Path::to_path_buf)
    }

    /// The webhook, and where it is registered.
    pub fn admission(&mut self) -> Result<&mut Admission> {
        let admission = self.admission.as_mut();
        admission.context("this case has no webhook: say so with Case::webhook")
    }

    /// Runs `work` with the webhook, the API server and the world.
    pub fn with_admission<T>(
        &mut self,
        work: impl FnOnce(
            &mut Admission,
            &mut crate::controlplane::ApiServer,
            &crate::fabric::World,
        ) -> Result<T>,
    ) -> Result<T> {
        let mut admission = self.admission.take();
        let found = admission.as_mut();
        let found = found.context("this case has no webhook: say so with Case::webhook");
        let result = found.and_then(|admission| {
            let (server, world) = self.api_server()?;
            work(admission, server, world)
        });
        self.admission = admission;
        result
    }

    /// Names, behind the Service [`dns::SERVICE`]: a cluster has its own, the world of
    /// namespaces gets a Service in front of the pod `kube-system/dns`.
    pub(in crate::case) fn has_dns(&mut self) -> Result<()> {
        match self.ground {
            Ground::Here { .. } => self.apply(dns::SERVICE, "kube-system"),
            Ground::There(_) => Ok(()),
        }
    }

    /// Whether a pod resolves a name over UDP and over TCP. Starts `CoreDNS` where it does not
    /// run yet, for the rest of the case.
    pub(in crate::case) fn resolves(&mut self, from: &str, name: &str) -> Result<[bool; 2]> {
        if self.dns.is_none() && matches!(self.ground, Ground::Here { .. }) {
            let programs = self.setup.controlplane.clone();
            let program = dns::program(&programs.context("CoreDNS needs --controlplane FOLDER")?)?;
            let (server, world) = self.api_server()?;
            self.dns = Some(Dns::start(server, world, &program)?);
        }
        let service = documents(dns::SERVICE, "kube-system")?;
        let service = service.first().context("no Service")?;
        let found = self.objects.stored(service);
        let found = found.context("looking for Service kube-system/kube-dns")?;
        let server = found["spec"]["clusterIP"].as_str();
        let server = server.context("Service kube-system/kube-dns has no clusterIP")?;
        self.ground.resolves(from, server.parse()?, name)
    }

    /// kubectl as the administrator.
    pub fn kubectl(&mut self, args: &[&str], input: &str) -> Result<Said> {
        self.kubectl_as(Identity::Admin, args, input)
    }

    /// Waits until every webhook judges by everything that was written so far.
    fn wait_judged(&self) -> Result<()> {
        match &self.ground {
            Ground::Here { world, .. } => match &self.admission {
                Some(admission) => {
                    admission.wait_judged(world, &self.objects.mark(Watcher::Webhook)?)
                }
                None => Ok(()),
            },
            Ground::There(cluster) => cluster.wait_judged(&self.objects.mark(Watcher::Webhook)?),
        }
    }

    /// kubectl as somebody else. A webhook judges by everything that was written before.
    ///
    /// # Errors
    /// On a cluster, where only whoever owns the kubeconfig is known.
    pub fn kubectl_as(&mut self, who: Identity, args: &[&str], input: &str) -> Result<Said> {
        self.wait_judged()?;
        if let Ground::There(cluster) = &self.ground {
            ensure!(who == Identity::Admin, "a cluster has no {who:?}");
            return cluster.kubectl(args, input);
        }
        let programs = self.setup.controlplane.clone();
        let programs = programs.context("kubectl needs --controlplane FOLDER")?;
        let (server, world) = self.api_server()?;
        let kubectl = Kubectl {
            program: programs.join("kubectl"),
            kubeconfig: server.kubeconfig(who),
        };
        kubectl.run(world.control(), args, input)
    }

    /// What is given to kubectl to apply or compare: the text as it is; on a cluster its
    /// objects, with the label by which the harness finds them again.
    pub fn typed(&self, yaml: &str, namespace: &str) -> Result<String> {
        if let Ground::Here { .. } = self.ground {
            return Ok(yaml.to_owned());
        }
        let mut objects = documents(yaml, namespace)?;
        objects.iter_mut().for_each(mark_as_made);
        Ok(json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())
    }

    /// `kubectl apply -f -` into `namespace`. What the API server has of it afterwards is
    /// what the oracle judges by; what was refused changes nothing.
    pub fn kubectl_apply(&mut self, yaml: &str, namespace: &str) -> Result<Said> {
        // kubectl refuses `-n` beside objects that name another namespace.
        let named: &[&str] = match namespace {
            "default" => &[],
            _ => &["-n", namespace],
        };
        let typed = self.typed(yaml, namespace)?;
        let said = self.kubectl(&[named, &["apply", "-f", "-"]].concat(), &typed)?;
        for object in documents(yaml, namespace)? {
            self.adopt(&object)?;
        }
        self.wait_applied()?;
        Ok(said)
    }

    /// Applies a file with kubectl and compares what is said with what was recorded: a line
    /// `accepted` or `refused`, the warnings or the reason, and what was injected into which
    /// object. `Some` says what is different. With `RINGFENCE_BLESS=1` it is recorded instead.
    pub(in crate::case) fn admit(&mut self, recorded: &Recorded) -> Result<Option<String>> {
        let said = self.kubectl_apply(recorded.yaml, recorded.namespace)?;
        let mut answer = vec![
            if said.code == 0 {
                "accepted"
            } else {
                "refused"
            }
            .to_owned(),
        ];
        // How many flows are cut depends on which pods the webhook has seen by then; its own
        // tests show that.
        let lines = said.err.lines();
        let lines = lines.filter(|line| !line.is_empty() && !line.contains("[impact, "));
        answer.extend(lines.map(|line| without_names(line).to_owned()));
        for object in documents(recorded.yaml, recorded.namespace)? {
            let reference = Reference::of(&object)?;
            let stored = self.state.get(&reference);
            let annotations = stored.and_then(|o| o["metadata"]["annotations"].as_object());
            let injected = annotations.into_iter().flatten();
            let injected =
                injected.filter_map(|(key, _)| key.strip_prefix("injected.ringfence.dev/"));
            answer.extend(injected.map(|what| format!("injected: {what} into {reference}")));
        }
        let answer = answer.join("\n") + "\n";
        let same = match &self.ground {
            Ground::Here { .. } => answer == recorded.answer,
            Ground::There(cluster) => {
                let dual = cluster.is_dual_stack();
                gist(&answer, dual) == gist(recorded.answer, dual)
            }
        };
        if same {
            return Ok(None);
        }
        let here = matches!(self.ground, Ground::Here { .. });
        if here && std::env::var_os("RINGFENCE_BLESS").is_some() {
            let file = format!(
                "{}/fixtures/seeds/{}.answer",
                env!("CARGO_MANIFEST_DIR"),
                recorded.name
            );
            std::fs::write(&file, &answer).with_context(|| format!("writing {file}"))?;
            return Ok(None);
        }
        Ok(Some(format!(
            "recorded:\n{}\nnow:\n{answer}",
            recorded.answer
        )))
    }

    /// Takes an object over as the API server has it.
    pub fn adopt(&mut self, object: &Value) -> Result<()> {
        if let Some(mut stored) = self.objects.adopt(object)? {
            stored["apiVersion"] = object["apiVersion"].clone();
            stored["kind"] = object["kind"].clone();
            self.state.put(stored)?;
            return Ok(());
        }
        let reference = Reference::of(object)?;
        if self.state.get(&reference).is_some() {
            self.state.take(&reference)?;
        }
        Ok(())
    }
}

/// Checks that are silent where pods have not been running for some minutes.
const LATE: [&str; 6] = [
    "named-port-missing",
    "ns-label-none",
    "one-sided",
    "peer-none",
    "selects-none",
    "service-port",
];

/// What an answer says in any cluster: of a warning its check and field. How many namespaces
/// there are, and which addresses, is the cluster's; where pods have one address only nothing
/// is missing for the other family; and some warnings take their time.
fn gist(answer: &str, dual_stack: bool) -> BTreeSet<&str> {
    let lines = answer.lines().map(|line| match line.rsplit_once(" [") {
        Some((_, check)) if line.starts_with("Warning: ") => check,
        _ => line,
    });
    lines
        .filter(|line| {
            let check = line.split_once(',').map_or(*line, |(check, _)| check);
            !LATE.contains(&check) && (dual_stack || check != "v4-only-dual")
        })
        .collect()
}

/// kubectl names its temporary input, which says nothing.
fn without_names(line: &str) -> &str {
    line.strip_prefix("Error from server (Forbidden): error when creating \"STDIN\": ")
        .unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::gist;

    #[test]
    fn what_an_answer_says_in_any_cluster() {
        let here = "accepted\nWarning: a/b: 14 namespaces [notin-absent, spec.ingress[0]]\n\
                    Warning: a/b: IPv4 only [v4-only-dual, spec.x]\n\
                    Warning: a/b: no pod [selects-none, spec.podSelector]\ninjected: dns into NetworkPolicy a/b\n";
        let there = "accepted\nWarning: a/b: 9 namespaces [notin-absent, spec.ingress[0]]\n\
                     injected: dns into NetworkPolicy a/b\n";
        assert_eq!(gist(here, false), gist(there, false));
        assert_ne!(gist(here, true), gist(there, true));
        assert_ne!(
            gist(here, false),
            gist(&there.replace("accepted", "refused"), false)
        );
        assert_ne!(gist(here, false), gist(&there.replace("[0]", "[1]"), false));
        assert_ne!(
            gist(here, false),
            gist(&there.replace("dns", "monitoring"), false)
        );
    }
}
