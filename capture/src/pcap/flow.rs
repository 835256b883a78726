//! One TCP connection, from its packets to the bytes that each end had received.

mod waiting;

use std::net::SocketAddr;

use prophecy_core::{Connection, Timestamp};

use self::waiting::Patience;
use super::dialog::{Dialog, Place};
use super::direction::{Chunk, Direction, Placed};
use super::lane::{Mark, looks_like_head};
use super::{Captured, Context};
use crate::protocol::http1::head::Side;
use crate::wire::Segment;

/// One connection. Its two ends are numbered in the order in which they were first seen.
#[derive(Debug)]
pub(super) struct Flow {
    ends: [SocketAddr; 2],
    directions: [Direction; 2],
    /// Which end is the client.
    client: usize,
    connection: Connection,
    dialog: Dialog,
    /// When something began to wait, and how many packets came since.
    stuck: Option<(Timestamp, u64)>,
    syn_at: Option<Timestamp>,
    syn_acknowledged: bool,
    is_closed: bool,
    pub(super) last_at: Timestamp,
}

// === impl Flow ===

impl Flow {
    /// Starts a connection at its first segment.
    pub(super) fn new(segment: &Segment<'_>, at: Timestamp, context: &mut Context<'_>) -> Self {
        let ends = [segment.source, segment.destination];
        let client = match (segment.is_syn(), segment.acknowledgment) {
            (true, None) => 0,
            (true, Some(_)) => 1,
            _ if looks_like_head(Side::Request, segment.payload) => 0,
            _ if looks_like_head(Side::Response, segment.payload) => 1,
            // Services listen below the ports that clients are given.
            _ => usize::from(segment.source.port() < segment.destination.port()),
        };
        if !segment.is_syn() {
            context.odd("connection without its start");
        }
        let connection = Connection {
            connection_id: context.ids.next_connection(),
            client: ends[client],
            server: ends[1 - client],
            opened_at: at,
            closed_at: None,
            handshake_rtt_ns: None,
            retransmitted_segments: 0,
            out_of_order_segments: 0,
            lost_bytes: 0,
            client_bytes: 0,
            server_bytes: 0,
        };
        Self {
            ends,
            directions: [Direction::default(), Direction::default()],
            client,
            connection,
            dialog: Dialog::new(!segment.is_syn()),
            stuck: None,
            syn_at: None,
            syn_acknowledged: false,
            is_closed: false,
            last_at: at,
        }
    }

    /// Says whether a SYN belongs to a later connection between the same ports.
    pub(super) fn is_reused_by(&self, segment: &Segment<'_>) -> bool {
        let direction = &self.directions[self.end_of(segment)];
        let Some(position) = direction.position(segment.sequence.wrapping_add(1)) else {
            return false;
        };
        let is_known = direction.from_start && direction.next.is_some_and(|next| position <= next);
        // A SYN that was sent again is older than everything, but not by much.
        let is_again = is_known && direction.first() == Some(position);
        segment.is_syn() && !is_again && (segment.acknowledgment.is_none() || self.is_closed)
    }

