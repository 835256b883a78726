//! Datagrams that came in pieces.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use super::ip::Place;

/// How many datagrams may be under way at once; beyond, the oldest is given up.
const DATAGRAM_LIMIT: usize = 512;

/// The longest datagram that IP can describe.
const LENGTH_LIMIT: usize = 65_535;

/// A piece of a datagram.
#[derive(Debug)]
pub(super) struct Fragment<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) place: Place,
    pub(super) payload: &'a [u8],
}

type Key = (IpAddr, IpAddr, u32);

/// The datagrams that are under way.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    datagrams: BTreeMap<Key, Pieces>,
    /// Keys in the order of their first fragment.
    order: VecDeque<Key>,
}

#[derive(Debug, Default)]
struct Pieces {
    by_offset: BTreeMap<usize, Vec<u8>>,
    length: Option<usize>,
}

// === impl Fragments ===

impl Fragments {
    /// Adds a fragment; returns the payload of the datagram if it is whole now.
    pub(super) fn add(&mut self, fragment: &Fragment<'_>) -> Option<Vec<u8>> {
        let Place { id, offset, is_last } = fragment.place;
        let end = offset + fragment.payload.len();
        if end > LENGTH_LIMIT || fragment.payload.is_empty() {
            return None;
        }
        let key = (fragment.source, fragment.destination, id);
        if !self.datagrams.contains_key(&key) {
            if self.order.len() >= DATAGRAM_LIMIT {
                let oldest = self.order.pop_front().expect("the order is not empty");
                self.datagrams.remove(&oldest);
            }
            self.order.push_back(key);
        }
        let pieces = self.datagrams.entry(key).or_default();
        if is_last {
            pieces.length.get_or_insert(end);
        }
        // What was seen first stays, as for overlapping segments.
        pieces.by_offset.entry(offset).or_insert_with(|| fragment.payload.to_vec());
        let whole = pieces.join()?;
        self.datagrams.remove(&key);
        self.order.retain(|other| *other != key);
        Some(whole)
    }
}

// === impl Pieces ===

impl Pieces {
    fn join(&self) -> Option<Vec<u8>> {
        let length = self.length?;
        let mut whole = Vec::with_capacity(length);
        for (offset, piece) in &self.by_offset {
            let known = whole.len().checked_sub(*offset)?;
            whole.extend_from_slice(piece.get(known..).unwrap_or_default());
        }
        whole.truncate(length);
        (whole.len() == length).then_some(whole)
    }
}
