//! What waits for missing segments, and for how long.

use prophecy_core::Timestamp;

use super::super::Context;
use super::super::lane::Mark;
use super::Flow;

/// How many further packets a missing segment may be late by, once it is acknowledged: captures
/// of several queues are out of order by a few.
const LATE_PACKETS: u64 = 32;

/// How long a missing segment may be late, once it is acknowledged \[ns\].
const LATE_NANOS: u64 = 1_000_000_000;

/// How long a missing segment is waited for that nobody acknowledges \[ns\].
const UNACKNOWLEDGED_NANOS: u64 = 30_000_000_000;

/// How much of a connection may wait for a missing segment.
const PENDING_LIMIT: usize = 4 << 20;
const PENDING_SEGMENTS_LIMIT: usize = 8_192;

/// Why bytes that wait may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// They may not yet.
    Waits,
    /// What is missing before them was received by the other end.
    Acknowledged,
    /// Nothing more will come, or too much waits.
    None,
}

// === impl Flow ===

impl Flow {
    /// Says whether everything was delivered that the sender of a segment had received.
    pub(super) fn may_hear(&self, end: usize, heard: Option<u64>) -> bool {
        let other = &self.directions[1 - end];
        match (heard, other.next) {
            // A position that is not plausible was not noted.
            (Some(heard), Some(next)) => heard <= next || heard > other.acknowledged,
            _ => true,
        }
    }

    /// Delivers whatever is in order, in both directions, causes before effects.
    pub(super) fn pump(&mut self, at: Timestamp, least: Patience, context: &mut Context<'_>) {
        loop {
            let mut moved = false;
            for end in 0..2 {
                while self.is_ready(end) {
                    self.take(end, context);
                    moved = true;
                }
                moved |= self.end_if_due(end, context);
            }
            if moved {
                continue;
            }
            if self.directions.iter().all(|direction| direction.waiting() == 0) {
                self.stuck = None;
                return;
            }
            let patience = self.patience(at, least);
            if patience == Patience::Waits || !self.skip(patience, context) {
                if let Some((_, packets)) = &mut self.stuck {
                    *packets += 1;
                }
                return;
            }
            self.stuck = None;
        }
    }

    fn patience(&mut self, at: Timestamp, least: Patience) -> Patience {
        let (since, packets) = *self.stuck.get_or_insert((at, 0));
        let is_full = self.directions.iter().any(|direction| {
            direction.pending_bytes > PENDING_LIMIT || direction.waiting() > PENDING_SEGMENTS_LIMIT
        });
        let waited = at.nanos_since(since);
        if least == Patience::None || is_full || waited > UNACKNOWLEDGED_NANOS {
            Patience::None
        } else if packets > LATE_PACKETS || waited > LATE_NANOS {
            Patience::Acknowledged
        } else {
            Patience::Waits
        }
    }

    fn is_ready(&self, end: usize) -> bool {
        let direction = &self.directions[end];
        direction.front().is_some_and(|(start, chunk)| {
            Some(start) == direction.next && self.may_hear(end, chunk.heard)
        })
    }

    /// Passes over one hole, or one order of events that contradicts itself.
    fn skip(&mut self, patience: Patience, context: &mut Context<'_>) -> bool {
        let mut unacknowledged = None;
        for end in 0..2 {
            let (direction, other) = (&self.directions[end], &self.directions[1 - end]);
            let (Some(next), Some((start, chunk))) = (direction.next, direction.front()) else {
                continue;
            };
            if start > next {
                // The hole is as long as what the other end has received of it.
                if direction.acknowledged > next {
                    self.gap(end, start.min(direction.acknowledged), context);
                    return true;
                }
                unacknowledged = Some((end, start));
                continue;
            }
            // It is in order, but its sender had received what we have not.
            let heard = chunk.heard.unwrap_or(0);
            match (other.next, other.front()) {
                (Some(other_next), Some((other_start, _))) if other_start == other_next => {
                    self.take(end, context);
                    return true;
                }
                (Some(_), front) => {
                    let until = front.map_or(heard, |(other_start, _)| heard.min(other_start));
                    self.gap(1 - end, until, context);
                    return true;
                }
                (None, _) => {}
            }
        }
        if let (Patience::None, Some((end, start))) = (patience, unacknowledged) {
            self.gap(end, start, context);
            return true;
        }
        false
    }

    fn take(&mut self, end: usize, context: &mut Context<'_>) {
        let position = self.directions[end].next.unwrap_or(0);
        if let Some(chunk) = self.directions[end].take() {
            let mark = Mark { position, heard: chunk.heard };
            self.deliver(end, &chunk.bytes, chunk.at, mark, context);
        }
    }
}
