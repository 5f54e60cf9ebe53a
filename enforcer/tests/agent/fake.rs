//! A kernel that executes what it is given: sets, tables, flows. It survives the agent, as
//! the real one does, and fails where a test says.

use ipnet::IpNet;
use ringfence_enforcer::system::conntrack::{Dump, Entry, FlowKey, MarkFilter, Marked};
use ringfence_enforcer::system::{
    BridgeReport, Bypass, EntryPoint, Error, Family, Flavour, Ipv6, Kernel, Readback, Rival, Table,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

type Chains = BTreeMap<String, Vec<String>>;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next so many writes find the xtables lock held.
    LockHeld(usize),
    /// The write after so many others breaks off in the middle.
    NthWrite(usize),
    /// Lines that contain this text are refused by ipset.
    Line(String),
    /// The next look at the entry rules fails.
    Look,
}

#[derive(Debug, Default)]
pub struct State {
    pub sets: BTreeMap<String, BTreeSet<String>>,
    kinds: BTreeMap<String, String>,
    pub tables: BTreeMap<(Family, Table), Chains>,
    pub flows: Vec<Entry>,
    pub own: BTreeSet<IpAddr>,
    /// The same node through the other flavour.
    pub other: Option<Arc<FakeKernel>>,
    pub faults: Vec<Fault>,
    pub bypasses: Vec<Bypass>,
    pub rivals: BTreeMap<Rival, usize>,
    pub bridges: BridgeReport,
    pub without_bridges: bool,
    pub prepared: Vec<Vec<IpNet>>,
    pub writes: usize,
    pub dumps: usize,
    /// Everything that was written, for the order of things.
    pub log: Vec<String>,
}

#[derive(Debug, Default)]
pub struct FakeKernel {
    state: Mutex<State>,
}

impl FakeKernel {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// All that is programmed, for comparisons.
    pub fn held(&self) -> String {
        let state = self.state();
        format!("{:?}\n{:?}", state.sets, state.tables)
    }

    pub fn is_empty(&self) -> bool {
        let state = self.state();
        let ours = |chains: &Chains| {
            chains.iter().any(|(name, rules)| {
                name.starts_with("RF") || rules.iter().any(|rule| rule.contains("RF"))
            })
        };
        !state.sets.keys().any(|name| name.starts_with("RF")) && !state.tables.values().any(ours)
    }
}

impl State {
    fn write(&mut self, program: &str, input: &str) -> Result<(), Error> {
        self.writes += 1;
        self.log.push(format!("{program}\n{input}"));
        let mut error = None;
        for fault in &mut self.faults {
            match fault {
                Fault::LockHeld(times) if *times > 0 && program != "ipset" => {
                    *times -= 1;
                    error = Some(Error::LockHeld {
                        program: program.to_owned(),
                        waited: Duration::from_secs(5),
                    });
                }
                Fault::NthWrite(0) => error = Some(failed(program, None, "killed")),
                Fault::NthWrite(after) => *after -= 1,
                _ => {}
            }
        }
        self.faults
            .retain(|fault| error.is_none() || *fault != Fault::NthWrite(0));
        error.map_or(Ok(()), Err)
    }

