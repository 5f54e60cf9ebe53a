//! When does an address enter or leave a set of the kernel?

use super::ipset::Sets;
use super::lab::Lab;
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at the kernel. Our own part of every latency is at most this.
const LOOK: Duration = Duration::from_micros(300);

struct Want {
    event: usize,
    set: String,
    address: Ipv4Addr,
    present: bool,
    since: Instant,
}

/// Asks the kernel again and again for what is wanted, on a thread of its own.
pub struct Follower {
    wants: Arc<Mutex<Vec<Want>>>,
    done: Arc<AtomicBool>,
    patience: Duration,
    thread: Option<JoinHandle<Result<HashMap<usize, Instant>>>>,
}

// === impl Follower ===

impl Follower {
    /// With sets of the measured node; whatever is wanted must come true within `patience`.
    pub fn start(lab: &Lab, patience: Duration) -> Result<Self> {
        let sets = Sets::open(lab.node()?.netns())?;
        let wants: Arc<Mutex<Vec<Want>>> = Arc::default();
        let done = Arc::new(AtomicBool::new(false));
        let (wanted, ended) = (Arc::clone(&wants), Arc::clone(&done));
        let thread = std::thread::Builder::new()
            .name("follower".to_owned())
            .spawn(move || {
                let mut found = HashMap::new();
                while !ended.load(Ordering::Relaxed) {
                    let mut open = wanted.lock().unwrap_or_else(PoisonError::into_inner);
                    let mut still = Vec::new();
                    for want in open.drain(..) {
                        if sets.contains(&want.set, want.address)? == want.present {
                            found.insert(want.event, Instant::now());
                        } else {
                            ensure!(
                                want.since.elapsed() < patience,
                                "{} is {}in set {} after {patience:?}",
                                want.address,
                                if want.present { "not " } else { "still " },
                                want.set
                            );
                            still.push(want);
                        }
                    }
                    *open = still;
                    drop(open);
                    std::thread::sleep(LOOK);
                }
                Ok(found)
            })
            .context("starting a thread")?;
        Ok(Self {
            wants,
            done,
            patience,
            thread: Some(thread),
        })
    }

    /// Wants `address` to be in `set`, or not to be there.
    pub fn want(&self, event: usize, set: &str, address: Ipv4Addr, present: bool) {
        let mut wants = self.wants.lock().unwrap_or_else(PoisonError::into_inner);
        wants.push(Want {
            event,
            set: set.to_owned(),
            address,
            present,
            since: Instant::now(),
        });
    }

    /// Waits until nothing is wanted any more, or the thread has given up.
    pub fn wait(&self) -> Result<()> {
        let deadline = Instant::now() + self.patience + Duration::from_secs(1);
        loop {
            let wants = self.wants.lock().unwrap_or_else(PoisonError::into_inner);
            let given_up = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            if wants.is_empty() || given_up {
                return Ok(());
            }
            drop(wants);
            ensure!(Instant::now() < deadline, "events are not in the kernel");
            std::thread::sleep(LOOK);
        }
    }

    /// When what was wanted came true, by event.
    pub fn finish(&mut self) -> Result<HashMap<usize, Instant>> {
        self.done.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("finished twice")?;
        thread
            .join()
            .unwrap_or_else(|_| bail!("the follower panicked"))
    }
}

// === impl Drop ===

impl Drop for Follower {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}
