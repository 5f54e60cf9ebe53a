//! What is to be judged, and among what.

use super::LintArgs;
use crate::source;
use anyhow::{Context, Result};
use ringfence_checks::subject::OLD_API;
use ringfence_checks::{Facts, Occasion, facts};
use ringfence_cluster::folder::{self, At, Documents, Outline, Written};
use ringfence_cluster::{Cause, Kubernetes, Place, Problem, Severity, load_cluster};
use ringfence_policy::Snapshot;
use ringfence_policy::snapshot::Kind;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that was read.
#[derive(Debug)]
pub(super) struct Input {
    /// The objects to judge.
    pub(super) objects: Vec<Item>,
    /// The cluster, or what stands for it.
    pub(super) snapshot: Snapshot,
    /// What else is known.
    pub(super) facts: Facts,
    /// What could not be read.
    pub(super) problems: Vec<Problem>,
    /// The texts of the files, by the name in places.
    pub(super) texts: BTreeMap<Arc<Path>, Arc<str>>,
    /// The lines of the files' fields.
    pub(super) outlines: BTreeMap<Arc<Path>, Outline>,
    /// Where the files are.
    pub(super) root: PathBuf,
    /// As what the objects are judged.
    pub(super) occasion: Occasion,
}

/// An object to judge.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The whole object.
    pub(super) value: Value,
    /// File and line; none in a cluster.
    pub(super) place: Option<(Place, At)>,
    /// Its file names no namespace.
    pub(super) implied_namespace: bool,
}

/// Reads files, standard input or the cluster.
pub(super) fn read(args: &LintArgs) -> Result<Input> {
    let namespace = args.namespace.as_deref();
    let Some(path) = &args.path else {
        return cluster(args.kubeconfig.as_deref(), namespace);
    };
    let namespace = namespace.unwrap_or("default");
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        let mut input = std::io::stdin().lock();
        input
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
        let documents = folder::documents_of(Path::new("<stdin>"), bytes, namespace);
        return Ok(files(documents, PathBuf::new(), namespace));
    }
    let documents = folder::documents(path, namespace)?;
    // A single file is named by its whole path.
    let root = if path.is_dir() {
        path.clone()
    } else {
        PathBuf::new()
    };
    Ok(files(documents, root, namespace))
}

fn files(documents: Documents, root: PathBuf, namespace: &str) -> Input {
    let Documents {
        snapshot,
        mut written,
        problems,
        texts,
    } = documents;
    for object in &mut written {
        set_namespace(&mut object.value, namespace);
    }
    let facts = facts::read(written.iter().map(|w| &w.value));
    let objects = written.into_iter().filter(|w| is_judged(&w.value));
    let objects: Vec<Item> = objects.map(Item::from).collect();
    let judged_old = objects.iter().filter(|i| i.value["apiVersion"] == OLD_API);
    let judged_old: Vec<&Place> = judged_old
        .filter_map(|i| i.place.as_ref().map(|p| &p.0))
        .collect();
    let problems = problems
        .into_iter()
        .filter(|p| p.severity == Severity::Error)
        .map(|mut p| {
            if p.cause == Cause::Duplicate {
                p.message
                    .push_str(" (`kubectl apply` leaves what it applies last)");
            }
            p
        })
        // The check old-api says it, and the object is judged.
        .filter(|p| {
            let place = p.place.as_ref();
            p.cause != Cause::ApiVersion || place.is_none_or(|p| !judged_old.contains(&p))
        })
        .collect();
    let outlines = texts
        .iter()
        .map(|(name, text)| (Arc::clone(name), Outline::read(text)));
    Input {
        snapshot,
        facts,
        problems,
        outlines: outlines.collect(),
        texts,
        root,
        objects,
        occasion: Occasion::Lint,
    }
}

/// Whether there are checks for objects like this; whether it can be read is another
/// matter.
pub(super) fn is_judged(object: &Value) -> bool {
    match object["kind"].as_str() {
        Some("NetworkPolicy") => {
            matches!(
                object["apiVersion"].as_str(),
                Some("networking.k8s.io/v1" | OLD_API)
            )
        }
        Some("Service" | "Namespace") => matches!(object["apiVersion"].as_str(), None | Some("v1")),
        _ => false,
    }
}

/// What tells facts belongs to the namespace of the rest.
fn set_namespace(object: &mut Value, namespace: &str) {
    let kind = object["kind"].as_str().unwrap_or_default();
    let is_backend = kind == "Ingress" || (kind.ends_with("Route") && kind.len() > 5);
    if is_backend && object["metadata"].is_object() && object["metadata"]["namespace"].is_null() {
        object["metadata"]["namespace"] = namespace.into();
    }
}

impl From<Written> for Item {
    fn from(written: Written) -> Self {
        Self {
            value: written.value,
            place: Some((written.place, written.at)),
            implied_namespace: written.implied_namespace,
        }
    }
}

fn cluster(kubeconfig: Option<&Path>, namespace: Option<&str>) -> Result<Input> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let (snapshot, problems) = load_cluster(kubeconfig, &Kind::ALL).await?;
        let kubernetes = Kubernetes::new(kubeconfig).await?;
        let mut objects = Vec::new();
        for kind in [Kind::Namespace, Kind::NetworkPolicy, Kind::Service] {
            objects.extend(kubernetes.list(kind).await?);
        }
        let of = if_named(namespace);
        objects.retain(|object| of(object));
        let facts = source::facts(kubernetes).await;
        let objects = objects.into_iter().map(|value| Item {
            value,
            place: None,
            implied_namespace: false,
        });
        let problems = problems
            .into_iter()
            .filter(|p| p.severity == Severity::Error);
        Ok(Input {
            objects: objects.collect(),
            snapshot,
            facts,
            problems: problems.collect(),
            texts: BTreeMap::new(),
            outlines: BTreeMap::new(),
            root: PathBuf::new(),
            occasion: Occasion::Scan,
        })
    })
}

fn if_named(namespace: Option<&str>) -> impl Fn(&Value) -> bool {
    move |object| {
        let metadata = &object["metadata"];
        let name = if object["kind"] == "Namespace" {
            "name"
        } else {
            "namespace"
        };
        let own = &metadata[name];
        namespace.is_none_or(|namespace| own == namespace)
    }
}
