//! A node: a namespace with its own firewall, and a thread from which programs start.

use super::namespace::{Netns, sysctl};
use super::process::Process;
use crate::sandbox;
use anyhow::{Context, Result, anyhow, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};

type Job = Box<dyn FnOnce() + Send>;

/// A node of the world. iptables, ipset, conntrack and `/run/xtables.lock` are its own.
#[derive(Debug)]
pub struct Node {
    name: String,
    netns: Netns,
    folder: PathBuf,
    jobs: Sender<Job>,
}

/// Every ICMP error is sent (dataplane.md, trap 14) and packets are forwarded.
const SYSCTLS: [(&str, &str); 7] = [
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/icmp_ratemask", "0"),
    ("ipv6/icmp/ratelimit", "0"),
    ("ipv4/icmp_msgs_per_sec", "1000000"),
    ("ipv4/icmp_msgs_burst", "100000"),
];

impl Node {
    /// A namespace without links, and its thread.
    pub(super) fn create(name: &str, world: &str) -> Result<Self> {
        let folder = Path::new(sandbox::RUN).join(world).join(name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let netns = Netns::create(&SYSCTLS)?;
        let (jobs, inbox) = channel::<Job>();
        let (ready, started) = channel();
        let (inside, lock) = (netns.clone(), folder.join("xtables.lock"));
        // Programs are children of this thread, and the kernel kills them when it ends:
        // it must live exactly as long as the node.
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _ = ready.send(settle(&inside, &lock));
                for job in inbox {
                    job();
                }
            })
            .context("starting a node's thread")?;
        started.recv().context("a node's thread ended at once")??;
        Ok(Self {
            name: name.to_owned(),
            netns,
            folder,
            jobs,
        })
    }

    /// `metadata.name`
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its network namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// A folder for state and logs, gone with the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs `work` on the node's thread, inside its network and mount namespaces.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (answer, result) = channel();
        let job: Job = Box::new(move || {
            let _ = answer.send(work());
        });
        self.jobs
            .send(job)
            .map_err(|_| anyhow!("the thread of {} has ended", self.name))?;
        result
            .recv()
            .with_context(|| format!("a job on {} panicked", self.name))
    }

    /// Runs a program to its end; `input` goes to its standard input.
    ///
    /// # Errors
    /// When it cannot be started or ends with a failure; the message has what it said.
    pub fn exec(&self, program: &str, args: &[&str], input: &str) -> Result<String> {
        let output = self.output(program, args, input)?;
        if !output.status.success() {
            bail!(
                "{}: {program} {} ({}): {}{}",
                self.name,
                args.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr),
                quoted(input)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// As [`Self::exec`], whatever the exit status.
    pub fn output(&self, program: &str, args: &[&str], input: &str) -> Result<Output> {
        let mut command = command(program, args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self
            .run(move || command.spawn())?
            .with_context(|| format!("starting {program} on {}", self.name))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends without reading its input says why in its status.
            let _ = stdin.write_all(input.as_bytes());
        }
        child
            .wait_with_output()
            .with_context(|| format!("waiting for {program} on {}", self.name))
    }

    /// Starts a program that stays; its output goes to `<folder>/<name>.log`.
    pub fn spawn(
        &self,
        name: &str,
        program: &Path,
        args: &[String],
        environment: &[(String, String)],
    ) -> Result<Process> {
        let path = self.folder.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&path)?;
        let program_text = program.to_string_lossy().into_owned();
        let mut command = command(&program_text, args);
        command
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = self
            .run(move || command.spawn())?
            .with_context(|| format!("starting {program_text} on {}", self.name))?;
        Ok(Process::new(
            format!("{name} on {}", self.name),
            child,
            path,
        ))
    }
}

/// `setpriv` asks the kernel to kill the program when the thread that started it ends.
fn command<S: AsRef<std::ffi::OsStr>>(program: &str, args: &[S]) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", program])
        .args(args);
    command
}

fn quoted(input: &str) -> String {
    if input.is_empty() {
        String::new()
    } else {
        format!("\ninput was:\n{input}")
    }
}

/// Moves the calling thread into a node: its network, and mounts of its own.
fn settle(netns: &Netns, lock: &Path) -> Result<()> {
    netns.enter()?;
    unshare(CloneFlags::CLONE_NEWNS).context("creating a mount namespace")?;
    let shared = Path::new("/run/xtables.lock");
    for file in [lock, shared] {
        File::options()
            .create(true)
            .append(true)
            .open(file)
            .with_context(|| format!("creating {}", file.display()))?;
    }
    mount(
        Some(lock),
        shared,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .context("giving the node an xtables lock of its own")?;
    // Programs look for links below /sys/class/net; a user namespace may not mount it.
    if let Err(error) = mount(
        Some("sysfs"),
        "/sys",
        Some("sysfs"),
        MsFlags::empty(),
        None::<&str>,
    ) {
        tracing::debug!(%error, "a node sees the machine's /sys");
    }
    sysctl("ipv4/conf/all/rp_filter", "0")
}
