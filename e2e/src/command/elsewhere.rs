//! Where cases are played, when it is not this machine.

use crate::fabric::Lab;
use crate::fabric::cluster::Access;
use anyhow::Result;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::sync::Arc;

/// What nodes and pods are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fabric {
    /// Network namespaces of this machine.
    Netns,
    /// A kind cluster on this machine's Docker, with Ringfence in it (`make e2e`).
    Kind,
    /// Any cluster, with Ringfence in it.
    Kubeconfig,
}

/// Flags of `--fabric kind` and `--fabric kubeconfig`.
#[derive(Args, Clone, Debug)]
pub struct Elsewhere {
    /// The cluster's kubeconfig; default: what kubectl would take.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The image of this program that the cluster's nodes have (`make images`).
    #[arg(long, default_value = "ringfence/probe:dev", value_name = "IMAGE")]
    probe_image: String,
    /// Leave the pods of the last case in the cluster.
    #[arg(long)]
    keep_pods: bool,
}

impl Elsewhere {
    /// The cluster, with an agent on every node; `None` where cases are played here.
    pub fn connect(&self, fabric: Fabric) -> Result<Option<Arc<Lab>>> {
        if fabric == Fabric::Netns {
            return Ok(None);
        }
        let access = Access {
            kubeconfig: self.kubeconfig.clone(),
            image: self.probe_image.clone(),
            kind: fabric == Fabric::Kind,
        };
        Ok(Some(Arc::new(Lab::connect(&access)?)))
    }

    /// Removes what the harness has made in the cluster.
    pub fn leave(&self, lab: Option<&Arc<Lab>>) -> Result<()> {
        match lab {
            Some(lab) if !self.keep_pods => lab.clean(),
            _ => Ok(()),
        }
    }
}
