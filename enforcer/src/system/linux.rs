//! The real kernel.

use super::command::{self, Output};
use super::detect::{default_flavour, detect, holds_ours, legacy_tables};
use super::programs::SearchPath;
use super::session::Session;
use super::text::{appended, own_sets, succeeded, wait_argument};
use super::{
    BridgeReport, Bypass, EntryPoint, Error, Family, Flavour, Ipv6, Kernel, OWN_SET_PREFIX,
    Options, Readback, Rival, Table, bridges, conntrack, links, nftables, rivals,
};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What `iptables-nft-save` prints, with exit status 0, instead of a table that holds
/// rules it cannot express.
const INCOMPATIBLE: &str = "is incompatible, use 'nft' tool";

/// The kernel of the network namespace that the calling thread is in.
#[derive(Debug)]
pub struct LinuxKernel {
    options: Options,
    search: SearchPath,
    flavour: Flavour,
    v4: Tools,
    v6: Option<Tools>,
    ipv6: Ipv6,
    ipset: PathBuf,
    session: Session,
}

/// One family's programs.
#[derive(Debug)]
struct Tools {
    restore: PathBuf,
    save: PathBuf,
    security: bool,
}

impl LinuxKernel {
    /// Detects flavour, programs and tables. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Missing`] for a program that IPv4 needs; what stands in the way of IPv6
    /// is told by [`Kernel::ipv6`] instead.
    pub fn open(options: Options) -> Result<Self, Error> {
        let search = SearchPath::new(&options.search_path);
        let default = default_flavour(&search, options.timeout)?;
        let flavour = match options.flavour {
            Some(flavour) => flavour,
            None => detect(&search, default, options.timeout)?,
        };
        let v4 = Tools::find(&search, Family::V4, flavour, default, &options)?;
        let (v6, ipv6) = match Tools::find(&search, Family::V6, flavour, default, &options) {
            Ok(tools) => (Some(tools), Ipv6::Available),
            Err(error @ (Error::Missing { .. } | Error::Failed { .. })) => {
                (None, Ipv6::Absent(error.to_string()))
            }
            // A held lock passes; taking it for a node without IPv6 would not.
            Err(error) => return Err(error),
        };
        let ipset = search.require("ipset", "ipset")?;
        Ok(Self {
            options,
            search,
            flavour,
            v4,
            v6,
            ipv6,
            session: Session::new(ipset.clone()),
            ipset,
        })
    }

    /// Detects the flavour again: the node's other programs may have started later than
    /// we. To change over, clean up with this and [`LinuxKernel::open`] another.
    pub fn detect_flavour(&self) -> Result<Flavour, Error> {
        let default = default_flavour(&self.search, self.options.timeout)?;
        detect(&self.search, default, self.options.timeout)
    }

    fn tools(&self, family: Family) -> Result<&Tools, Error> {
        match (family, &self.v6, &self.ipv6) {
            (Family::V4, ..) => Ok(&self.v4),
            (Family::V6, Some(tools), _) => Ok(tools),
            (Family::V6, None, Ipv6::Absent(reason)) => Err(Error::NoIpv6 {
                reason: reason.clone(),
            }),
            (Family::V6, None, Ipv6::Available) => Err(Error::NoIpv6 {
                reason: "no programs".to_owned(),
            }),
        }
    }

    fn run(&self, program: &Path, arguments: &[&str], input: &str) -> Result<Output, Error> {
        let output = command::run(program, arguments, input, self.options.timeout)?;
        succeeded(program, arguments, input, output, self.options.lock_wait)
    }

