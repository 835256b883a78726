//! The body of a request on its way in, and what is known of it: who is slow, and who broke it off.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// What has become of a body so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    frames: AtomicU64,
    ended: AtomicBool,
    broken: AtomicBool,
}

/// A body that is passed on as it comes.
#[derive(Debug)]
pub(super) struct Upload {
    body: Incoming,
    /// Nothing for a request without a body, which most are.
    progress: Option<Arc<Progress>>,
}

// === impl Progress ===

impl Progress {
    /// Returns how many pieces have been passed on.
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Says whether all of it has been passed on.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Says whether the caller broke it off.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

// === impl Upload ===

impl Upload {
    /// Wraps what a caller sends.
    pub(super) fn new(body: Incoming) -> Self {
        let progress = (!body.is_end_stream()).then(Arc::default);
        Self { body, progress }
    }

    /// Returns what can be known while it is passed on.
    pub(super) fn progress(&self) -> Option<Arc<Progress>> {
        self.progress.clone()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(progress) = &self.progress {
            match &polled {
                Poll::Ready(Some(Ok(_))) => {
                    progress.frames.fetch_add(1, Ordering::Relaxed);
                    if self.body.is_end_stream() {
                        progress.ended.store(true, Ordering::Relaxed);
                    }
                }
                Poll::Ready(Some(Err(_))) => progress.broken.store(true, Ordering::Relaxed),
                Poll::Ready(None) => progress.ended.store(true, Ordering::Relaxed),
                Poll::Pending => {}
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
