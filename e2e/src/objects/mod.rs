//! How a case's objects reach the enforcers, and how it is known that they have.

mod cluster;
mod folder;
mod mark;
mod state;

pub use cluster::ClusterObjects;
pub use folder::Folder;
pub use mark::{Mark, Watcher, Written};
pub use state::{Reference, State, documents};

use crate::controlplane::{ApiServer, Leads};
use crate::fabric::{Node, Process, World};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// Where enforcers get their objects from.
pub trait Objects {
    /// Flags that point the enforcer of `node` to this source.
    fn flags(&self, node: &str) -> Vec<String>;

    /// Creates an object or replaces it.
    fn apply(&mut self, object: &Value) -> Result<()>;

    /// Deletes an object.
    fn delete(&mut self, object: &Value) -> Result<()>;

    /// Puts text where objects come from, as a file, or takes it away again: for what is
    /// no object.
    ///
    /// # Errors
    /// When the source has no files.
    fn file(&mut self, name: &str, content: Option<&str>) -> Result<()> {
        let _ = content;
        bail!("this source has no files, {name} cannot be written")
    }

    /// Makes Services work in this world, where this source can.
    fn start_services(&mut self, world: &World) -> Result<()> {
        let _ = world;
        Ok(())
    }

    /// An object that was applied, with what the source has filled in.
    fn stored(&self, object: &Value) -> Result<Value> {
        Ok(object.clone())
    }

    /// Waits until Services lead there on every node.
    fn wait_services(&self, world: &World, leads: &Leads) -> Result<()> {
        let _ = (world, leads);
        Ok(())
    }

    /// Where the objects lie, where this source is a folder.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// An object as the API server keeps it, whoever wrote it: what enforcers have to reach
    /// includes it from now on. `None` when it is not there.
    ///
    /// # Errors
    /// When this source is no API server.
    fn adopt(&mut self, object: &Value) -> Result<Option<Value>> {
        let reference = Reference::of(object)?;
        bail!("objects do not come from an API server here: nobody else writes {reference}")
    }

    /// The API server, where this source is one of ours.
    fn api_server(&mut self) -> Option<&mut ApiServer> {
        None
    }

    /// What everything handed over so far amounts to, as far as `watcher` gets to see it.
    fn mark(&self, watcher: Watcher) -> Result<Mark>;
}

/// The enforcer's `--health-port`.
pub const HEALTH_PORT: u16 = 20244;
/// Between the first two looks at `/generation`; then half as long again each time, as far as
/// [`LEISURE`]: looks every 2 ms, in four worlds at once, were a tenth of a run's work.
const LOOK: Duration = Duration::from_millis(3);
/// Between two looks at most.
const LEISURE: Duration = Duration::from_millis(15);

/// Waits until the enforcer of `node` has everything up to `mark` in the kernel.
///
/// # Errors
/// When it ends or does not get there in time; the message has its last answer and log.
pub fn wait_applied(
    node: &Node,
    enforcer: &mut Process,
    mark: &Mark,
    patience: Duration,
) -> Result<()> {
    let deadline = Instant::now() + patience;
    let mut pause = LOOK;
    loop {
        let answer = node.netns().run(|| get("/generation"));
        if answer.as_ref().is_ok_and(|answer| mark.is_reached(answer)) {
            return Ok(());
        }
        enforcer.check_running()?;
        if Instant::now() > deadline {
            bail!(
                "{}: not applied after {patience:?}: waited for {mark:?}; /generation says {}; its log ends:\n{}",
                node.name(),
                answer.unwrap_or_else(|e| format!("{e:#}")),
                enforcer.log_tail(20)
            );
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(LEISURE);
    }
}

/// The body of a page of the enforcer in the calling thread's namespace.
pub fn get(page: &str) -> Result<String> {
    page_of(HEALTH_PORT, page)
}

/// The body of a page of a program that listens on this port of the calling thread's
/// namespace.
pub fn page_of(port: u16, page: &str) -> Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        bail!("{page}: a chunked answer was not expected");
    }
    Ok(body.to_owned())
}