    /// Says whether both ends are done with it, at the first call that can say so.
    pub(super) fn just_closed(&mut self) -> bool {
        let is_done = self.connection.closed_at.is_some();
        is_done && !std::mem::replace(&mut self.is_closed, true)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Takes the next segment.
    pub(super) fn segment(
        &mut self,
        segment: &Segment<'_>,
        at: Timestamp,
        context: &mut Context<'_>,
    ) {
        let end = self.end_of(segment);
        self.last_at = self.last_at.max(at);
        let sequence = segment.sequence.wrapping_add(u32::from(segment.is_syn()));
        self.note_handshake(end, segment, at);
        if segment.is_syn() {
            self.directions[end].from_start |= self.directions[end].next.is_none();
        }
        if !segment.is_rst() {
            self.directions[end].start(sequence);
        }
        let heard = segment.acknowledgment.and_then(|number| {
            let other = &mut self.directions[1 - end];
            if segment.is_syn() {
                // The other end's SYN may have been missed.
                other.start(number);
            }
            let position = other.position(number)?;
            other.acknowledge(position);
            Some(position)
        });
        let start = self.directions[end].position(sequence);
        if let Some(start) = start
            && !(segment.payload.is_empty() || segment.is_rst())
        {
            self.payload(end, start, segment.payload, (at, heard), context);
        }
        if let Some(start) = start.filter(|_| segment.is_fin()) {
            let fin = start + segment.payload.len() as u64 + u64::from(segment.cut);
            self.directions[end].fin.get_or_insert(fin);
        }
        self.pump(at, Patience::Waits, context);
        let both_ended = self.directions.iter().all(|direction| direction.ended);
        if segment.is_rst() || both_ended {
            self.connection.closed_at.get_or_insert(at);
        }
    }

    /// Gives up on what is missing and hands over what is left.
    pub(super) fn finish(mut self, context: &mut Context<'_>) {
        self.pump(self.last_at, Patience::None, context);
        for end in 0..2 {
            let direction = &self.directions[end];
            let Some(next) = direction.next else { continue };
            let known_end = direction.fin.unwrap_or(0);
            // An acknowledged FIN that was not seen counts as one byte; it is not a loss.
            let acknowledged = direction.acknowledged.saturating_sub(1);
            let until = if direction.ended { next } else { known_end.max(acknowledged) };
            if until > next {
                self.gap(end, until, context);
            }
            self.end_if_due(end, context);
        }
        self.dialog.finish(context);
        (context.sink)(Captured::Connection(self.connection));
    }

    fn end_of(&self, segment: &Segment<'_>) -> usize {
        usize::from(segment.source != self.ends[0])
    }

    fn side(&self, end: usize) -> Side {
        if end == self.client { Side::Request } else { Side::Response }
    }

    fn note_handshake(&mut self, end: usize, segment: &Segment<'_>, at: Timestamp) {
        match (segment.is_syn(), segment.acknowledgment.is_some()) {
            (true, false) => self.syn_at = self.syn_at.or(Some(at)),
            (true, true) => self.syn_acknowledged = true,
            (false, true) if end == self.client && self.syn_acknowledged => {
                if let Some(syn_at) = self.syn_at.take() {
                    self.connection.handshake_rtt_ns = Some(at.nanos_since(syn_at));
                }
            }
            _ => {}
        }
    }

    fn payload(
        &mut self,
        end: usize,
        start: u64,
        payload: &[u8],
        (at, heard): (Timestamp, Option<u64>),
        context: &mut Context<'_>,
    ) {
        context.counts.segments.with_payload += 1;
        self.turn_around_if_needed(end, payload);
        if self.may_hear(end, heard)
            && let Some(fresh) = self.directions[end].fresh(start, payload)
        {
            let position = start + (payload.len() - fresh.len()) as u64;
            self.directions[end].next = Some(start + payload.len() as u64);
            self.deliver(end, fresh, at, Mark { position, heard }, context);
            return;
        }
        let chunk = Chunk { bytes: payload.to_vec(), at, heard };
        match self.directions[end].place(start, &chunk) {
            Placed::InOrder => {}
            Placed::Early => {
                context.counts.segments.out_of_order += 1;
                self.connection.out_of_order_segments += 1;
            }
            Placed::Old => {
                context.counts.segments.retransmitted += 1;
                self.connection.retransmitted_segments += 1;
            }
        }
    }

    /// Swaps the ends if the first message shows that they were guessed wrong.
    fn turn_around_if_needed(&mut self, end: usize, payload: &[u8]) {
        let was_guessed = self.directions.iter().all(|direction| !direction.from_start);
        let other = match self.side(end) {
            Side::Request => Side::Response,
            Side::Response => Side::Request,
        };
        if was_guessed && !self.dialog.is_http && looks_like_head(other, payload) {
            self.client = 1 - self.client;
            let Connection { client, server, client_bytes, server_bytes, .. } =
                &mut self.connection;
            std::mem::swap(client, server);
            std::mem::swap(client_bytes, server_bytes);
        }
    }

    fn deliver(
        &mut self,
        end: usize,
        bytes: &[u8],
        at: Timestamp,
        mark: Mark,
        context: &mut Context<'_>,
    ) {
        let side = self.side(end);
        match side {
            Side::Request => self.connection.client_bytes += bytes.len() as u64,
            Side::Response => self.connection.server_bytes += bytes.len() as u64,
        }
        let place = self.place();
        self.dialog.bytes(side, bytes, at, mark, (&place, context));
    }

    fn gap(&mut self, end: usize, until: u64, context: &mut Context<'_>) {
        let next = self.directions[end].next.unwrap_or(until);
        let bytes = until.saturating_sub(next);
        self.directions[end].next = Some(until);
        context.counts.segments.gaps += 1;
        context.counts.segments.lost_bytes += bytes;
        self.connection.lost_bytes += bytes;
        let side = self.side(end);
        self.dialog.gap(side, bytes, until, context);
    }

    /// Ends a direction if its FIN is next; the FIN takes a position of its own.
    fn end_if_due(&mut self, end: usize, context: &mut Context<'_>) -> bool {
        let direction = &mut self.directions[end];
        let (Some(fin), Some(next)) = (direction.fin, direction.next) else {
            return false;
        };
        if direction.ended || next < fin {
            return false;
        }
        direction.ended = true;
        direction.next = Some(next.max(fin + 1));
        let side = self.side(end);
        self.dialog.closed(side, context);
        true
    }

    fn place(&self) -> Place {
        let Connection { connection_id, client, server, .. } = self.connection;
        Place { connection_id, client, server }
    }
}
