//! Waiting for something that is about to happen, and never longer than it may take.

use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

/// How long something may take that usually takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `done` says so, half a minute at most.
///
/// # Errors
/// As [`within`].
pub fn eventually(what: &str, done: impl FnMut() -> Result<bool>) -> Result<()> {
    within(PATIENCE, what, done)
}

/// Waits until `done` says so. An error of it means: not yet, and this is what is missing.
///
/// # Errors
/// When the time is over: `what` was waited for, and what was missing in the end.
pub fn within(
    patience: Duration,
    what: &str,
    mut done: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let answer = done();
        if matches!(answer, Ok(true)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return match answer {
                Ok(_) => bail!("{what}: not after {patience:?}"),
                Err(error) => Err(error.context(format!("{what}: not after {patience:?}"))),
            };
        }
        std::thread::sleep(LOOK);
    }
}

/// Looks until `so` says so. Unlike [`within`]'s, an error of it is the end: it says what never
/// may be on the way, and what cannot be looked at.
///
/// # Errors
/// As `so`, or when the time is over.
pub async fn until(
    patience: Duration,
    what: &str,
    mut so: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !so().await.with_context(|| what.to_owned())? {
        if Instant::now() >= deadline {
            bail!("{what}: not after {patience:?}");
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missing_is_said() {
        let mut looks = 0;
        let second = within(PATIENCE, "the second look", || {
            looks += 1;
            Ok(looks == 2)
        });
        assert!(second.is_ok());
        let never = within(Duration::ZERO, "a cluster", || bail!("no node is ready"));
        let text = format!("{:#}", never.unwrap_err());
        assert_eq!(text, "a cluster: not after 0ns: no node is ready");
    }

    #[tokio::test]
    async fn what_may_not_be_on_the_way_is_the_end() {
        let mut looks = 0;
        let violated = until(PATIENCE, "isolated", async || {
            looks += 1;
            if looks == 2 {
                bail!("open meanwhile")
            }
            Ok(looks == 3)
        });
        let text = format!("{:#}", violated.await.unwrap_err());
        assert_eq!(text, "isolated: open meanwhile");
        let never = until(Duration::ZERO, "a cluster", async || Ok(false)).await;
        assert_eq!(never.unwrap_err().to_string(), "a cluster: not after 0ns");
    }
}
