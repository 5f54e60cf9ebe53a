//! The leader's loop: sees, decides by [`rotation`] and [`hooks`], writes, looks again.
//!
//! Every write names the version that was looked at, so that two leaders at once, or a
//! person with kubectl, never overwrite each other: who comes second looks again.

mod api;
pub(crate) mod pace;
mod seen;

use crate::config::{Certificates, Settings};
use crate::health::{Concern, Health};
use crate::hooks::probe::{Probe, Proof};
use crate::hooks::{self, Configuration, Doubt, Edit, Hook};
use crate::metrics::Trouble;
use crate::rotation::{self, Contents, Verdict};
use api::{Server, Written};
use jiff::Timestamp;
use kube::Client;
use pace::{Contest, Retry};
use ringfence_certs::{Bundle, Problem};
use seen::Seen;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Steps of one pass; each changes what the next one sees.
const MAX_STEPS: usize = 4;
/// Looks again at least this often, whatever the clocks say.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Works until it is dropped.
pub async fn run(client: Client, settings: Settings, health: Health) {
    let server = Server::new(client, &settings);
    let mut seen = Seen::default();
    let mut events = seen::watch(&server, settings.certificates.is_some());
    let mut keeper = Keeper::new(server, settings, health);
    let mut next = Instant::now() + LONGEST_WAIT;
    loop {
        tokio::select! {
            event = seen::next(&mut events) => keeper.note(&mut seen, event),
            () = sleep_until(next) => {}
        }
        if seen.is_complete(keeper.settings.certificates.is_some()) {
            let wait = keeper.pass(&mut seen).await;
            next = Instant::now() + wait.min(LONGEST_WAIT);
        }
    }
}

struct Keeper {
    server: Server,
    settings: Settings,
    health: Health,
    /// Since when Secret and caBundles have agreed on what this fingerprint stands for.
    agreed: Option<([u8; 32], Instant)>,
    contests: [Contest; 2],
    /// Marks that are not followed, as they were told last.
    doubts: Vec<Doubt>,
    retry: Retry,
    probes: Retry,
    /// When the last probe was, and what it found.
    probed: Option<(Instant, Result<Proof, String>)>,
}

// === impl Keeper ===

impl Keeper {
    fn new(server: Server, settings: Settings, health: Health) -> Self {
        Self {
            server,
            settings,
            health,
            agreed: None,
            contests: <[Contest; 2]>::default(),
            doubts: Vec::new(),
            retry: Retry::default(),
            probes: Retry::default(),
            probed: None,
        }
    }

    fn note(&mut self, seen: &mut Seen, event: seen::Event) {
        let concern = event.concern();
        let problem = seen.note(event).err().map(|error| format!("{error:#}"));
        if let Some(error) = &problem {
            self.health.metrics.failed(Trouble::Watch);
            tracing::warn!(error, "a watch failed; it is tried again");
        }
        self.health.status.set(concern, problem);
        let configurations = Hook::ALL
            .iter()
            .filter_map(|hook| seen.configuration(*hook));
        let doubts: Vec<Doubt> = configurations.flat_map(hooks::doubts).collect();
        if doubts != self.doubts {
            for doubt in &doubts {
                tracing::warn!(%doubt, "a mark is not followed");
            }
            self.doubts = doubts;
        }
    }

    /// Brings everything in line with what is seen; how long until the next look.
    async fn pass(&mut self, seen: &mut Seen) -> Duration {
        let (mut wait, mut failed) = (LONGEST_WAIT, false);
        let mut contents = None;
        if let Some(certificates) = self.settings.certificates.clone() {
            match self.rotate(seen, &certificates).await {
                Ok(until) => wait = wait.min(until),
                Err(()) => failed = true,
            }
            contents = seen.contents().ok();
        }
        match self.align(seen, contents.as_ref().map(|c| &c.ca)).await {
            Ok(until) => wait = wait.min(until),
            Err(()) => failed = true,
        }
        if let Some(contents) = &contents {
            self.agree(seen, contents);
        }
        wait = wait.min(self.prove(seen).await);
        for hook in Hook::ALL {
            let closed = seen.configuration(hook).is_some_and(hooks::fails_closed);
            self.health.metrics.fails_closed(hook, closed);
        }
        if failed {
            return self.retry.failed();
        }
        self.retry.succeeded();
        wait
    }

