//! What is to change, and what is there.

use super::PreviewArgs;
use crate::source;
use anyhow::{Context, Result, bail};
use ringfence_checks::facts::{self, Facts};
use ringfence_checks::impact::Edit;
use ringfence_cluster::folder::{self, Documents};
use ringfence_cluster::{Problem, Severity};
use ringfence_policy::Snapshot;
use ringfence_policy::snapshot::Kind;
use serde::Serialize;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// Everything that was read.
#[derive(Debug)]
pub(super) struct Input {
    /// The cluster, or what stands for it.
    pub(super) snapshot: Snapshot,
    /// What else is known of it.
    pub(super) facts: Facts,
    /// What is to change.
    pub(super) edit: Edit,
    /// The same by object.
    pub(super) changes: Vec<Change>,
    /// Objects that decide nothing, or that only their owner changes.
    pub(super) ignored: usize,
}

/// An object that is to change.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    /// `NetworkPolicy` or `Namespace`.
    pub(super) kind: &'static str,
    /// Its name.
    pub(super) object: String,
    /// What happens to it.
    pub(super) action: Action,
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Create,
    Update,
    Delete,
    /// It is there already, as it is.
    Unchanged,
}

/// Reads both.
pub(super) fn read(args: &PreviewArgs) -> Result<Input> {
    let wanted = documents(&args.file, &args.namespace)?;
    refuse(&wanted.problems, &args.file)?;
    let (snapshot, facts) = match &args.folder {
        Some(path) => {
            let documents = folder::documents(path, &args.namespace)
                .with_context(|| path.display().to_string())?;
            refuse(&documents.problems, path)?;
            let written = documents.written.iter().map(|written| &written.value);
            (documents.snapshot.clone(), facts::read(written))
        }
        None => source::cluster_with_facts(args.kubeconfig.as_deref())?,
    };
    let (edit, changes) = edit(&wanted.snapshot, &snapshot, args.delete);
    if changes.is_empty() {
        bail!(
            "-f {}: found no NetworkPolicy and no Namespace; name manifests that change something",
            args.file.display()
        );
    }
    Ok(Input {
        ignored: wanted.written.len().saturating_sub(changes.len()),
        snapshot,
        facts,
        edit,
        changes,
    })
}

fn documents(path: &Path, namespace: &str) -> Result<Documents> {
    if path.as_os_str() != "-" {
        return folder::documents(path, namespace)
            .with_context(|| format!("-f {}", path.display()));
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut bytes);
    read.context("cannot read standard input")?;
    Ok(folder::documents_of(Path::new("<stdin>"), bytes, namespace))
}

/// An answer about half of the objects would be a wrong one.
fn refuse(problems: &[Problem], path: &Path) -> Result<()> {
    let errors = problems.iter().filter(|p| p.severity == Severity::Error);
    let mut count = 0;
    for problem in errors {
        eprintln!("error: {problem}");
        count += 1;
    }
    if count > 0 {
        bail!("{}: {count} problem(s), see above", path.display());
    }
    Ok(())
}

fn edit(wanted: &Snapshot, known: &Snapshot, delete: bool) -> (Edit, Vec<Change>) {
    let mut edit = Edit::default();
    let mut changes = Vec::new();
    for (key, policy) in &wanted.policies {
        let before = known.policies.get(key);
        let action = match before {
            None if delete => Action::Unchanged,
            Some(_) if delete => Action::Delete,
            None => Action::Create,
            Some(before) if before == policy => Action::Unchanged,
            Some(_) => Action::Update,
        };
        edit = if delete {
            edit.remove(key.clone())
        } else {
            edit.put(Arc::clone(policy))
        };
        changes.push(Change {
            kind: Kind::NetworkPolicy.as_str(),
            object: key.to_string(),
            action,
        });
    }
    // Deleting a namespace deletes its pods: there is nothing to preview.
    for (name, namespace) in wanted.namespaces.iter().filter(|_| !delete) {
        let action = match known.namespaces.get(name) {
            None => Action::Create,
            Some(before) if before == namespace => Action::Unchanged,
            Some(_) => Action::Update,
        };
        edit = edit.relabel(Arc::clone(name), namespace.labels.clone());
        changes.push(Change {
            kind: Kind::Namespace.as_str(),
            object: name.to_string(),
            action,
        });
    }
    (edit, changes)
}
