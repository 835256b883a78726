//! The workers of a service: who may work, who waits, and who is turned away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets in as many requests as there are workers, in order of arrival.
#[derive(Debug)]
pub(crate) struct Gate {
    workers: Option<Arc<Semaphore>>,
    queue_limit: Option<usize>,
    waiting_count: AtomicUsize,
}

/// Too many requests wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

/// The right to work, given back when dropped; nothing to give back where workers are unlimited.
pub(crate) type Worker = Option<OwnedSemaphorePermit>;

// === impl Gate ===

impl Gate {
    /// Makes a gate; `None` is no limit.
    pub(crate) fn new(workers: Option<usize>, queue_limit: Option<usize>) -> Self {
        let workers = workers.map(|count| Arc::new(Semaphore::new(count)));
        Self { workers, queue_limit, waiting_count: AtomicUsize::new(0) }
    }

    /// Waits for a worker.
    ///
    /// # Errors
    ///
    /// [`QueueFull`], at once, if the queue is at its limit.
    pub(crate) async fn enter(&self) -> Result<Worker, QueueFull> {
        let Some(workers) = &self.workers else { return Ok(None) };
        // ORDER: a freed worker goes to the longest waiting request before it can be seen as free
        // here, so this overtakes nobody.
        if let Ok(worker) = Arc::clone(workers).try_acquire_owned() {
            return Ok(Some(worker));
        }
        let limit = self.queue_limit.unwrap_or(usize::MAX);
        let waiting = Waiting(&self.waiting_count);
        if self.waiting_count.fetch_add(1, Ordering::Relaxed) >= limit {
            return Err(QueueFull);
        }
        let worker = Arc::clone(workers).acquire_owned().await;
        drop(waiting);
        Ok(Some(worker.expect("the semaphore is never closed")))
    }
}

/// Counts one waiting request, until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn serves_in_order_and_turns_away_what_is_over_the_limit() {
        let mut context = Context::from_waker(Waker::noop());
        let gate = Gate::new(Some(1), Some(2));
        let Poll::Ready(Ok(worker)) = pin!(gate.enter()).poll(&mut context) else {
            panic!("the worker is free");
        };
        let mut second = pin!(gate.enter());
        let mut third = pin!(gate.enter());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(third.as_mut().poll(&mut context).is_pending());
        let fourth = pin!(gate.enter()).poll(&mut context);
        assert!(matches!(fourth, Poll::Ready(Err(QueueFull))));

        drop(worker);
        assert!(third.as_mut().poll(&mut context).is_pending(), "the second was first");
        assert!(matches!(second.as_mut().poll(&mut context), Poll::Ready(Ok(Some(_)))));
        assert!(matches!(third.as_mut().poll(&mut context), Poll::Ready(Ok(Some(_)))));
        assert!(matches!(pin!(gate.enter()).poll(&mut context), Poll::Ready(Ok(Some(_)))));
    }

    #[test]
    fn lets_everybody_in_without_workers_to_count() {
        let mut context = Context::from_waker(Waker::noop());
        let gate = Gate::new(None, Some(0));
        for _ in 0..3 {
            assert!(matches!(pin!(gate.enter()).poll(&mut context), Poll::Ready(Ok(None))));
        }
    }
}