    /// Takes the steps that are due for the Secret.
    async fn rotate(
        &mut self,
        seen: &mut Seen,
        certificates: &Certificates,
    ) -> Result<Duration, ()> {
        let Certificates { names, timing, .. } = certificates;
        for _ in 0..MAX_STEPS {
            let now = Timestamp::now();
            let contents = seen.contents();
            self.report_expiry(contents.as_ref().ok());
            let agreed = contents.as_ref().ok().and_then(|c| self.agree(seen, c));
            let (step, reason) =
                match rotation::judge(contents.as_ref(), names, agreed, timing, now) {
                    Verdict::Wait(wait) => {
                        self.health.status.set(Concern::Secret, None);
                        return Ok(wait);
                    }
                    Verdict::Do(step, reason) => (step, reason),
                };
            let inherited = seen.trusted();
            let next = rotation::take(step, contents.as_ref().ok(), &inherited, names, timing, now);
            let written = match next {
                Ok(next) => self.server.write_secret(seen.secret(), &next).await,
                Err(error) => Written::Failed(error.to_string()),
            };
            match written {
                Written::Yes(secret) => {
                    tracing::info!(step = step.label(), reason, "rotation: wrote the Secret");
                    self.health.metrics.stepped(step);
                    seen.wrote_secret(secret);
                }
                Written::Conflict => return Ok(self.retry.failed()),
                Written::Failed(why) => {
                    tracing::error!(
                        step = step.label(),
                        reason,
                        why,
                        "rotation: cannot write the Secret"
                    );
                    self.health.metrics.failed(Trouble::Secret);
                    self.health.status.set(Concern::Secret, Some(why));
                    return Err(());
                }
            }
        }
        // Every step leads to one that waits, unless what is written is not what is read.
        let why = "rotation does not come to rest; see the steps in the log".to_owned();
        self.health.status.set(Concern::Secret, Some(why));
        Err(())
    }

    /// Since when everything agrees; begins anew when anything changed.
    fn agree(&mut self, seen: &Seen, contents: &Contents) -> Option<Duration> {
        let mut configurations = Hook::ALL
            .iter()
            .filter_map(|hook| seen.configuration(*hook));
        if !configurations.all(|c| hooks::agrees(c, &contents.ca)) {
            self.agreed = None;
            return None;
        }
        let (fingerprint, now) = (contents.fingerprint(), Instant::now());
        match self.agreed {
            Some((before, since)) if before == fingerprint => Some(now.duration_since(since)),
            _ => {
                self.agreed = Some((fingerprint, now));
                Some(Duration::ZERO)
            }
        }
    }

    /// Writes caBundles, and opens what nothing could verify.
    async fn align(&mut self, seen: &mut Seen, managed: Option<&Bundle>) -> Result<Duration, ()> {
        let (mut wait, mut problem) = (LONGEST_WAIT, None);
        for (hook, slot) in Hook::ALL.into_iter().zip(0..) {
            let Some(configuration) = seen.configuration(hook) else {
                if let Some(why) = seen.absent(hook, &self.settings.configuration) {
                    problem = Some(why);
                }
                continue;
            };
            if managed.is_some() && configuration.injected {
                problem = Some(format!(
                    "the {hook:?} configuration tells cert-manager to write its caBundle: \
                     run with --certs=external, or remove that annotation"
                ));
                continue;
            }
            let edits = hooks::repair(configuration, managed, Timestamp::now());
            if edits.is_empty() {
                continue;
            }
            let contest: &mut Contest = &mut self.contests[slot];
            if let Err(left) = contest.repair(Instant::now()) {
                wait = wait.min(left);
                continue;
            }
            match self.write(seen, hook, &edits).await {
                Ok(()) => {}
                Err(Some(why)) => problem = Some(why),
                Err(None) => wait = wait.min(self.retry.failed()),
            }
        }
        let failed = problem.is_some();
        self.health.status.set(Concern::Configurations, problem);
        if failed { Err(()) } else { Ok(wait) }
    }

