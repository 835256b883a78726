//! What one end of a connection sent, put back in order.

use std::collections::BTreeMap;

use prophecy_core::Timestamp;

/// Bytes of one segment that may have to wait.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// When the segment passed.
    pub(super) at: Timestamp,
    /// How far the sender had received the other direction.
    pub(super) heard: Option<u64>,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// Its bytes follow those before.
    InOrder,
    /// It waits for bytes before it.
    Early,
    /// There was nothing new in it.
    Old,
}

/// One direction of a connection. Positions count bytes and do not wrap around.
#[derive(Debug, Default)]
pub(super) struct Direction {
    /// The position behind the bytes that were delivered; `None` until a segment was seen.
    pub(super) next: Option<u64>,
    /// Where it started.
    first: Option<u64>,
    pending: BTreeMap<u64, Chunk>,
    pub(super) pending_bytes: usize,
    /// The position of the FIN.
    pub(super) fin: Option<u64>,
    pub(super) ended: bool,
    /// How far the other end says that it has received.
    pub(super) acknowledged: u64,
    /// Whether the capture has it from the SYN.
    pub(super) from_start: bool,
}

// === impl Direction ===

impl Direction {
    /// Starts at a sequence number, if it has not started.
    pub(super) fn start(&mut self, sequence: u32) {
        // The first position leaves room below, for segments that are older.
        let first = *self.first.get_or_insert(u64::from(sequence) + (1 << 32));
        self.next.get_or_insert(first);
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.first
    }

    /// Returns the position of a sequence number, which wraps around every 4 GiB.
    pub(super) fn position(&self, sequence: u32) -> Option<u64> {
        let next = self.next?;
        let distance = i64::from(sequence.wrapping_sub(next as u32) as i32);
        Some(next.saturating_add_signed(distance))
    }

    /// Returns what of a segment is new at the front, if nothing waits: the usual case, in which
    /// no byte has to be copied.
    pub(super) fn fresh<'a>(&self, start: u64, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let known = self.next?.checked_sub(start)?;
        if !self.pending.is_empty() {
            return None;
        }
        bytes.get(known as usize..).filter(|rest| !rest.is_empty())
    }

    /// Keeps the new bytes of a segment until their turn.
    pub(super) fn place(&mut self, start: u64, chunk: &Chunk) -> Placed {
        let Some(next) = self.next else {
            return Placed::Old;
        };
        let end = start + chunk.bytes.len() as u64;
        let mut from = start.max(next);
        let mut is_new = false;
        while from < end {
            // What was seen first stays: skip a chunk that covers `from`, stop before the next.
            let before = self.pending.range(..=from).next_back();
            if let Some((at, held)) = before {
                let held_end = at + held.bytes.len() as u64;
                if held_end > from {
                    from = held_end;
                    continue;
                }
            }
            let until = self.pending.range(from..).next().map_or(end, |(at, _)| end.min(*at));
            let bytes = chunk.bytes[(from - start) as usize..(until - start) as usize].to_vec();
            self.pending_bytes += bytes.len();
            self.pending.insert(from, Chunk { bytes, at: chunk.at, heard: chunk.heard });
            is_new = true;
            from = until;
        }
        match is_new {
            false => Placed::Old,
            true if start > next => Placed::Early,
            true => Placed::InOrder,
        }
    }

    /// Returns the position of the first chunk that waits, and the chunk.
    pub(super) fn front(&self) -> Option<(u64, &Chunk)> {
        self.pending.first_key_value().map(|(start, chunk)| (*start, chunk))
    }

    /// Takes the first chunk, which must be next.
    pub(super) fn take(&mut self) -> Option<Chunk> {
        let (start, chunk) = self.pending.pop_first()?;
        self.pending_bytes -= chunk.bytes.len();
        self.next = Some(start + chunk.bytes.len() as u64);
        Some(chunk)
    }

    pub(super) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Notes how far the other end says that it has received.
    pub(super) fn acknowledge(&mut self, position: u64) {
        // No window is that wide: the number is damaged, or of a connection that is gone.
        let is_plausible = self.next.is_some_and(|next| position < next + (1 << 30));
        if is_plausible {
            self.acknowledged = self.acknowledged.max(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sequence: u32, segments: &[(u32, &str)]) -> (String, Vec<Placed>) {
        let mut direction = Direction::default();
        direction.start(sequence);
        let mut placed = Vec::new();
        let mut text = String::new();
        for (offset, bytes) in segments {
            let start = direction.position(sequence.wrapping_add(*offset)).unwrap();
            let bytes = bytes.as_bytes().to_vec();
            placed.push(direction.place(start, &Chunk { bytes, at: Timestamp(0), heard: None }));
            while direction.front().is_some_and(|(start, _)| Some(start) == direction.next) {
                text.push_str(std::str::from_utf8(&direction.take().unwrap().bytes).unwrap());
            }
        }
        assert_eq!(direction.pending_bytes, 0);
        (text, placed)
    }

    #[test]
    fn puts_segments_in_order_and_keeps_what_was_seen_first() {
        use Placed::{Early, InOrder, Old};
        let check = |segments: &[(u32, &str)], expected: &str, placed: &[Placed]| {
            // The second start wraps around within the text.
            for sequence in [7, u32::MAX - 2] {
                let found = read(sequence, segments);
                assert_eq!(found, (expected.to_owned(), placed.to_vec()), "{segments:?}");
            }
        };
        check(&[(0, "abc"), (3, "def")], "abcdef", &[InOrder, InOrder]);
        check(&[(3, "def"), (0, "abc")], "abcdef", &[Early, InOrder]);
        check(&[(0, "abc"), (0, "xyz"), (3, "d")], "abcd", &[InOrder, Old, InOrder]);
        check(&[(0, "abc"), (1, "xyd")], "abcd", &[InOrder, InOrder]);
        check(&[(2, "cd"), (0, "xxxxxx")], "xxcdxx", &[Early, InOrder]);
        check(
            &[(2, "c"), (4, "e"), (1, "XXXX"), (0, "a")],
            "aXcXe",
            &[Early, Early, Early, InOrder],
        );
        check(&[(0, "ab"), (1, "b")], "ab", &[InOrder, Old]);
    }
}