    fn ipset_line(&mut self, line: &str) -> Result<(), &'static str> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            [word, ..] if word.starts_with('#') => {}
            ["create", name, rest @ ..] => {
                self.sets.entry((*name).to_owned()).or_default();
                self.kinds.insert((*name).to_owned(), rest.join(" "));
            }
            ["add", name, member] => {
                let set = self.sets.get_mut(*name).ok_or("no such set")?;
                set.insert((*member).to_owned());
            }
            ["del", name, member] => {
                self.sets
                    .get_mut(*name)
                    .ok_or("no such set")?
                    .remove(*member);
            }
            ["flush", name] => self.sets.get_mut(*name).ok_or("no such set")?.clear(),
            ["swap", a, b] => {
                let one = self.sets.remove(*a).ok_or("no such set")?;
                let two = self
                    .sets
                    .insert((*b).to_owned(), one)
                    .ok_or("no such set")?;
                self.sets.insert((*a).to_owned(), two);
            }
            ["destroy", name] => {
                let used = self.tables.values().flat_map(BTreeMap::values).flatten();
                if used
                    .into_iter()
                    .any(|rule| rule.split(' ').any(|word| word == *name))
                {
                    return Err("set is in use by a kernel component");
                }
                // As with `-exist`: no error when it is not there.
                self.sets.remove(*name);
                self.kinds.remove(*name);
            }
            _ => return Err("unknown command"),
        }
        Ok(())
    }

    fn rules_line(&self, chains: &mut Chains, line: &str) -> Result<(), &'static str> {
        if let Some(name) = line.strip_prefix(':') {
            let name = name.split(' ').next().ok_or("no name")?;
            chains.insert(name.to_owned(), Vec::new());
            return Ok(());
        }
        let (command, rest) = line.split_once(' ').ok_or("no command")?;
        let (chain, rule) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut words = rule.split(' ');
        while let Some(word) = words.next() {
            if word == "--match-set" && !self.sets.contains_key(words.next().unwrap_or_default()) {
                return Err("no such set");
            }
        }
        if command == "-X" {
            return chains.remove(chain).map(drop).ok_or("no such chain");
        }
        let builtin = chain.chars().all(char::is_uppercase);
        if builtin {
            chains.entry(chain.to_owned()).or_default();
        }
        let rules = chains.get_mut(chain).ok_or("no such chain")?;
        match command {
            "-A" => rules.push(rule.to_owned()),
            "-F" => rules.clear(),
            "-I" => {
                let rule = rule.strip_prefix("1 ").ok_or("only the first place")?;
                rules.insert(0, rule.to_owned());
            }
            "-D" => {
                let at = rules.iter().position(|r| r == rule).ok_or("no such rule")?;
                rules.remove(at);
            }
            _ => return Err("unknown command"),
        }
        Ok(())
    }
}

fn failed(program: &str, line: Option<(usize, &str)>, stderr: &str) -> Error {
    Error::Failed {
        program: program.to_owned(),
        status: "exit status 1".to_owned(),
        stderr: stderr.to_owned(),
        line: line.map(|(number, _)| number),
        text: line.map(|(_, text)| text.to_owned()),
    }
}

impl Kernel for FakeKernel {
    fn flavour(&self) -> Flavour {
        Flavour::Nft
    }

    fn ipv6(&self) -> &Ipv6 {
        &Ipv6::Available
    }

    fn has_security_table(&self, _: Family) -> bool {
        true
    }

    fn iptables_restore(&self, family: Family, input: &str) -> Result<(), Error> {
        let mut state = self.state();
        let broken_off = state.write("iptables-restore", input);
        if matches!(broken_off, Err(Error::LockHeld { .. })) {
            return broken_off;
        }
        let mut current = None;
        for (index, line) in input.lines().enumerate() {
            if let Some(name) = line.strip_prefix('*') {
                let table = Table::ALL.into_iter().find(|t| t.name() == name).unwrap();
                let chains = state.tables.get(&(family, table)).cloned();
                current = Some((table, chains.unwrap_or_default()));
            } else if line == "COMMIT" {
                let (table, chains) = current.take().unwrap();
                state.tables.insert((family, table), chains);
                // Each table commits by itself: the first one is in.
                broken_off
                    .as_ref()
                    .map_err(|_| failed("iptables-restore", None, "killed"))?;
            } else if !line.starts_with('#') && !line.is_empty() {
                let (_, chains) = current.as_mut().unwrap();
                state
                    .rules_line(chains, line)
                    .map_err(|error| failed("iptables-restore", Some((index + 1, line)), error))?;
            }
        }
        broken_off
    }

    fn ipset_restore(&self, input: &str) -> Result<(), Error> {
        let mut state = self.state();
        let broken_off = state.write("ipset", input);
        let lines = input.lines().count();
        for (index, line) in input.lines().enumerate() {
            if broken_off.is_err() && index > lines / 2 {
                return broken_off;
            }
            let refused = |fault: &Fault| matches!(fault, Fault::Line(part) if line.contains(part));
            let result = if state.faults.iter().any(refused) {
                Err("refused")
            } else {
                state.ipset_line(line)
            };
            result.map_err(|error| failed("ipset", Some((index + 1, line)), error))?;
        }
        broken_off
    }