    /// The jumps of a table by chain, in order; `None` for a rule that is no jump.
    fn jumps(
        &self,
        family: Family,
        table: Table,
        chains: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, Vec<Option<String>>>, Error> {
        let mut found: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
        match self.flavour {
            Flavour::Nft => {
                for chain in chains {
                    let rules =
                        nftables::rules(family, table.name(), Some(chain), self.options.timeout)?;
                    let targets = rules.into_iter().map(|rule| rule.target).collect();
                    found.insert((*chain).to_owned(), targets);
                }
            }
            Flavour::Legacy => {
                if let Readback::Text(text) = self.iptables_save(family, table)? {
                    for (chain, target) in text.lines().filter_map(appended) {
                        found
                            .entry(chain.to_owned())
                            .or_default()
                            .push(target.map(str::to_owned));
                    }
                }
            }
        }
        Ok(found)
    }

    fn load_bridge_module(&self) -> Result<(), Error> {
        let modprobe = self.search.require("modprobe", "kmod")?;
        self.run(&modprobe, &["br_netfilter"], "").map(|_| ())
    }
}

// === impl Kernel ===

impl Kernel for LinuxKernel {
    fn flavour(&self) -> Flavour {
        self.flavour
    }

    fn ipv6(&self) -> &Ipv6 {
        &self.ipv6
    }

    fn has_security_table(&self, family: Family) -> bool {
        self.tools(family).is_ok_and(|tools| tools.security)
    }

    fn iptables_restore(&self, family: Family, input: &str) -> Result<(), Error> {
        let wait = wait_argument(&self.options);
        self.run(&self.tools(family)?.restore, &["--noflush", &wait], input)
            .map(|_| ())
    }

    fn ipset_restore(&self, input: &str) -> Result<(), Error> {
        if self.session.carry_out(input) {
            return Ok(());
        }
        self.run(&self.ipset, &["-exist", "restore"], input)
            .map(|_| ())
    }

    fn ipset_save(&self) -> Result<String, Error> {
        match self.run(&self.ipset, &["save"], "") {
            Ok(output) => Ok(own_sets(&output.stdout)),
            // A foreign set of a type that this ipset does not know spoils the whole.
            Err(Error::Failed { .. }) => {
                let names = self.run(&self.ipset, &["list", "-name"], "")?.stdout;
                let mut text = String::new();
                for name in names
                    .lines()
                    .filter(|name| name.starts_with(OWN_SET_PREFIX))
                {
                    text.push_str(&self.run(&self.ipset, &["save", name], "")?.stdout);
                }
                Ok(text)
            }
            Err(error) => Err(error),
        }
    }

    fn iptables_save(&self, family: Family, table: Table) -> Result<Readback, Error> {
        let save = &self.tools(family)?.save;
        // Asking legacy for a table that is not there would make it.
        if self.flavour == Flavour::Legacy && !legacy_tables(family)?.contains(table.name()) {
            return Ok(Readback::Text(String::new()));
        }
        match self.run(save, &["-t", table.name()], "") {
            Ok(output) if !output.stdout.contains(INCOMPATIBLE) => {
                Ok(Readback::Text(output.stdout))
            }
            Ok(_) | Err(Error::Failed { .. }) if self.flavour == Flavour::Nft => {
                nftables::opaque(family, table.name(), self.options.timeout).map(Readback::Opaque)
            }
            Ok(output) => Ok(Readback::Text(output.stdout)),
            Err(error) => Err(error),
        }
    }

    fn generation(&self) -> Result<Option<u32>, Error> {
        match self.flavour {
            Flavour::Nft => nftables::generation(self.options.timeout).map(Some),
            Flavour::Legacy => Ok(None),
        }
    }

    fn entry_positions(&self, entries: &[EntryPoint]) -> Result<Vec<Option<u32>>, Error> {
        let mut wanted: BTreeMap<(Family, Table), BTreeSet<&str>> = BTreeMap::new();
        for entry in entries {
            wanted
                .entry((entry.family, entry.table))
                .or_default()
                .insert(&entry.chain);
        }
        let mut jumps = BTreeMap::new();
        for ((family, table), chains) in wanted {
            jumps.insert((family, table), self.jumps(family, table, &chains)?);
        }
        let position = |entry: &EntryPoint| {
            let rules = jumps.get(&(entry.family, entry.table))?.get(&entry.chain)?;
            let at = rules
                .iter()
                .position(|to| to.as_deref() == Some(entry.target.as_str()))?;
            u32::try_from(at + 1).ok()
        };
        Ok(entries.iter().map(position).collect())
    }

