//! A stage with the webhook: what people type, and what of it arrives.

use super::Stage;
use crate::admission::dns::{self, Dns};
use crate::admission::{Admission, Kubectl, Said};
use crate::case::Recorded;
use crate::controlplane::Identity;
use crate::objects::{Reference, documents};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

impl Stage {
    /// Starts the webhook and registers it.
    pub(super) fn start_admission(&mut self) -> Result<()> {
        let (server, world) = self.api_server()?;
        let admission = Admission::start(server, world)?;
        self.admission = Some(admission);
        Ok(())
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

    /// Starts `CoreDNS` in a pod, for the rest of the case.
    pub fn start_dns(&mut self, pod: &str, port: u16) -> Result<()> {
        let programs = self.setup.controlplane.clone();
        let program = dns::program(&programs.context("CoreDNS needs --controlplane FOLDER")?)?;
        let (server, world) = self.api_server()?;
        self.dns = Some(Dns::start(server, world, &program, pod, port)?);
        Ok(())
    }

    /// kubectl as the administrator.
    pub fn kubectl(&mut self, args: &[&str], input: &str) -> Result<Said> {
        self.kubectl_as(Identity::Admin, args, input)
    }

    /// kubectl as somebody else.
    pub fn kubectl_as(&mut self, who: Identity, args: &[&str], input: &str) -> Result<Said> {
        let programs = self.setup.controlplane.clone();
        let programs = programs.context("kubectl needs --controlplane FOLDER")?;
        let (server, world) = self.api_server()?;
        let kubectl = Kubectl {
            program: programs.join("kubectl"),
            kubeconfig: server.kubeconfig(who),
        };
        kubectl.run(world.control(), args, input)
    }

    /// `kubectl apply -f -` into `namespace`. What the API server has of it afterwards is
    /// what the oracle judges by; what was refused changes nothing.
    pub fn kubectl_apply(&mut self, yaml: &str, namespace: &str) -> Result<Said> {
        // kubectl refuses `-n` beside objects that name another namespace.
        let named: &[&str] = match namespace {
            "default" => &[],
            _ => &["-n", namespace],
        };
        let said = self.kubectl(&[named, &["apply", "-f", "-"]].concat(), yaml)?;
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
        if answer == recorded.answer {
            return Ok(None);
        }
        if std::env::var_os("RINGFENCE_BLESS").is_some() {
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
        let (server, _) = self.api_server()?;
        if let Some(mut stored) = server.adopt(object)? {
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

/// kubectl names its temporary input, which says nothing.
fn without_names(line: &str) -> &str {
    line.strip_prefix("Error from server (Forbidden): error when creating \"STDIN\": ")
        .unwrap_or(line)
}
