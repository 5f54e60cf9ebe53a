//! One case in play: its steps, and what is compared.

use super::{CaseResult, Failure, Fault};
use crate::case::diagnose::diagnose;
use crate::case::expect::{Expect, cells};
use crate::case::stage::Stage;
use crate::case::streams::Flow;
use crate::case::{Case, Step, policy};
use crate::probe::{Outcome, tcp};
use crate::truth::{Row, Table};
use anyhow::{Context, Result};
use ringfence_policy::evaluate::Evaluator;

/// One case in play.
pub(super) struct Play<'a> {
    pub stage: Stage,
    pub case: &'a Case,
    pub result: &'a mut CaseResult,
    pub failures: Vec<Failure>,
}

impl Play<'_> {
    /// From a cleared stage to the canary.
    pub fn all(&mut self) -> Result<()> {
        self.stage.reset().context("clearing away the last case")?;
        self.stage.serve(&self.case.serves)?;
        let ring = self.ring();
        self.expect(&ring, "before the case everything is open")?;
        if !self.failures.is_empty() {
            return Ok(());
        }
        let mut steps = self.case.steps.iter().peekable();
        while let Some(step) = steps.next() {
            // Changes in a row are waited for once.
            self.stage.is_patient =
                !matches!(steps.peek(), Some(Step::Label(..) | Step::Patch(..)))
                    || !matches!(step, Step::Label(..) | Step::Patch(..));
            self.step(step)?;
        }
        self.stage.is_patient = true;
        self.stage.flows.clear();
        if self.failures.is_empty() && self.stage.is_enforced() {
            self.canary()?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Apply { yaml, namespace } => self.stage.apply(yaml, namespace),
            Step::Admit(recorded) => {
                let difference = self.stage.admit(recorded)?;
                self.failures.extend(difference.map(|detail| Failure {
                    fault: Fault::Answer,
                    summary: format!("{}: another answer than was recorded", recorded.name),
                    detail,
                }));
                Ok(())
            }
            Step::Type(what, act) => act(&mut self.stage).with_context(|| (*what).to_owned()),
            Step::Dns => self.stage.has_dns(),
            Step::Resolve(from, name, it_does) => self.resolve(from, name, *it_does),
            Step::Isolate(yaml, policies) => self.stage.isolate(yaml, policies),
            Step::Unisolate(object, policies) => self.stage.unisolate(object, policies),
            Step::Rendered(namespace, pointer, value) => {
                self.stage.rendered(namespace, pointer, value)
            }
            Step::Condition(object, name, wanted) => self.stage.condition(object, name, wanted),
            Step::Patch(object, patch) => self.stage.patch(object, patch),
            Step::Delete(object) => self.stage.delete(object),
            Step::Label(object, labels) => self.stage.label(object, labels),
            Step::File(name, content) => self.stage.file(name, *content),
            Step::Expect(expect) => self.expect(expect, &expect.title()),
            Step::Open {
                name,
                from,
                to,
                transport,
                v4,
            } => {
                let flow = Flow::open(&self.stage, from, to, *transport, *v4)?;
                self.stage.flows.insert(name, flow);
                Ok(())
            }
            Step::Cut(names) => self.flows(names, Flow::leaks, true),
            Step::Kept(names) => self.flows(names, Flow::losses, false),
            Step::Do(what, act) => act(&mut self.stage).with_context(|| (*what).to_owned()),
        }
    }

    fn resolve(&mut self, from: &str, name: &str, it_does: bool) -> Result<()> {
        let found = self.stage.resolves(from, name)?;
        if found != [it_does; 2] {
            self.failures.push(Failure {
                fault: Fault::Packet,
                summary: format!(
                    "{from} resolves {name} over UDP and over TCP: expected {it_does}, found {found:?}"
                ),
                detail: String::new(),
            });
        }
        Ok(())
    }

    fn flows(&mut self, names: &[&str], judge: fn(&Flow) -> Vec<String>, dead: bool) -> Result<()> {
        let flows = names
            .iter()
            .map(|name| {
                self.stage
                    .flows
                    .get(name)
                    .with_context(|| format!("no flow is called {name}"))
            })
            .collect::<Result<Vec<_>>>()?;
        let faults: Vec<String> = std::thread::scope(|scope| {
            let judges: Vec<_> = flows
                .iter()
                .map(|flow| scope.spawn(|| judge(flow)))
                .collect();
            judges
                .into_iter()
                .flat_map(|j| {
                    j.join()
                        .unwrap_or_else(|_| vec!["judging a flow panicked".into()])
                })
                .collect()
        });
        if dead {
            self.result
                .notes
                .extend(flows.iter().map(|flow| flow.obituary()));
        }
        let failures = faults.into_iter().map(|summary| Failure {
            fault: Fault::Packet,
            summary,
            detail: String::new(),
        });
        self.failures.extend(failures);
        Ok(())
    }

    /// Every pod to the next one: enough to see whether every pod sends and receives.
    fn ring(&self) -> Expect {
        let pods = &self.case.pods;
        let key = |pod: &'static str| pod.split_once('@').map_or(pod, |(key, _)| key);
        let pairs: Vec<(&str, &str)> = pods
            .iter()
            .zip(pods.iter().cycle().skip(1))
            .map(|(a, b)| (key(a), key(b)))
            .collect();
        cells(&[tcp(80)], &pairs)
    }

    /// Denies everything and sees that it is denied: the enforcer was awake all along.
    fn canary(&mut self) -> Result<()> {
        self.stage.clear().context("clearing away the case")?;
        let mut namespaces: Vec<&str> = self
            .case
            .pods
            .iter()
            .filter_map(|p| p.split_once('/'))
            .map(|(n, _)| n)
            .collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        let all: Vec<String> = namespaces
            .iter()
            .map(|n| {
                policy(
                    &format!("{n}/canary"),
                    "{podSelector: {}, policyTypes: [Ingress, Egress]}",
                )
            })
            .collect();
        self.stage.apply(&all.join("---\n"), "default")?;
        let ring = self.ring();
        self.expect(&ring, "after the case a deny of everything works")
    }

    fn expect(&mut self, expect: &Expect, title: &str) -> Result<()> {
        let snapshot = self.stage.snapshot()?;
        let evaluator = Evaluator::new(&snapshot, self.stage.settings());
        let asked = expect.cells(&self.stage.names())?;
        let mut table = Table::default();
        let mut wanted = Vec::with_capacity(asked.len());
        for cell in &asked {
            let expected = self.stage.expected(&evaluator, cell)?;
            if let Some(says) = expect.says(cell)
                && says == expected.is_denied()
            {
                let word = if says { "allowed" } else { "denied" };
                let reasons = expected
                    .verdict
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                self.failures.push(Failure {
                    fault: Fault::Truth,
                    summary: format!(
                        "{cell}: the case says {word}, the oracle {}",
                        expected.outcome
                    ),
                    detail: reasons,
                });
            }
            wanted.push((cell, expected.outcome));
            table.expect(cell.clone(), expected)?;
        }
        for (cell, observation) in asked.iter().zip(self.stage.probe(&wanted)?) {
            table.observe(cell, observation)?;
        }
        let mut rows = table.finish()?;
        self.second_look(&mut rows)?;
        self.clients(expect, &rows)?;
        let wrong: Vec<&Row> = rows.iter().filter(|row| !row.is_right()).collect();
        for (index, row) in wrong.iter().enumerate() {
            self.failures.push(self.describe(row, title, index < 3));
        }
        self.result.tables.push((title.to_owned(), rows));
        Ok(())
    }

    /// Whether servers saw the clients that the case says.
    fn clients(&mut self, expect: &Expect, rows: &[Row]) -> Result<()> {
        for row in rows
            .iter()
            .filter(|row| row.observed.outcome == Outcome::Allowed)
        {
            let wanted = expect.sees(&self.stage.names(), &row.cell)?;
            let seen = row.observed.seen.map(|peer| peer.ip());
            if wanted.is_some() && wanted != seen {
                self.failures.push(Failure {
                    fault: Fault::Packet,
                    summary: format!("{}: the server saw {seen:?}, not {wanted:?}", row.cell),
                    detail: String::new(),
                });
            }
        }
        Ok(())
    }

    /// Probes that should pass and did not are sent again, all at once, and a success is
    /// noted as a flip. What passed although it should not is never asked again: that is
    /// a leak.
    fn second_look(&mut self, rows: &mut [Row]) -> Result<()> {
        let mut lost: Vec<&mut Row> = rows
            .iter_mut()
            .filter(|row| {
                let silent = matches!(row.observed.outcome, Outcome::Dropped | Outcome::Error);
                silent && !row.expected.is_denied()
            })
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        let asked: Vec<_> = lost
            .iter()
            .map(|row| (&row.cell, row.expected.outcome))
            .collect();
        let again = self.stage.probe(&asked)?;
        for (row, observation) in lost.iter_mut().zip(again) {
            if observation.outcome == row.expected.outcome {
                self.result.notes.push(format!(
                    "flaky: {}: first {} {}, then {}",
                    row.cell, row.observed.outcome, row.observed.detail, observation.outcome
                ));
                row.observed = observation;
            }
        }
        Ok(())
    }

    fn describe(&self, row: &Row, title: &str, closely: bool) -> Failure {
        let Row {
            cell,
            expected,
            observed,
        } = row;
        let words = if observed.detail.is_empty() {
            String::new()
        } else {
            format!(" ({})", observed.detail)
        };
        let mut detail = expected
            .verdict
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        if closely && self.stage.is_enforced() {
            detail = format!("{detail}\n{}", diagnose(&self.stage, row));
        }
        Failure {
            fault: Fault::Packet,
            summary: format!(
                "{title}: {cell}: expected {}, observed {}{words}",
                expected.outcome, observed.outcome
            ),
            detail,
        }
    }
}
