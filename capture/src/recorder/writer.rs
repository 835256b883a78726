//! The thread behind the queue: it sanitizes, writes, keeps the ledger and checkpoints.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use prophecy_anonymizer::Sanitizer;
use prophecy_core::{Exchange, Ledger};
use prophecy_datasets::{DatasetWriter, Manifest, WriteDatasetError};

use super::queue::{Item, Next, Queue};

/// How long written rows may wait for a checkpoint.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// Where the rows of a recording go.
pub(crate) trait Sink: Send + 'static {
    fn write(&mut self, item: Item) -> Result<(), WriteDatasetError>;
    fn checkpoint(&mut self, ledger: &Ledger) -> Result<(), WriteDatasetError>;
    fn finish(self, ledger: &Ledger) -> Result<Manifest, WriteDatasetError>;
}

/// Sanitizes rows and writes them to a dataset.
#[derive(Debug)]
pub(super) struct DatasetSink {
    writer: DatasetWriter,
    sanitizer: Sanitizer,
    tap: Option<Sender<Exchange>>,
}

/// Fails the queue if the thread ends early, by an error or by a panic.
///
/// Otherwise the queue would fill up in front of a writer that is gone, and call it slow.
struct FailOnDrop<'a> {
    queue: &'a Queue,
    armed: bool,
}

/// Writes what comes through the queue until it ends; `None` if the recording was dropped.
pub(super) fn write_all<S: Sink>(
    sink: S,
    queue: &Queue,
) -> Result<Option<Manifest>, WriteDatasetError> {
    let mut guard = FailOnDrop { queue, armed: true };
    let manifest = write_until_end(sink, queue)?;
    guard.armed = false;
    Ok(manifest)
}

fn write_until_end<S: Sink>(
    mut sink: S,
    queue: &Queue,
) -> Result<Option<Manifest>, WriteDatasetError> {
    let mut ledger = Ledger::default();
    // Set while rows wait for a checkpoint.
    let mut checkpoint_at: Option<Instant> = None;
    loop {
        if checkpoint_at.is_some_and(|at| at <= Instant::now()) {
            sink.checkpoint(&balanced(&ledger, queue))?;
            checkpoint_at = None;
        }
        match queue.next(checkpoint_at) {
            Next::Item(item) => {
                let completeness = item.completeness();
                sink.write(item)?;
                if let Some(completeness) = completeness {
                    ledger.exchanges.record(completeness);
                    queue.recorded();
                }
                checkpoint_at.get_or_insert_with(|| Instant::now() + CHECKPOINT_INTERVAL);
            }
            Next::Nothing => {}
            Next::Closed => {
                let ledger = balanced(&ledger, queue);
                debug_assert_eq!(ledger.exchanges.seen, queue.counts().seen);
                return sink.finish(&ledger).map(Some);
            }
            Next::Abandoned => {
                sink.checkpoint(&balanced(&ledger, queue))?;
                return Ok(None);
            }
        }
    }
}

/// Returns the ledger with what the queue shed or could not read so far.
fn balanced(ledger: &Ledger, queue: &Queue) -> Ledger {
    let mut ledger = ledger.clone();
    let counts = queue.counts();
    ledger.exchanges.shed(counts.shed);
    ledger.segments.unparsed_bytes = counts.unparsed_bytes;
    ledger
}

// === impl DatasetSink ===

impl DatasetSink {
    pub(super) fn new(
        writer: DatasetWriter,
        sanitizer: Sanitizer,
        tap: Option<Sender<Exchange>>,
    ) -> Self {
        Self { writer, sanitizer, tap }
    }
}

impl Sink for DatasetSink {
    fn write(&mut self, item: Item) -> Result<(), WriteDatasetError> {
        match item {
            Item::Exchange(exchange) => {
                // Whoever listened may have left; that is no reason to stop writing.
                if let Some(tap) = &self.tap
                    && tap.send(Exchange::clone(&exchange)).is_err()
                {
                    self.tap = None;
                }
                self.writer.exchange(self.sanitizer.exchange(*exchange))
            }
            Item::Connection(connection) => {
                self.writer.connection(self.sanitizer.connection(*connection))
            }
            Item::Metric(metric) => self.writer.metric(self.sanitizer.metric(*metric)),
        }
    }

    fn checkpoint(&mut self, ledger: &Ledger) -> Result<(), WriteDatasetError> {
        self.writer.checkpoint(ledger)
    }

    fn finish(self, ledger: &Ledger) -> Result<Manifest, WriteDatasetError> {
        self.writer.finish(ledger)
    }
}

impl Drop for FailOnDrop<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.queue.fail();
        }
    }
}
