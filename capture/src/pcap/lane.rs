//! The messages of one direction, found again after bytes that make no sense or are missing.

use prophecy_core::Timestamp;

use crate::protocol::http1::framing::{Event, Stream};
use crate::protocol::http1::head::{Head, KNOWN_METHODS, Side};

/// One direction of a conversation.
#[derive(Debug)]
pub(super) struct Lane {
    side: Side,
    pub(super) stream: Stream,
    /// Set while no message is being read: the next segment that looks like a head starts one.
    pub(super) is_lost: bool,
    /// Set once the connection is another protocol's for good.
    pub(super) is_tunnel: bool,
    /// When the first byte of the message being read passed.
    pub(super) started_at: Option<Timestamp>,
    /// The position of that byte, and how far its sender had received the other direction.
    pub(super) started: Mark,
    /// The latest time of a byte of the message.
    pub(super) last_at: Timestamp,
    /// Bytes that belong to no message.
    pub(super) opaque_bytes: u64,
}

/// Where a segment is in both directions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    pub(super) position: u64,
    pub(super) heard: Option<u64>,
}

/// What a lane found, for the conversation to act on.
#[derive(Debug)]
pub(super) enum Found<'a> {
    Head(Box<Head>),
    Body(&'a [u8]),
    End,
    /// The message being read, if there was one, has no end that could be found.
    Lost,
}

// === impl Lane ===

impl Lane {
    pub(super) fn new(side: Side, is_lost: bool) -> Self {
        Self {
            side,
            stream: Stream::new(side),
            is_lost,
            is_tunnel: false,
            started_at: None,
            started: Mark::default(),
            last_at: Timestamp::default(),
            opaque_bytes: 0,
        }
    }

    /// Prepares for the bytes of a segment.
    pub(super) fn begin(&mut self, bytes: &[u8]) {
        if self.is_lost && !self.is_tunnel && looks_like_head(self.side, bytes) {
            self.stream = Stream::new(self.side);
            self.is_lost = false;
        }
    }

    /// Takes the next finding from the front of a segment's bytes; `segment` is all of them.
    pub(super) fn read<'a>(
        &mut self,
        input: &mut &'a [u8],
        segment: &'a [u8],
        at: Timestamp,
        mark: Mark,
    ) -> Option<Found<'a>> {
        if self.is_lost || self.is_tunnel {
            self.opaque_bytes += input.len() as u64;
            *input = &[];
            return None;
        }
        if self.stream.is_idle() {
            let consumed = (segment.len() - input.len()) as u64;
            self.started = Mark { position: mark.position + consumed, ..mark };
            self.started_at = Some(at);
            self.last_at = at;
        }
        self.last_at = self.last_at.max(at);
        match self.stream.read(input)? {
            Event::Head(head) => Some(Found::Head(head)),
            Event::Body(piece) => Some(Found::Body(piece)),
            Event::End => Some(Found::End),
            Event::Opaque(count) => {
                self.opaque_bytes += count;
                self.is_lost = true;
                // Junk that looked like the start of a head must not take the next head with it.
                let held = count.saturating_sub(segment.len() as u64);
                if held > 0 && input.is_empty() && looks_like_head(self.side, segment) {
                    self.opaque_bytes -= segment.len() as u64;
                    *input = segment;
                    self.begin(segment);
                }
                Some(Found::Lost)
            }
        }
    }

    /// Passes over bytes that are missing; says whether the message can still be followed.
    pub(super) fn skip(&mut self, bytes: u64) -> bool {
        if self.is_lost || self.is_tunnel || self.stream.skip(bytes) {
            return true;
        }
        self.opaque_bytes += self.stream.tunnel();
        self.is_lost = true;
        false
    }

    /// Gives up on messages for good.
    pub(super) fn tunnel(&mut self) {
        self.opaque_bytes += self.stream.tunnel();
        self.is_tunnel = true;
    }
}

/// Says whether a segment may be the start of a message.
pub(super) fn looks_like_head(side: Side, bytes: &[u8]) -> bool {
    match side {
        Side::Response => bytes.starts_with(b"HTTP/1."),
        Side::Request => {
            let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let method = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            let is_method = (1..=32).contains(&method.len())
                && method.len() < line.len()
                && method.iter().all(|byte| byte.is_ascii_uppercase() || b"-_".contains(byte));
            let is_whole = line.len() < bytes.len();
            is_method
                && if is_whole {
                    line.windows(8).any(|window| window == b" HTTP/1.")
                } else {
                    KNOWN_METHODS.iter().any(|known| known.as_bytes() == method)
                }
        }
    }
}
