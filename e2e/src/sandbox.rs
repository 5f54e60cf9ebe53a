//! A root of our own for the whole process: nothing of a run is ever in the machine's.
//!
//! The process leaves the machine's network and mount namespaces before it starts its
//! first thread. Every namespace, link, rule, log and folder of the run hangs on this
//! process (threads, file descriptors, a private tmpfs), so the kernel clears all of it
//! when the process ends, however it ends. Two runs cannot meet.

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{getegid, geteuid};
use std::fs;
use std::path::Path;

/// The folder of a run: logs, object folders, state folders. On a private tmpfs.
pub const RUN: &str = "/run/ringfence-e2e";

/// Moves the process into namespaces of its own. Call it first thing in `main`, while
/// the process has one thread: the kernel refuses a user namespace to any other.
///
/// # Errors
/// When the process is not root and the kernel gives it no user namespace.
pub fn enter() -> Result<()> {
    let root = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
    let (uid, gid) = (geteuid(), getegid());
    // Root of a container may lack CAP_SYS_ADMIN; a user namespace gives it back.
    if !uid.is_root() || unshare(root).is_err() {
        unshare(CloneFlags::CLONE_NEWUSER | root).context(
            "this needs root, or a kernel that allows user namespaces \
             (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)",
        )?;
        fs::write("/proc/self/setgroups", "deny").context("writing /proc/self/setgroups")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("mapping the user id")?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).context("mapping the group id")?;
    }
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .context("making the mounts private")?;
    private_tmpfs(Path::new("/run"))?;
    // Every probe is a socket; the usual soft limit of 1024 is less than one matrix.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("reading the file limit")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("raising the file limit")?;
    fs::create_dir_all(RUN).with_context(|| format!("creating {RUN}"))
}

fn private_tmpfs(path: &Path) -> Result<()> {
    mount(
        Some("ringfence-e2e"),
        path,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=0755"),
    )
    .with_context(|| format!("mounting a private tmpfs on {}", path.display()))
}