    fn ipset_save(&self) -> Result<String, Error> {
        let state = self.state();
        let mut out = String::new();
        for (name, members) in &state.sets {
            writeln!(out, "create {name} {}", state.kinds[name]).unwrap();
            for member in members {
                writeln!(out, "add {name} {member}").unwrap();
            }
        }
        Ok(out)
    }

    fn iptables_save(&self, family: Family, table: Table) -> Result<Readback, Error> {
        let state = self.state();
        let Some(chains) = state.tables.get(&(family, table)) else {
            return Ok(Readback::Text(String::new()));
        };
        let mut out = format!("*{}\n", table.name());
        for name in chains.keys() {
            writeln!(out, ":{name} - [0:0]").unwrap();
        }
        for (name, rules) in chains {
            for rule in rules {
                writeln!(out, "-A {name} {rule}").unwrap();
            }
        }
        Ok(Readback::Text(out + "COMMIT\n"))
    }

    fn generation(&self) -> Result<Option<u32>, Error> {
        Ok(None)
    }

    fn entry_positions(&self, entries: &[EntryPoint]) -> Result<Vec<Option<u32>>, Error> {
        let mut state = self.state();
        if let Some(at) = state.faults.iter().position(|fault| *fault == Fault::Look) {
            state.faults.remove(at);
            return Err(failed("netlink", None, "interrupted"));
        }
        let position = |entry: &EntryPoint| {
            let rules = state
                .tables
                .get(&(entry.family, entry.table))?
                .get(&entry.chain)?;
            let at = rules
                .iter()
                .position(|rule| rule.ends_with(&entry.target))?;
            u32::try_from(at + 1).ok()
        };
        Ok(entries.iter().map(position).collect())
    }

    fn delete_rules(&self, _: Family, _: Table, _: &[(String, u64)]) -> Result<(), Error> {
        Err(failed("netlink", None, "every table can be read here"))
    }

    fn other_flavour(&self) -> Result<Option<Arc<dyn Kernel>>, Error> {
        let other = self.state().other.clone();
        Ok(other
            .filter(|other| !other.is_empty())
            .map(|other| other as Arc<dyn Kernel>))
    }

    fn conntrack_dump(
        &self,
        filter: MarkFilter,
        each: &mut dyn FnMut(&Entry),
    ) -> Result<Dump, Error> {
        let flows = {
            let mut state = self.state();
            state.dumps += 1;
            state.flows.clone()
        };
        let matching = flows
            .iter()
            .filter(|flow| flow.mark & filter.mask == filter.value);
        let mut dump = Dump::default();
        for flow in matching {
            dump.entries += 1;
            each(flow);
        }
        Ok(dump)
    }

    fn conntrack_mark(&self, flows: &[FlowKey], mask: u32, on: bool) -> Result<Marked, Error> {
        let mut marked = Marked::default();
        for flow in &mut self.state().flows {
            if flows.contains(&flow.key) {
                flow.mark = if on {
                    flow.mark | mask
                } else {
                    flow.mark & !mask
                };
                marked.done += 1;
            }
        }
        Ok(marked)
    }

    fn prepare_bridges(&self, pod_ranges: &[IpNet]) -> Result<BridgeReport, Error> {
        let mut state = self.state();
        state.prepared.push(pod_ranges.to_vec());
        Ok(state.bridges.clone())
    }

    fn check_bridges(&self, _: &[IpNet]) -> Result<BridgeReport, Error> {
        Ok(self.state().bridges.clone())
    }

    fn has_bridges(&self) -> Result<bool, Error> {
        Ok(!self.state().without_bridges)
    }

    fn bindings(&self, _: &BTreeSet<IpAddr>) -> Result<Vec<(IpAddr, String)>, Error> {
        Ok(Vec::new())
    }

    fn local_addresses(&self) -> Result<BTreeSet<IpAddr>, Error> {
        Ok(self.state().own.clone())
    }

    fn bypasses(&self) -> Result<Vec<Bypass>, Error> {
        Ok(self.state().bypasses.clone())
    }

    fn rivals(&self) -> Result<BTreeMap<Rival, usize>, Error> {
        Ok(self.state().rivals.clone())
    }
}
