//! The way from whatever sees traffic to the dataset, which never makes the traffic wait.
//!
//! A [`Recorder`] puts what it is given into a bounded queue and returns at once. One thread behind
//! the queue, owned by a [`Recording`], sanitizes and writes. What does not fit into the queue is
//! shed and counted: a capture may lose an exchange, but never without saying so, and never by
//! slowing the service.

mod queue;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use prophecy_anonymizer::Sanitizer;
use prophecy_core::{Connection, Exchange, Metric};
use prophecy_datasets::{DatasetWriter, Manifest, WriteDatasetError};
use thiserror::Error;

pub(crate) use self::queue::Item;
use self::queue::Queue;
use self::writer::DatasetSink;
pub(crate) use self::writer::Sink;

/// The most bytes of bodies and heads that wait for the writer.
pub const QUEUED_BYTES_LIMIT: usize = 64 << 20;

/// The most bytes of bodies that are held for exchanges which have not ended.
pub const OPEN_BYTES_LIMIT: usize = 64 << 20;

/// How a recording buffers, and who else listens.
#[derive(Clone, Debug)]
pub struct RecordingOptions {
    /// The most rows that wait for the writer.
    pub queue_capacity: usize,
    /// Gets a copy of every exchange that is written, *before* it is sanitized.
    ///
    /// It is for comparison in memory: whoever listens must not write what it hears.
    pub tap: Option<Sender<Exchange>>,
}

/// Takes rows from whatever sees traffic, without ever waiting.
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
}

/// The thread that sanitizes and writes what its [`Recorder`]s were given.
///
/// Dropping it without [`Recording::finish`] ends the thread after what is queued, and leaves a
/// dataset that says it was not finished.
#[derive(Debug)]
pub struct Recording {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Option<Manifest>, WriteDatasetError>>>,
}

/// What a recording has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordingCounts {
    /// Exchanges that passed.
    pub seen: u64,
    /// Exchanges written, or on their way into the part being written.
    pub recorded: u64,
    /// Exchanges not recorded, because the queue was full or writing had failed.
    pub shed: u64,
    /// Exchanges that wait for the writer.
    pub queued: u64,
    /// Rows of other tables that were shed for the same reasons.
    pub other_rows_shed: u64,
    /// Bytes that passed and belong to no exchange.
    pub unparsed_bytes: u64,
    /// Whether writing has failed; the error comes from [`Recording::finish`].
    pub failed: bool,
}

/// Why a recording could not be finished.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The dataset could not be written; what was checkpointed before is whole.
    #[error("cannot finish the recording: writing its dataset failed")]
    Write(#[source] WriteDatasetError),
    /// The writer thread panicked, which is a bug.
    #[error("cannot finish the recording: its writer thread panicked")]
    Panicked,
}

#[derive(Debug)]
struct Shared {
    queue: Queue,
    exchange_ids: AtomicU64,
    connection_ids: AtomicU64,
    open_bytes: AtomicUsize,
}

// === impl RecordingOptions ===

impl Default for RecordingOptions {
    /// Lets 65,536 rows wait, and has no tap.
    fn default() -> Self {
        Self { queue_capacity: 65_536, tap: None }
    }
}

// === impl Recorder ===

impl Recorder {
    /// Records an exchange, or sheds and counts it.
    pub fn exchange(&self, exchange: Exchange) {
        self.shared.queue.offer(Item::Exchange(Box::new(exchange)));
    }

    /// Records a connection, or sheds and counts it.
    pub fn connection(&self, connection: Connection) {
        self.shared.queue.offer(Item::Connection(Box::new(connection)));
    }

    /// Records a metric, or sheds and counts it.
    pub fn metric(&self, metric: Metric) {
        self.shared.queue.offer(Item::Metric(Box::new(metric)));
    }

    /// Counts bytes that passed and belong to no exchange: another protocol, or a broken message.
    pub fn unparsed(&self, bytes: u64) {
        self.shared.queue.count_unparsed(bytes);
    }

    /// Asks for memory to hold more of a body; a refusal means that the body is cut here.
    ///
    /// What is granted must be given back with [`Recorder::release`].
    pub(crate) fn reserve(&self, bytes: usize) -> bool {
        let held = self.shared.open_bytes.fetch_add(bytes, Ordering::Relaxed);
        let granted = held + bytes <= OPEN_BYTES_LIMIT;
        if !granted {
            self.release(bytes);
        }
        granted
    }

    /// Gives back memory that was granted.
    pub(crate) fn release(&self, bytes: usize) {
        self.shared.open_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns an exchange number that this recording has not used.
    pub fn next_exchange_id(&self) -> u64 {
        self.shared.exchange_ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns a connection number that this recording has not used.
    pub fn next_connection_id(&self) -> u64 {
        self.shared.connection_ids.fetch_add(1, Ordering::Relaxed)
    }
}

// === impl Recording ===

impl Recording {
    /// Starts the writer thread of a dataset.
    ///
    /// The thread checkpoints the dataset at least once a second while there is something new, so
    /// that a process that is killed loses about one second.
    pub fn start(
        writer: DatasetWriter,
        sanitizer: Sanitizer,
        options: RecordingOptions,
    ) -> (Recorder, Self) {
        let RecordingOptions { queue_capacity, tap } = options;
        Self::start_with(DatasetSink::new(writer, sanitizer, tap), queue_capacity)
    }

    pub(crate) fn start_with<S: Sink>(sink: S, queue_capacity: usize) -> (Recorder, Self) {
        let shared = Arc::new(Shared {
            queue: Queue::new(queue_capacity, QUEUED_BYTES_LIMIT),
            exchange_ids: AtomicU64::new(0),
            connection_ids: AtomicU64::new(0),
            open_bytes: AtomicUsize::new(0),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("prophecy-writer".to_owned())
            .spawn(move || writer::write_all(sink, &of_thread.queue))
            .expect("the system can start one more thread");
        (Recorder { shared: Arc::clone(&shared) }, Self { shared, thread: Some(thread) })
    }

    /// Returns what was seen, recorded and shed so far; these three and `queued` add up.
    pub fn counts(&self) -> RecordingCounts {
        self.shared.queue.counts()
    }

    /// Says whether writing has failed, so that everything since is shed.
    pub fn failed(&self) -> bool {
        self.counts().failed
    }

    /// Writes what is queued and completes the dataset.
    ///
    /// What a [`Recorder`] is given from here on is not part of the recording.
    ///
    /// # Errors
    ///
    /// [`RecordError::Write`] with the first error of writing, if there was one.
    pub fn finish(mut self) -> Result<Manifest, RecordError> {
        self.shared.queue.close();
        let thread = self.thread.take().expect("only `finish` takes the thread");
        let manifest = thread.join().map_err(|_| RecordError::Panicked)?;
        Ok(manifest.map_err(RecordError::Write)?.expect("a closed recording is completed"))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.shared.queue.abandon();
    }
}

#[cfg(test)]
mod tests;
