//! What the engine watches on its node besides rules: bridges, foreign datapaths, the
//! Node object itself.

use super::engine::Engine;
use super::keep;
use crate::health::Concern;
use crate::metrics::Drift;
use crate::system::{BridgeReport, Error};
use ringfence_cluster::Origin;
use ringfence_policy::compile::Structure;

impl Engine {
    /// The Node object came, went or changed: its pod ranges say which bridges are ours.
    pub(super) fn node_changed(&mut self) {
        let node = self.store.snapshot().nodes.get(&self.settings.node);
        let ranges = node.map(|node| node.pod_cidrs.clone()).unwrap_or_default();
        let name = &self.settings.node;
        if node.is_none() && self.settings.origin == Origin::Kubernetes {
            let text = format!(
                "the cluster has no node named {name:?}: --node-name must be the name that \
                 `kubectl get nodes` shows"
            );
            self.status.raise(Concern::Node, text);
        } else {
            self.status.settle(Concern::Node);
        }
        if self.ranges.as_ref() == Some(&ranges) {
            return;
        }
        self.ranges = Some(ranges);
        self.bridges_ready = false;
        let unknown = self.unknown_pods(&self.compiler.program().structure);
        tracing::info!(
            unknown_pods = unknown,
            "what becomes of pods that are not known yet"
        );
        self.prepare_bridges();
    }

    /// Sets what makes bridged packets visible, once the pod ranges are known.
    pub(super) fn prepare_bridges(&mut self) {
        if let (Some(driver), Some(ranges)) = (&self.driver, &self.ranges)
            && !self.bridges_ready
        {
            let report = driver.kernel().prepare_bridges(ranges);
            self.bridges_ready = report.is_ok();
            self.bridges(report);
        }
    }

    /// The canary for bridges: repaired at once, and counted.
    pub(super) fn check_bridges(&mut self) {
        let (Some(driver), Some(ranges)) = (&self.driver, &self.ranges) else {
            return;
        };
        if !self.bridges_ready {
            return self.prepare_bridges();
        }
        let mut report = driver.kernel().check_bridges(ranges);
        if report.as_ref().is_ok_and(|report| !report.is_complete()) {
            report = driver.kernel().prepare_bridges(ranges);
            if report
                .as_ref()
                .is_ok_and(|report| !report.changed.is_empty())
            {
                self.metrics.drifted(Drift::Bridge);
                tracing::warn!("bridged packets had become invisible to iptables; repaired");
            }
        }
        self.bridges(report);
    }

    fn bridges(&self, report: Result<BridgeReport, Error>) {
        let text = match report {
            Ok(report) if report.is_complete() => {
                self.status.settle(Concern::Bridges);
                return;
            }
            Ok(report) => report.shortfalls.iter().map(ToString::to_string).collect(),
            Err(error) => {
                self.metrics.failed(error.kind());
                vec![error.to_string()]
            }
        };
        let text = format!("iptables does not see bridged packets: {}", text.join("; "));
        if self.status.raise(Concern::Bridges, text.clone()) {
            tracing::warn!(reason = text, "not ready");
        }
    }

    /// Once the program is in: what an earlier run left in the other flavour goes.
    pub(super) fn leave_other_flavour(&mut self) {
        let Some(driver) = self.driver.as_ref().filter(|_| self.other_flavour) else {
            return;
        };
        let flavour = driver.kernel().flavour().other();
        match keep::leave_other_flavour(&**driver.kernel(), &self.metrics) {
            Ok(false) => self.other_flavour = false,
            Ok(true) => {
                self.other_flavour = false;
                tracing::info!(%flavour, "removed the rules that an earlier run made with the other flavour");
            }
            Err(error) => {
                self.metrics.failed(error.kind());
                tracing::warn!(%error, %flavour, "rules of an earlier run may stand in the other flavour; looked at again with the next read-back");
            }
        }
    }

    /// Whether packets may go past netfilter altogether.
    pub(super) fn check_datapath(&mut self) {
        let Some(driver) = &self.driver else { return };
        let found = match driver.kernel().bypasses() {
            Ok(found) => found,
            Err(error) => {
                self.metrics.failed(error.kind());
                tracing::warn!(%error, "cannot look for datapaths that bypass netfilter");
                return;
            }
        };
        for bypass in found.iter().filter(|bypass| !bypass.blocking) {
            if self.told.insert(bypass.to_string()) {
                tracing::warn!(%bypass, "policies may not hold for every pod of this node");
            }
        }
        let blocking: Vec<String> = found
            .iter()
            .filter(|bypass| bypass.blocking)
            .map(ToString::to_string)
            .collect();
        if blocking.is_empty() {
            self.status.settle(Concern::Datapath);
            return;
        }
        let text = format!("packets go past netfilter: {}", blocking.join("; "));
        if self.status.raise(Concern::Datapath, text.clone()) {
            tracing::warn!(reason = text, "not ready");
        }
    }

    /// Whether somebody else refuses packets here too, by a reading of its own.
    pub(super) fn check_rivals(&mut self) {
        let Some(driver) = &self.driver else { return };
        self.metrics.runs_on(driver.kernel().flavour());
        let found = match driver.kernel().rivals() {
            Ok(found) => found,
            Err(error) => {
                self.metrics.failed(error.kind());
                tracing::warn!(%error, "cannot look for other enforcers");
                return;
            }
        };
        self.metrics.found_rivals(&found);
        for (rival, chains) in found {
            if self.told.insert(format!("rival {}", rival.name())) {
                tracing::warn!(
                    enforcer = rival.name(),
                    chains,
                    "another enforcer has chains on this node; it refuses by its own reading of policies"
                );
            }
        }
    }

    /// What becomes of an address that belongs to no known pod, and why.
    pub(super) fn unknown_pods(&self, structure: &Structure) -> &'static str {
        match (
            self.settings.verdicts.drop_unknown_pods,
            structure.unknown_ranges.is_empty(),
            self.settings.unknown_pods_required,
        ) {
            (false, ..) => "allow (--unknown-pods=allow)",
            (true, false, _) => "drop (inside this node's pod range)",
            (true, true, false) => "allow (this node's pod range is not known)",
            (true, true, true) => {
                "allow, although --unknown-pods=drop: the Node object has no spec.podCIDRs"
            }
        }
    }

    /// Gauges of what is programmed.
    pub(super) fn count(&self) {
        let program = self.compiler.program();
        let structure = &program.structure;
        let gauges = &self.metrics.programmed;
        let size = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        gauges.chains.set(size(structure.chains.len()));
        gauges.sets.set(size(structure.sets.len()));
        gauges.rules.set(size(
            structure
                .chains
                .values()
                .map(|chain| chain.rules.len())
                .sum(),
        ));
        gauges.set_elements.set(size(
            program
                .members
                .values()
                .map(std::collections::BTreeSet::len)
                .sum(),
        ));
        let pods: std::collections::BTreeSet<_> =
            structure.endpoints.values().flat_map(|e| &e.pods).collect();
        gauges.pods_local.set(size(pods.len()));
        let policies: std::collections::BTreeSet<_> = structure
            .chains
            .values()
            .map(|chain| &chain.policy)
            .collect();
        gauges.policies_local.set(size(policies.len()));
        let faulty = self.store.snapshot().policies.values();
        gauges
            .faulty_policies
            .set(size(faulty.filter(|policy| policy.fault.is_some()).count()));
        gauges.broken_sets.set(size(
            self.driver
                .as_ref()
                .map_or(0, |driver| driver.broken().len()),
        ));
    }
}
