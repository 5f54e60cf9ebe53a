//! One anonymous network namespace, held by a file descriptor.

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

/// A network namespace without a name: it is gone when the last descriptor, socket and
/// process in it is. Clones share it.
#[derive(Clone, Debug)]
pub struct Netns(Arc<File>);

impl Netns {
    /// A new namespace with loopback up and these sysctls (path below `/proc/sys/net/`
    /// and value) set. Addresses are usable at once: duplicate detection is off.
    pub fn create(sysctls: &[(&str, &str)]) -> Result<Self> {
        on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("creating a network namespace")?;
            for (key, value) in BASE_SYSCTLS.iter().chain(sysctls) {
                sysctl(key, value)?;
            }
            Self::current()
        })
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self> {
        let file =
            File::open("/proc/thread-self/ns/net").context("opening the network namespace")?;
        Ok(Self(Arc::new(file)))
    }

    /// Moves the calling thread into the namespace for good. To stay where it is a thread
    /// needs no right.
    pub fn enter(&self) -> Result<()> {
        let here = fs::metadata("/proc/thread-self/ns/net").context("reading the namespace")?;
        let there = self.0.metadata().context("reading a network namespace")?;
        if (here.dev(), here.ino()) == (there.dev(), there.ino()) {
            return Ok(());
        }
        setns(&*self.0, CloneFlags::CLONE_NEWNET).context("entering a network namespace")
    }

    /// Runs `work` inside the namespace. Sockets made there stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_thread(|| {
            self.enter()?;
            work()
        })
    }

    /// A path by which other processes of the run (`ip`, `nsenter --net=`) reach it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// What every namespace gets.
const BASE_SYSCTLS: [(&str, &str); 4] = [
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/dad_transmits", "0"),
    // Ping sockets for group 0, the only one that a user namespace maps.
    ("ipv4/ping_group_range", "0 0"),
];

/// Sets a sysctl of the calling thread's namespace; `key` is a path below `/proc/sys/net/`.
pub fn sysctl(key: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{key}");
    fs::write(&path, value).with_context(|| format!("setting {path} to {value:?}"))
}

/// Runs `work` on a thread of its own, whose namespaces may then change.
fn on_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(work)
            .join()
            .map_err(|_| anyhow!("a thread in a network namespace panicked"))?
    })
}
