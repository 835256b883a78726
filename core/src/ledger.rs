//! Counts that must add up: nothing that was seen may vanish without a line here.

use serde::{Deserialize, Serialize};

use crate::exchange::Completeness;

/// What a capture saw, and where each part of it went.
///
/// Every group obeys an equation that [`Ledger::imbalance`] checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// Packets, of a capture that reads packets.
    pub packets: Packets,
    /// TCP segments with payload, of a capture that reads packets.
    pub segments: Segments,
    /// Exchanges, of every capture.
    pub exchanges: Exchanges,
}

/// Where each packet went: `seen = filtered + not_decodable + not_tcp + segments`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Packets {
    /// Packets that reached us.
    pub seen: u64,
    /// Packets that the kernel dropped before us, on top of `seen`.
    pub dropped_by_kernel: u64,
    /// Packets left out by a filter.
    pub filtered: u64,
    /// Packets whose headers do not parse, or whose link type is unknown.
    pub not_decodable: u64,
    /// Packets of another transport than TCP, and fragments that never completed or were merged.
    pub not_tcp: u64,
    /// TCP segments, with or without payload.
    pub tcp: u64,
}

/// What became of TCP payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Segments {
    /// Segments with payload.
    pub with_payload: u64,
    /// Segments that carried only bytes seen before.
    pub retransmitted: u64,
    /// Segments held until the bytes before them came.
    pub out_of_order: u64,
    /// Holes that were never filled.
    pub gaps: u64,
    /// Bytes in those holes.
    pub lost_bytes: u64,
    /// Payload bytes of connections that speak no protocol we parse.
    pub unparsed_bytes: u64,
}

/// What became of exchanges: `seen = recorded + shed`, and `recorded` is the sum by completeness.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exchanges {
    /// Exchanges that passed.
    pub seen: u64,
    /// Exchanges written to the dataset.
    pub recorded: u64,
    /// Exchanges not recorded, because recording them would have slowed the service.
    pub shed: u64,
    /// Recorded with request and response, whole.
    pub complete: u64,
    /// Recorded without a response.
    pub request_only: u64,
    /// Recorded without a request.
    pub response_only: u64,
    /// Recorded, but one side ended early.
    pub truncated: u64,
    /// Recorded, with bytes missing in the middle.
    pub gap: u64,
}

// === impl Ledger ===

impl Ledger {
    /// Says which equation does not hold, or `None` if all counts add up.
    pub fn imbalance(&self) -> Option<String> {
        let Packets { seen, filtered, not_decodable, not_tcp, tcp, .. } = self.packets;
        let accounted = filtered + not_decodable + not_tcp + tcp;
        if seen != accounted {
            return Some(format!("{seen} packets seen, {accounted} accounted for"));
        }
        let exchanges = &self.exchanges;
        if exchanges.seen != exchanges.recorded + exchanges.shed {
            return Some(format!(
                "{} exchanges seen, {} recorded and {} shed",
                exchanges.seen, exchanges.recorded, exchanges.shed
            ));
        }
        let by_completeness: u64 =
            Completeness::ALL.into_iter().map(|degree| exchanges.of(degree)).sum();
        if exchanges.recorded != by_completeness {
            return Some(format!(
                "{} exchanges recorded, {by_completeness} by completeness",
                exchanges.recorded
            ));
        }
        None
    }
}

// === impl Exchanges ===

impl Exchanges {
    /// Counts one exchange that was seen and recorded.
    pub fn record(&mut self, completeness: Completeness) {
        self.seen += 1;
        self.recorded += 1;
        match completeness {
            Completeness::Complete => self.complete += 1,
            Completeness::RequestOnly => self.request_only += 1,
            Completeness::ResponseOnly => self.response_only += 1,
            Completeness::Truncated => self.truncated += 1,
            Completeness::Gap => self.gap += 1,
        }
    }

    /// Counts `count` exchanges that were seen and not recorded.
    pub fn shed(&mut self, count: u64) {
        self.seen += count;
        self.shed += count;
    }

    /// Returns how many were recorded with this completeness.
    pub fn of(&self, completeness: Completeness) -> u64 {
        match completeness {
            Completeness::Complete => self.complete,
            Completeness::RequestOnly => self.request_only,
            Completeness::ResponseOnly => self.response_only,
            Completeness::Truncated => self.truncated,
            Completeness::Gap => self.gap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balances_when_every_exchange_is_recorded_or_shed() {
        let mut ledger = Ledger::default();
        Completeness::ALL.into_iter().for_each(|degree| ledger.exchanges.record(degree));
        ledger.exchanges.shed(3);
        assert_eq!(ledger.imbalance(), None);
        ledger.exchanges.recorded -= 1;
        assert_eq!(ledger.imbalance().as_deref(), Some("8 exchanges seen, 4 recorded and 3 shed"));
    }

    #[test]
    fn misses_a_lost_packet() {
        let packets = Packets { seen: 3, tcp: 2, ..Packets::default() };
        let ledger = Ledger { packets, ..Ledger::default() };
        assert_eq!(ledger.imbalance().as_deref(), Some("3 packets seen, 2 accounted for"));
    }
}