    fn delete_rules(
        &self,
        family: Family,
        table: Table,
        rules: &[(String, u64)],
    ) -> Result<(), Error> {
        nftables::delete_rules(family, table.name(), rules, self.options.timeout)
    }

    fn other_flavour(&self) -> Result<Option<Arc<dyn Kernel>>, Error> {
        let other = self.flavour.other();
        if !holds_ours(&self.search, other, self.options.timeout)? {
            return Ok(None);
        }
        let options = Options {
            flavour: Some(other),
            ..self.options.clone()
        };
        Ok(Some(Arc::new(Self::open(options)?)))
    }

    fn conntrack_dump(
        &self,
        filter: conntrack::MarkFilter,
        each: &mut dyn FnMut(&conntrack::Entry),
    ) -> Result<conntrack::Dump, Error> {
        conntrack::dump(filter, self.options.timeout, each)
    }

    fn conntrack_mark(
        &self,
        flows: &[conntrack::FlowKey],
        mask: u32,
        on: bool,
    ) -> Result<conntrack::Marked, Error> {
        conntrack::mark(flows, mask, on, self.options.timeout)
    }

    fn prepare_bridges(&self, pod_ranges: &[IpNet]) -> Result<BridgeReport, Error> {
        bridges::inspect(
            pod_ranges,
            true,
            &|| self.load_bridge_module(),
            self.options.timeout,
        )
    }

    fn check_bridges(&self, pod_ranges: &[IpNet]) -> Result<BridgeReport, Error> {
        bridges::inspect(pod_ranges, false, &|| Ok(()), self.options.timeout)
    }

    fn has_bridges(&self) -> Result<bool, Error> {
        Ok(!links::links(Some("bridge"), self.options.timeout)?.is_empty())
    }

    fn bindings(&self, pods: &BTreeSet<IpAddr>) -> Result<Vec<(IpAddr, String)>, Error> {
        links::bindings(pods, self.options.timeout)
    }

    fn local_addresses(&self) -> Result<BTreeSet<IpAddr>, Error> {
        let addresses = links::addresses(self.options.timeout)?;
        Ok(addresses.into_iter().map(|(address, _)| address).collect())
    }

    fn bypasses(&self) -> Result<Vec<Bypass>, Error> {
        Ok(links::bypasses(&links::links(None, self.options.timeout)?))
    }

    fn rivals(&self) -> Result<BTreeMap<Rival, usize>, Error> {
        rivals::rivals(&self.search, self.options.timeout)
    }
}

// === impl Tools ===

impl Tools {
    fn find(
        search: &SearchPath,
        family: Family,
        flavour: Flavour,
        default: Option<Flavour>,
        options: &Options,
    ) -> Result<Self, Error> {
        let restore = search.tool(family, flavour, "restore", default)?;
        let save = search.tool(family, flavour, "save", default)?;
        let wait = wait_argument(options);
        let has = |table: Table| {
            let arguments = ["--noflush", "--test", &wait];
            let input = format!("*{table}\nCOMMIT\n");
            let output = command::run(&restore, &arguments, &input, options.timeout)?;
            succeeded(&restore, &arguments, &input, output, options.lock_wait)
        };
        has(Table::Mangle)?;
        has(Table::Filter)?;
        let security = match has(Table::Security) {
            Ok(_) => true,
            Err(Error::Failed { .. }) => false,
            Err(error) => return Err(error),
        };
        Ok(Self {
            restore,
            save,
            security,
        })
    }
}
