//! The bounded queue in front of the writer thread, and the counts of what went through it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prophecy_core::{Completeness, Connection, Exchange, Header, Metric};

use super::RecordingCounts;

/// How long the writer lets rows gather after it has emptied the queue.
///
/// Waking it for each row would cost every relayed request a switch of context.
const GATHER: Duration = Duration::from_millis(5);

/// A row on its way to the writer.
#[derive(Debug)]
pub(crate) enum Item {
    Exchange(Box<Exchange>),
    Connection(Box<Connection>),
    Metric(Box<Metric>),
}

/// What the writer finds when it looks into the queue.
#[derive(Debug)]
pub(super) enum Next {
    /// The oldest row.
    Item(Item),
    /// Nothing came until the deadline.
    Nothing,
    /// The queue is closed and empty: complete the dataset.
    Closed,
    /// The recording was dropped, and the queue is empty: leave the dataset as it is.
    Abandoned,
}

/// A queue that refuses instead of waiting.
///
/// All counts live under the lock of the queue, so that at every instant
/// `seen = recorded + shed + queued`. The lock is held for the move of one pointer.
#[derive(Debug)]
pub(super) struct Queue {
    capacity: usize,
    bytes_limit: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    counts: RecordingCounts,
    end: Option<End>,
    writer: Writer,
}

/// What would wake the writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    /// Nothing: it is awake.
    #[default]
    Busy,
    /// A queue that is half full.
    Gathers,
    /// A row.
    Waits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Abandoned,
}

// === impl Item ===

impl Item {
    /// Returns how much of an exchange was seen, if the row is one.
    pub(super) fn completeness(&self) -> Option<Completeness> {
        match self {
            Self::Exchange(exchange) => Some(exchange.completeness),
            Self::Connection(_) | Self::Metric(_) => None,
        }
    }

    /// Returns about how much memory the row holds.
    fn bytes(&self) -> usize {
        match self {
            Self::Exchange(exchange) => {
                let headers = exchange.request_headers.iter().chain(&exchange.response_headers);
                let bodies = [&exchange.request_body, &exchange.response_body];
                size_of::<Exchange>()
                    + headers.map(header_bytes).sum::<usize>()
                    + bodies.into_iter().flatten().map(Vec::len).sum::<usize>()
                    + exchange.path.len()
                    + exchange.query.as_ref().map_or(0, String::len)
            }
            Self::Connection(_) => size_of::<Connection>(),
            Self::Metric(_) => size_of::<Metric>() + 128,
        }
    }
}

fn header_bytes(header: &Header) -> usize {
    size_of::<Header>() + header.name.len() + header.value.len()
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(capacity: usize, bytes_limit: usize) -> Self {
        let items = VecDeque::with_capacity(capacity.min(1_024));
        let state = Mutex::new(State { items, ..State::default() });
        Self { capacity, bytes_limit, state, changed: Condvar::new() }
    }

    /// Takes a row if there is room and writing goes on, and sheds it otherwise.
    pub(super) fn offer(&self, item: Item) {
        let bytes = item.bytes();
        let is_exchange = matches!(item, Item::Exchange(_));
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        state.counts.seen += u64::from(is_exchange);
        let full = state.items.len() >= self.capacity || state.bytes + bytes > self.bytes_limit;
        if full || state.counts.failed {
            state.count_shed(is_exchange);
            return;
        }
        state.bytes += bytes;
        state.counts.queued += u64::from(is_exchange);
        state.items.push_back(item);
        let wake = match state.writer {
            Writer::Busy => false,
            Writer::Gathers => {
                state.items.len() >= self.capacity / 2 || state.bytes >= self.bytes_limit / 2
            }
            Writer::Waits => true,
        };
        if wake {
            state.writer = Writer::Busy;
            drop(state);
            self.changed.notify_one();
        }
    }

    pub(super) fn count_unparsed(&self, bytes: u64) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.counts.unparsed_bytes += bytes;
        }
    }

    /// Returns the oldest row, waiting for one until `deadline` at most.
    ///
    /// The row stays among the queued ones in the counts until [`Queue::recorded`] or
    /// [`Queue::fail`] says what became of it.
    pub(super) fn next(&self, deadline: Option<Instant>) -> Next {
        let mut state = self.lock();
        if state.items.is_empty() && state.end.is_none() {
            state = self.wait(state, Writer::Gathers, GATHER);
        }
        loop {
            if let Some(item) = state.items.pop_front() {
                state.bytes -= item.bytes();
                return Next::Item(item);
            }
            match state.end {
                Some(End::Closed) => return Next::Closed,
                Some(End::Abandoned) => return Next::Abandoned,
                None => {}
            }
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => Duration::from_hours(1),
            };
            if left.is_zero() {
                return Next::Nothing;
            }
            state = self.wait(state, Writer::Waits, left);
        }
    }

    /// Waits at most so long for a change, which may be no change at all.
    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        writer: Writer,
        longest: Duration,
    ) -> MutexGuard<'a, State> {
        state.writer = writer;
        let waited = self.changed.wait_timeout(state, longest);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.writer = Writer::Busy;
        state
    }

    /// Counts an exchange that the writer took and wrote.
    pub(super) fn recorded(&self) {
        let mut state = self.lock();
        state.counts.queued -= 1;
        state.counts.recorded += 1;
    }

    /// Gives up on writing: what is queued is shed, and so is all that follows.
    pub(super) fn fail(&self) {
        let mut state = self.lock();
        state.counts.failed = true;
        let queued = std::mem::take(&mut state.counts.queued);
        state.counts.shed += queued;
        let others = state.items.iter().filter(|item| !matches!(item, Item::Exchange(_))).count();
        state.counts.other_rows_shed += others as u64;
        state.items.clear();
        state.bytes = 0;
    }

    /// Ends the queue: what is in it is still written, and the dataset completed.
    pub(super) fn close(&self) {
        self.end(End::Closed);
    }

    /// Ends the queue, unless it is closed: what is in it is written, and the dataset left open.
    pub(super) fn abandon(&self) {
        self.end(End::Abandoned);
    }

    pub(super) fn counts(&self) -> RecordingCounts {
        self.lock().counts
    }

    fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn count_shed(&mut self, is_exchange: bool) {
        if is_exchange {
            self.counts.shed += 1;
        } else {
            self.counts.other_rows_shed += 1;
        }
    }
}
