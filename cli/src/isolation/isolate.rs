//! `ringfence isolate`: a namespace gets its fence, or loses it.

use super::write::{Made, WriteArgs};
use anyhow::{Result, bail};
use clap::ValueEnum;
use ringfence_api::{
    Egress, Mode, NamespaceIsolation, NamespaceIsolationSpec, OnDisable, SINGLETON, Scope,
};
use std::process::ExitCode;

/// `ringfence isolate`
#[derive(Debug, clap::Args)]
pub struct IsolateArgs {
    /// The namespace.
    namespace: String,
    /// Who is inside: the namespace, or every namespace of its tenant.
    #[arg(long, value_enum, default_value = "namespace")]
    scope: ScopeWord,
    /// Whether egress is restricted: `auto` is from the first egress rule on.
    #[arg(long, value_enum, default_value = "auto")]
    egress: EgressWord,
    /// Say what would be cut, in the object's status, and cut nothing.
    #[arg(long)]
    preview: bool,
    /// Keep the NetworkPolicy when the isolation is ended.
    #[arg(long)]
    retain: bool,
    /// End the isolation (with --apply): what others made stays.
    #[arg(long, requires = "apply", conflicts_with_all = ["preview", "retain", "scope", "egress"])]
    off: bool,
    #[command(flatten)]
    write: WriteArgs,
}

/// `--scope`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ScopeWord {
    /// The namespace alone.
    Namespace,
    /// Every namespace with the same value of IsolationConfig's tenantLabel.
    Tenant,
}

/// `--egress`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EgressWord {
    /// Open until the first egress rule.
    Auto,
    /// Open, whatever rules there are.
    Open,
    /// Restricted even without rules.
    Restricted,
}

/// Runs the subcommand.
pub fn run(args: &IsolateArgs) -> Result<ExitCode> {
    let made = args.object()?;
    if args.off {
        args.write.delete(&made)?;
    } else {
        args.write.write(&[made])?;
    }
    Ok(ExitCode::SUCCESS)
}

impl IsolateArgs {
    fn object(&self) -> Result<Made> {
        check_namespace("NAMESPACE", &self.namespace)?;
        let spec = NamespaceIsolationSpec {
            scope: match self.scope {
                ScopeWord::Namespace => Scope::Namespace,
                ScopeWord::Tenant => Scope::Tenant,
            },
            egress: match self.egress {
                EgressWord::Auto => Egress::Auto,
                EgressWord::Open => Egress::Open,
                EgressWord::Restricted => Egress::Restricted,
            },
            on_disable: if self.retain {
                OnDisable::Retain
            } else {
                OnDisable::Delete
            },
            mode: if self.preview {
                Mode::Preview
            } else {
                Mode::Enforce
            },
        };
        isolation(&self.namespace, spec)
    }
}

/// The object that isolates a namespace.
pub(super) fn isolation(namespace: &str, spec: NamespaceIsolationSpec) -> Result<Made> {
    let mut object = NamespaceIsolation::new(SINGLETON, spec);
    object.metadata.namespace = Some(namespace.to_owned());
    Made::new(&object, "namespaceisolations")
}

/// A name as the API server takes it for namespaces.
///
/// # Errors
/// It is not; the message names the flag.
pub(super) fn check_namespace(flag: &str, name: &str) -> Result<()> {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inside = name.chars().all(|c| letter(c) || c == '-');
    let (first, last) = (name.chars().next(), name.chars().next_back());
    if name.len() <= 63 && inside && first.is_some_and(letter) && last.is_some_and(letter) {
        return Ok(());
    }
    bail!(
        "{flag}: found {name:?}; a namespace's name is up to 63 lower-case letters, digits and \
         dashes, and begins and ends with a letter or digit"
    );
}
