//! Events to come, by time and then by the order in which they were made.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// What will happen, and to which generation of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) kind: Kind,
    pub(super) subject: u32,
    pub(super) generation: u32,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A visit ends a stretch of own time.
    SegmentEnd,
    /// A visit reaches its service.
    Arrive,
    /// A visit's answer reaches its caller.
    Answer,
    /// A call is tried again.
    Retry,
    /// The next of those who compute on a host is done.
    CoreFree,
    /// An instance stands still.
    Pause,
    /// A service goes to another state.
    State,
    /// An incident of the scenario.
    Incident,
    /// A lock of a service is given back.
    Unlock,
    /// An instance starts.
    Start,
    /// A service looks whether it has instances enough.
    Scale,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    at: u64,
    order: u64,
    action: Action,
}

/// A binary heap whose top, once taken, stays until the next event replaces it: most events make
/// exactly one other, and replacing sifts once where removing and inserting sift twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Calendar {
    heap: BinaryHeap<Event>,
    made: u64,
    top_is_taken: bool,
    /// Where set, events of one instant come in another order.
    shuffle: Option<u64>,
}

// === impl Event ===

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Event {}

impl Ord for Event {
    /// The earlier event is the greater one, as the heap's top is its greatest.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at).then_with(|| other.order.cmp(&self.order))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

// === impl Calendar ===

impl Calendar {
    pub(super) fn new(shuffle: Option<u64>) -> Self {
        Self { shuffle, ..Self::default() }
    }

    /// Adds an event after all others of its instant.
    #[inline]
    pub(super) fn push(&mut self, at: u64, kind: Kind, subject: u32, generation: u32) {
        self.made += 1;
        let order = match self.shuffle {
            None => self.made,
            Some(key) => super::spread(self.made ^ key),
        };
        let event = Event { at, order, action: Action { kind, subject, generation } };
        if self.top_is_taken {
            self.top_is_taken = false;
            if let Some(mut top) = self.heap.peek_mut() {
                *top = event;
            }
        } else {
            self.heap.push(event);
        }
    }

    /// Returns when the next event is due; `u64::MAX` if there is none.
    #[inline]
    pub(super) fn next_at(&mut self) -> u64 {
        self.close();
        self.heap.peek().map_or(u64::MAX, |event| event.at)
    }

    /// Takes the event that [`Calendar::next_at`] told of.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Action> {
        self.close();
        let action = self.heap.peek()?.action;
        self.top_is_taken = true;
        Some(action)
    }

    #[inline]
    fn close(&mut self) {
        if self.top_is_taken {
            self.top_is_taken = false;
            if let Some(top) = self.heap.peek_mut() {
                PeekMut::pop(top);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_of(shuffle: Option<u64>) -> Vec<u32> {
        let mut calendar = Calendar::new(shuffle);
        for (at, subject) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
            calendar.push(at, Kind::SegmentEnd, subject, 0);
        }
        let mut order = Vec::new();
        while let Some(action) = calendar.take() {
            order.push(action.subject);
            if action.subject == 1 {
                calendar.push(3, Kind::SegmentEnd, 4, 0);
            }
            if action.subject == 0 {
                calendar.push(9, Kind::SegmentEnd, 5, 0);
                calendar.push(7, Kind::SegmentEnd, 6, 0);
            }
        }
        order
    }

    #[test]
    fn gives_events_by_time_then_in_the_order_they_were_made() {
        assert_eq!(order_of(None), [1, 3, 4, 0, 2, 6, 5]);
    }

    #[test]
    fn shuffles_only_ties() {
        let shuffled: Vec<Vec<u32>> = (0..20).map(|key| order_of(Some(key))).collect();
        for order in &shuffled {
            let early: Vec<u32> =
                order.iter().copied().filter(|it| [1, 3, 4].contains(it)).collect();
            assert_eq!(early, order[..3]);
            assert_eq!(order[5..], [6, 5]);
        }
        assert!(shuffled.iter().any(|order| *order != shuffled[0]));
    }
}
