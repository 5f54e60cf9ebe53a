//! Bodies, bounded: each by itself, and all of them together by their bytes.

use axum::body::Body;
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// One body. A policy that can be stored makes 9.06 MiB on UPDATE.
pub const LARGEST_BODY: usize = 12 << 20;
/// A body up to this size is small.
pub const SMALL_BODY: usize = 64 << 10;
/// All small bodies in flight.
const SMALL_BYTES: usize = 8 << 20;
/// All others in flight: whoever sends large ones, slowly, does not keep small ones out.
const LARGE_BYTES: usize = 24 << 20;
/// Of a body that will not be read, so much is looked at for the uid.
const BEGINNING: usize = 4 << 10;
/// And for so long.
const BEGINNING_TIMEOUT: Duration = Duration::from_millis(100);
/// What permits count.
const UNIT: usize = 1 << 10;

/// The bytes that may be in flight.
#[derive(Clone, Debug)]
pub struct Bodies {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// A body, and its share of the bytes in flight.
#[derive(Debug)]
pub struct Received {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// To be held as long as the bytes are.
    pub share: OwnedSemaphorePermit,
}

/// Why there is no body.
#[derive(Debug)]
pub enum NoBody {
    /// More than [`LARGEST_BODY`].
    TooLarge,
    /// Too much was in flight for too long. What came of it, for its uid.
    Overloaded(Vec<u8>),
    /// It did not come in time.
    Slow,
    /// The connection broke.
    Broken,
}

// === impl Bodies ===

impl Default for Bodies {
    fn default() -> Self {
        let semaphore = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT));
        Self {
            small: semaphore(SMALL_BYTES),
            large: semaphore(LARGE_BYTES),
        }
    }
}

impl Bodies {
    /// Reads a body of `length` bytes (`None`: chunked), waiting for its share for up to
    /// `wait` and then for its bytes for up to `patience`.
    ///
    /// # Errors
    /// Whatever stands against it.
    pub async fn receive(
        &self,
        mut body: Body,
        length: Option<u64>,
        wait: Duration,
        patience: Duration,
    ) -> Result<Received, NoBody> {
        let length = match length.map(usize::try_from) {
            Some(Ok(length)) if length <= LARGEST_BODY => Some(length),
            Some(_) => return Err(NoBody::TooLarge),
            None => None,
        };
        let weight = length.unwrap_or(LARGEST_BODY);
        let bytes = if weight <= SMALL_BODY {
            &self.small
        } else {
            &self.large
        };
        // At most 12,288: it fits.
        let units = u32::try_from(weight.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let share = Arc::clone(bytes).acquire_many_owned(units);
        let Ok(Ok(share)) = timeout(wait, share).await else {
            return Err(NoBody::Overloaded(beginning(body).await));
        };
        let mut bytes = Vec::with_capacity(length.unwrap_or(0));
        match timeout(patience, fill(&mut body, &mut bytes)).await {
            Ok(Ok(())) => Ok(Received { bytes, share }),
            Ok(Err(no_body)) => Err(no_body),
            Err(_) => Err(NoBody::Slow),
        }
    }
}

async fn fill(body: &mut Body, bytes: &mut Vec<u8>) -> Result<(), NoBody> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| NoBody::Broken)?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if bytes.len() + data.len() > LARGEST_BODY {
            return Err(NoBody::TooLarge);
        }
        bytes.extend_from_slice(data);
    }
    Ok(())
}

async fn beginning(mut body: Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = async {
        while bytes.len() < BEGINNING {
            let Some(Ok(frame)) = body.frame().await else {
                return;
            };
            let data = frame.data_ref().map_or(&[][..], |data| data);
            let room = BEGINNING - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(room)]);
        }
    };
    // What came until then is all there is.
    let _ = timeout(BEGINNING_TIMEOUT, read).await;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_body_with_a_length_that_is_too_large_is_not_read() {
        let never =
            Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let result = Bodies::default()
            .receive(never, Some(20 << 20), LONG, LONG)
            .await;
        assert!(matches!(result, Err(NoBody::TooLarge)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_without_length_is_cut_off_at_the_limit() {
        let chunk = || Ok::<_, std::io::Error>(vec![b' '; 1 << 20]);
        let endless = Body::from_stream(futures::stream::repeat_with(chunk));
        let result = Bodies::default().receive(endless, None, LONG, LONG).await;
        assert!(matches!(result, Err(NoBody::TooLarge)));
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_wait_for_their_share_and_small_ones_do_not() {
        let bodies = Bodies::default();
        let large = || Body::from(vec![b'x'; 10 << 20]);
        let length = Some(10 << 20);
        let first = bodies.receive(large(), length, SHORT, LONG).await.unwrap();
        let second = bodies.receive(large(), length, SHORT, LONG).await.unwrap();
        let third = bodies.receive(large(), length, SHORT, LONG).await;
        let Err(NoBody::Overloaded(beginning)) = third else {
            panic!("{third:?}");
        };
        assert_eq!(beginning.len(), BEGINNING);
        let small = bodies.receive(Body::from("hello"), Some(5), SHORT, LONG);
        assert_eq!(small.await.unwrap().bytes, b"hello");
        drop(first);
        drop(bodies.receive(large(), length, SHORT, LONG).await.unwrap());
        drop(second);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_gives_its_share_back() {
        let bodies = Bodies::default();
        let never =
            Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let result = bodies.receive(never, Some(12 << 20), SHORT, SHORT).await;
        assert!(matches!(result, Err(NoBody::Slow)));
        assert_eq!(bodies.large.available_permits(), LARGE_BYTES / UNIT);
    }
}
