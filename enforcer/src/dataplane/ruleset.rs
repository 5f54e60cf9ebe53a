//! The rules of one family: our chains, and the rules in built-in chains that enter them.

use super::names::View;
use super::policies::Cache;
use super::{Family, Options, Table, entry, policies, tree};
use ringfence_policy::compile::{Id, SetSpec, Structure};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A chain's table and name.
pub(crate) type ChainKey = (Table, String);

/// All rules of one family. A rule is what follows `-A CHAIN` in `iptables-save`, in
/// exactly the form in which legacy and nft flavour print it, so that it can be
/// compared with what is read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ruleset {
    /// Our chains; shared with the render before where nothing changed, so that they are
    /// compared by address.
    pub chains: BTreeMap<ChainKey, Arc<Vec<String>>>,
    /// The one rule that stands first in a built-in chain, by table and that chain.
    pub entries: BTreeMap<ChainKey, String>,
}

/// What rendering needs to know.
pub(crate) struct Context<'a> {
    pub family: Family,
    pub options: &'a Options,
    pub structure: &'a Structure,
    pub broken: &'a BTreeSet<Id>,
    /// The mark as `--mark` and `--set-xmark` take it: denied, and not denied.
    pub denied: String,
    pub allowed: String,
}

impl Context<'_> {
    /// The kernel set of this family, if rules can refer to it.
    pub(crate) fn set(&self, id: Id) -> Option<String> {
        let usable = self.structure.sets.contains_key(&id) && !self.broken.contains(&id);
        usable.then(|| super::names::set(self.family, id))
    }

    /// The set with one of the fixed meanings.
    pub(crate) fn special(&self, wanted: &SetSpec) -> Option<String> {
        let (id, _) = self
            .structure
            .sets
            .iter()
            .find(|(_, spec)| ***spec == *wanted)?;
        self.set(*id)
    }
}

/// Renders the rules of one family. What `cache` knows from the render before is not made
/// again.
pub(crate) fn render(
    family: Family,
    structure: &Structure,
    options: &Options,
    broken: &BTreeSet<Id>,
    cache: &mut Cache,
) -> Ruleset {
    let context = Context {
        family,
        options,
        structure,
        broken,
        denied: format!("{0:#x}/{0:#x}", options.mark),
        allowed: format!("0x0/{:#x}", options.mark),
    };
    let mut ruleset = Ruleset::default();
    let mut trees = Vec::new();
    for view in View::ALL {
        if tree::render(&context, view, &mut ruleset) {
            policies::render(&context, view, cache, &mut ruleset);
            trees.push(view);
        }
    }
    entry::render(&context, &trees, &mut ruleset);
    ruleset
}

impl Ruleset {
    /// Puts a chain into table `mangle`, where everything is decided.
    pub(crate) fn decide(&mut self, chain: impl Into<String>, rules: Vec<String>) {
        self.share(chain.into(), Arc::new(rules));
    }

    /// The same for rules that were rendered before.
    pub(crate) fn share(&mut self, chain: String, rules: Arc<Vec<String>>) {
        self.chains.insert((Table::Mangle, chain), rules);
    }
}
