//! The real kubectl, on the control machine: what a person types, and what they read.

use crate::fabric::Node;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Output;

/// kubectl with one person's rights.
#[derive(Clone, Debug)]
pub struct Kubectl {
    /// The program.
    pub program: PathBuf,
    /// Who asks.
    pub kubeconfig: PathBuf,
}

/// What kubectl said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its exit code; `diff` says 1 when something differs.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error: warnings, and why something was refused.
    pub err: String,
}

// === impl Kubectl ===

impl Kubectl {
    /// Runs it to its end; `input` goes to its standard input (`-f -`).
    pub fn run(&self, machine: &Node, args: &[&str], input: &str) -> Result<Said> {
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig.display());
        let cache = format!("--cache-dir={}", machine.folder().join("kubectl").display());
        let mut all = vec![kubeconfig.as_str(), cache.as_str()];
        all.extend(args);
        let program = self.program.to_string_lossy();
        let output = machine.output(&program, &all, input)?;
        Said::of(&output)
    }
}

// === impl Said ===

impl Said {
    /// What a kubectl that has ended said.
    pub fn of(output: &Output) -> Result<Self> {
        Ok(Self {
            code: output.status.code().context("kubectl was killed")?,
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// It did what was asked.
    pub fn accepted(&self) -> Result<&Self> {
        ensure!(
            self.code == 0,
            "kubectl failed ({}): {}",
            self.code,
            self.err
        );
        Ok(self)
    }

    /// The API server refused it with all of these words.
    pub fn refused(&self, words: &[&str]) -> Result<&Self> {
        ensure!(
            self.code != 0 && self.err.contains("denied the request"),
            "not refused by a webhook ({}): {}{}",
            self.code,
            self.out,
            self.err
        );
        for word in words {
            ensure!(self.err.contains(word), "no word of {word:?}: {}", self.err);
        }
        Ok(self)
    }

    /// It warned with all of these words, in any of its warnings.
    pub fn warned(&self, words: &[&str]) -> Result<&Self> {
        for word in words {
            ensure!(
                self.warnings().any(|warning| warning.contains(word)),
                "no warning of {word:?}: {}",
                self.err
            );
        }
        Ok(self)
    }

    /// It warned of nothing.
    pub fn silent(&self) -> Result<&Self> {
        ensure!(self.warnings().next().is_none(), "warned: {}", self.err);
        Ok(self)
    }

    /// The texts after `Warning:`.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.err
            .lines()
            .filter_map(|line| line.strip_prefix("Warning: "))
    }
}
