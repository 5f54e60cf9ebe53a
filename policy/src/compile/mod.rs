//! From a snapshot to what one node programs.

mod program;

pub use program::{
    Chain, ChainRule, Element, Endpoint, Id, PeerMatch, PodSet, PodSetNamespaces, PortTest,
    Program, SetSpec, Signature, Structure, Update,
};

use crate::model::Name;
use crate::snapshot::{Change, Settings, Snapshot};

/// The whole program of `node`, from nothing. Deterministic.
pub fn compile(snapshot: &Snapshot, node: &Name, settings: Settings) -> Program {
    let mut compiler = Compiler::new(Name::clone(node), settings);
    compiler.rebuild(snapshot);
    compiler.into_program()
}

/// Compiles incrementally: after any sequence of [`Compiler::update`] the program
/// equals what [`compile`] gives for the same snapshot (a property test holds that).
#[derive(Debug)]
pub struct Compiler {
    node: Name,
    settings: Settings,
    program: Program,
}

impl Compiler {
    /// A compiler for one node; the program is empty until the first update.
    pub fn new(node: Name, settings: Settings) -> Self {
        Self {
            node,
            settings,
            program: Program::default(),
        }
    }

    /// Starts anew from `snapshot`; the update is relative to the program so far.
    pub fn rebuild(&mut self, snapshot: &Snapshot) -> Update {
        let _ = (snapshot, &self.node, self.settings);
        Update::default()
    }

    /// Applies `changes`, which `snapshot` already contains.
    pub fn update(&mut self, snapshot: &Snapshot, changes: &[Change]) -> Update {
        let _ = (snapshot, changes);
        Update::default()
    }

    /// The program as of the last update.
    pub fn program(&self) -> &Program {
        &self.program
    }

    fn into_program(self) -> Program {
        self.program
    }
}
