//! What a folder says now, given what it said before.

use super::files::{Content, digest_of};
use super::manifest::{Manifest, Reading};
use super::written::Written;
use crate::{Cause, Decoded, Generation, Place, Problem, Replacement, Severity};
use ringfence_policy::model::ObjectKey;
use ringfence_policy::snapshot::Kind;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;

/// The files as they were read last.
#[derive(Debug)]
pub(super) struct Loader {
    reading: Reading,
    files: BTreeMap<Arc<Path>, Loaded>,
    generation: u64,
}

#[derive(Debug, Default)]
struct Loaded {
    /// Of the content that was parsed last; `None` when the file could not be read.
    hash: Option<[u8; 32]>,
    /// What is in force.
    manifest: Manifest,
    /// Whether `manifest` is that of a whole file.
    good: bool,
    /// Why `manifest` is not what the file says now.
    stale: Vec<Problem>,
}

// === impl Loader ===

impl Loader {
    pub(super) fn new(default_namespace: Arc<str>) -> Self {
        Self {
            reading: Reading {
                default_namespace,
                keep_written: false,
            },
            files: BTreeMap::new(),
            generation: 0,
        }
    }

    /// The same, which keeps every object as it is written.
    pub(super) fn keeping_written(mut self) -> Self {
        self.reading.keep_written = true;
        self
    }

    /// The objects as they are written, by file and place.
    pub(super) fn into_written(self) -> Vec<Written> {
        let files = self.files.into_values();
        files.flat_map(|file| file.manifest.written).collect()
    }

    /// Takes in the whole content of the folder. Only files that changed are parsed.
    ///
    /// A file that was good and is broken now keeps its objects in force: a policy must
    /// not vanish because somebody is in the middle of writing it.
    pub(super) fn load(&mut self, contents: &[(Arc<Path>, Content)]) -> Replacement {
        let mut before = std::mem::take(&mut self.files);
        for (name, content) in contents {
            let mut file = before.remove(name).unwrap_or_default();
            match content {
                Ok(bytes) => file.update(name, bytes, &self.reading),
                Err(reason) => file.unreadable(name, reason),
            }
            self.files.insert(Arc::clone(name), file);
        }
        self.generation += 1;
        let generation = Generation {
            number: self.generation,
            digest: digest_of(contents),
        };
        self.replacement(generation)
    }

    fn replacement(&self, generation: Generation) -> Replacement {
        let mut merged = Merged::default();
        // An object that moved from a broken file to a good one is the good file's.
        let (stale, fresh): (Vec<&Loaded>, Vec<&Loaded>) =
            self.files.values().partition(|file| !file.stale.is_empty());
        for file in fresh.into_iter().chain(stale) {
            merged.problems.extend(file.stale.iter().cloned());
            merged
                .problems
                .extend(file.manifest.problems.iter().cloned());
            for (place, decoded) in &file.manifest.objects {
                merged.add(place, decoded);
            }
        }
        Replacement {
            objects: merged.objects.into_values().map(|(_, d)| d).collect(),
            problems: merged.problems,
            generation,
        }
    }
}

// === impl Loaded ===

impl Loaded {
    fn update(&mut self, name: &Arc<Path>, bytes: &[u8], reading: &Reading) {
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        if self.hash.replace(hash) == Some(hash) {
            return;
        }
        let manifest = Manifest::parse(name, bytes, reading);
        if manifest.broken && self.good {
            self.stale = manifest.problems;
            self.stand();
        } else {
            self.good = !manifest.broken;
            self.manifest = manifest;
            self.stale = Vec::new();
        }
    }

    fn unreadable(&mut self, name: &Arc<Path>, reason: &str) {
        self.hash = None;
        self.stale = vec![Problem {
            severity: Severity::Error,
            cause: Cause::Read,
            object: None,
            place: Some(Place {
                file: Arc::clone(name),
                line: 0,
            }),
            message: format!("cannot be read: {reason}"),
        }];
        self.stand();
    }

    /// Says what is in force although the file says otherwise.
    fn stand(&mut self) {
        let count = self.manifest.objects.len();
        if let (Some(problem), 1..) = (self.stale.last_mut(), count) {
            let before = &problem.message;
            problem.message = format!(
                "{before}; its {count} object(s) of before stay in force until it is mended or deleted"
            );
        }
    }
}

#[derive(Default)]
struct Merged {
    objects: BTreeMap<(Kind, ObjectKey), (Place, Decoded)>,
    problems: Vec<Problem>,
}

// === impl Merged ===

impl Merged {
    /// The first of two equal names counts, unless only the second is usable.
    fn add(&mut self, place: &Place, decoded: &Decoded) {
        let id = (decoded.kind, decoded.key.clone());
        match self.objects.entry(id) {
            Entry::Vacant(free) => {
                free.insert((place.clone(), decoded.clone()));
            }
            Entry::Occupied(mut taken) => {
                let (kind, key) = taken.key().clone();
                let (mut counts, mut other) = (taken.get().0.clone(), place.clone());
                if taken.get().1.object.is_none() && decoded.object.is_some() {
                    std::mem::swap(&mut counts, &mut other);
                    taken.insert((counts.clone(), decoded.clone()));
                }
                self.problems.push(Problem {
                    severity: Severity::Error,
                    cause: Cause::Duplicate,
                    object: Some((kind, key)),
                    place: Some(other),
                    message: format!("is written twice; the one at {counts} counts, delete one"),
                });
            }
        }
    }
}