    /// Asks the API server to call the webhook, when there is something to prove or it
    /// was long ago, and raises what is proved.
    async fn prove(&mut self, seen: &mut Seen) -> Duration {
        let now = Timestamp::now();
        let configurations = || {
            Hook::ALL
                .iter()
                .filter_map(|hook| seen.configuration(*hook))
        };
        let wanted = configurations().any(|c| hooks::wants_proof(c, now));
        let closed = configurations().any(hooks::fails_closed);
        if !wanted && !closed {
            return LONGEST_WAIT;
        }
        let pause = if wanted {
            self.probes.pause()
        } else {
            self.settings.probe_interval
        };
        let left = self
            .probed
            .as_ref()
            .map(|(at, _)| pause.saturating_sub(at.elapsed()));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return left;
        }
        let probe = Probe::new(fastrand::u128(..));
        let result = self.server.probe(&probe).await;
        self.report_probe(&result, configurations());
        let proof = result.clone().unwrap_or_default();
        self.probed = Some((Instant::now(), result));
        let mut raised = false;
        for hook in Hook::ALL {
            let edits = seen
                .configuration(hook)
                .map(|c| hooks::raise(c, &proof, now));
            let edits = edits.unwrap_or_default();
            if !edits.is_empty() {
                raised |= self.write(seen, hook, &edits).await.is_ok();
            }
        }
        if raised || !wanted {
            self.probes.succeeded();
        }
        if wanted && !raised {
            return self.probes.failed();
        }
        self.settings.probe_interval
    }

    /// `Err(None)` when somebody else wrote meanwhile.
    async fn write(
        &mut self,
        seen: &mut Seen,
        hook: Hook,
        edits: &[Edit],
    ) -> Result<(), Option<String>> {
        let Some(configuration) = seen.configuration(hook) else {
            return Err(None);
        };
        match self.server.write_configuration(configuration, edits).await {
            Written::Yes(object) => {
                for edit in edits {
                    tracing::info!(
                        hook = hook.label(),
                        entry = edit.name,
                        ca_bundle = edit.ca_bundle.is_some(),
                        failure_policy = ?edit.failure_policy,
                        "wrote an entry of the webhook configuration"
                    );
                }
                self.health.metrics.repaired(hook);
                self.note(seen, seen::Event::Configuration(hook, Ok(Some(object))));
                Ok(())
            }
            Written::Conflict => Err(None),
            Written::Failed(why) => {
                tracing::error!(
                    hook = hook.label(),
                    why,
                    "cannot write the webhook configuration"
                );
                self.health.metrics.failed(Trouble::Configuration);
                Err(Some(why))
            }
        }
    }

    fn report_expiry(&self, contents: Option<&Contents>) {
        let expiry = contents.and_then(|c| rotation::expiry(&c.current));
        let seconds = expiry.map_or(0, Timestamp::as_second);
        self.health.metrics.certificate_expiry.set(seconds);
    }

    /// Says what changed since the last probe, once.
    fn report_probe<'a>(
        &self,
        result: &Result<Proof, String>,
        all: impl Iterator<Item = &'a Configuration>,
    ) {
        let proves = |hook| result.as_ref().is_ok_and(|proof| proof.proves(hook));
        for hook in Hook::ALL {
            self.health.metrics.probed(hook, proves(hook));
        }
        if result.is_err() {
            self.health.metrics.failed(Trouble::Probe);
        }
        if self
            .probed
            .as_ref()
            .is_some_and(|(_, before)| before == result)
        {
            return;
        }
        if let Err(why) = result {
            tracing::warn!(why, "cannot prove that the webhook is called");
            return;
        }
        for configuration in all.filter(|c| !c.marked.is_empty()) {
            let hook = configuration.hook;
            let (hook, called) = (hook.label(), proves(hook));
            tracing::info!(hook, called, "probed through the API server");
        }
    }
}
