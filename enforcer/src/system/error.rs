//! What can go wrong between the enforcer and its kernel.

use std::io;
use std::time::Duration;

/// An operation on the node failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that is needed is not there.
    #[error(
        "{program} is not installed (looked in {searched}): install the Debian package {package}, or put it into the image"
    )]
    Missing {
        /// The program.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
        /// The folders, separated by colons.
        searched: String,
    },
    /// A program could not be started or spoken to.
    #[error("running {program}: {source}")]
    Io {
        /// The program and its arguments.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{program} ended with {status}: {stderr}{}", at_line(*.line, .text.as_deref()))]
    Failed {
        /// The program and its arguments.
        program: String,
        /// Its exit status, for people.
        status: String,
        /// What it said, trimmed; long output is cut.
        stderr: String,
        /// The line of the input (from 1) at fault, when it was named.
        line: Option<usize>,
        /// That line.
        text: Option<String>,
    },
    /// Another program holds the xtables lock. Nothing was changed; try again.
    #[error("{program} did not get the xtables lock in {}s; another program holds it", .waited.as_secs())]
    LockHeld {
        /// The program and its arguments.
        program: String,
        /// How long it waited.
        waited: Duration,
    },
    /// A program did not end in time and was killed. What it had committed is in.
    #[error("{program} did not end within {}s and was killed", .after.as_secs())]
    TimedOut {
        /// The program and its arguments.
        program: String,
        /// The limit.
        after: Duration,
    },
    /// IPv6 was asked for on a node without.
    #[error("IPv6 rules cannot be programmed on this node: {reason}")]
    NoIpv6 {
        /// From [`super::Ipv6::Absent`].
        reason: String,
    },
    /// A netlink exchange failed.
    #[error("netlink, {what}: {source}")]
    Netlink {
        /// What was asked for.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// What a program or the kernel answered makes no sense.
    #[error("unexpected answer, {what}: {found}")]
    Unexpected {
        /// To what.
        what: String,
        /// What came.
        found: String,
    },
}

impl Error {
    /// The kind, as a metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing_program",
            Self::Io { .. } => "io",
            Self::Failed { .. } => "failed",
            Self::LockHeld { .. } => "lock_held",
            Self::TimedOut { .. } => "timed_out",
            Self::NoIpv6 { .. } => "no_ipv6",
            Self::Netlink { .. } => "netlink",
            Self::Unexpected { .. } => "unexpected",
        }
    }
}

fn at_line(line: Option<usize>, text: Option<&str>) -> String {
    match (line, text) {
        (Some(line), Some(text)) => format!(" (input line {line}: {text})"),
        (Some(line), None) => format!(" (input line {line})"),
        (None, _) => String::new(),
    }
}
