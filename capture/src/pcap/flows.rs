//! The connections that are under way.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use prophecy_core::Timestamp;

use super::Context;
use super::flow::Flow;
use crate::wire::Segment;

/// How long a closed connection is remembered, so that late packets do not start another \[ns\].
const CLOSED_NANOS: u64 = 10_000_000_000;

/// How many connections may be under way; beyond, the most idle ones are ended.
const FLOW_LIMIT: usize = 65_536;

/// The two ends in the order of their addresses.
type Key = (SocketAddr, SocketAddr);

/// Connections by their two ends.
#[derive(Debug, Default)]
pub(super) struct Flows {
    by_ends: BTreeMap<Key, Flow>,
    /// Closed connections, in the order of closing.
    closed: VecDeque<(Timestamp, Key)>,
}

// === impl Flows ===

impl Flows {
    /// Hands a segment to its connection.
    pub(super) fn segment(
        &mut self,
        segment: &Segment<'_>,
        at: Timestamp,
        context: &mut Context<'_>,
    ) {
        self.forget_closed(at, context);
        let key = key(segment);
        if self.by_ends.get(&key).is_some_and(|flow| flow.is_reused_by(segment))
            && let Some(flow) = self.by_ends.remove(&key)
        {
            flow.finish(context);
        }
        if !self.by_ends.contains_key(&key) {
            if !segment.is_syn() && segment.payload.is_empty() {
                // What acknowledges or ends a connection that was never seen says nothing.
                return;
            }
            self.make_room(context);
        }
        let flow = self.by_ends.entry(key).or_insert_with(|| Flow::new(segment, at, context));
        flow.segment(segment, at, context);
        if flow.just_closed() {
            self.closed.push_back((at, key));
        }
    }

    /// Ends all connections.
    pub(super) fn finish(self, context: &mut Context<'_>) {
        for flow in self.by_ends.into_values() {
            flow.finish(context);
        }
    }

    fn forget_closed(&mut self, now: Timestamp, context: &mut Context<'_>) {
        while let Some((_, key)) =
            self.closed.pop_front_if(|(at, _)| now.nanos_since(*at) > CLOSED_NANOS)
        {
            // The ports may have been used again since.
            let is_over =
                |flow: &Flow| flow.is_closed() && now.nanos_since(flow.last_at) > CLOSED_NANOS;
            match self.by_ends.get(&key) {
                Some(flow) if is_over(flow) => {}
                Some(flow) if flow.is_closed() => {
                    self.closed.push_back((now, key));
                    continue;
                }
                _ => continue,
            }
            if let Some(flow) = self.by_ends.remove(&key) {
                flow.finish(context);
            }
        }
    }

    fn make_room(&mut self, context: &mut Context<'_>) {
        if self.by_ends.len() < FLOW_LIMIT {
            return;
        }
        let mut by_age: Vec<_> =
            self.by_ends.iter().map(|(key, flow)| (flow.last_at, *key)).collect();
        by_age.sort_unstable();
        for (_, key) in by_age.into_iter().take(FLOW_LIMIT / 8) {
            if let Some(flow) = self.by_ends.remove(&key) {
                context.odd("connection ended to make room");
                flow.finish(context);
            }
        }
    }
}

fn key(segment: &Segment<'_>) -> Key {
    let (a, b) = (segment.source, segment.destination);
    if a <= b { (a, b) } else { (b, a) }
}
