//! Reads along on one connection and makes exchanges of what passes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use prophecy_core::exchange::trace_id_of;
use prophecy_core::route::route_of;
use prophecy_core::{Completeness, Connection, Exchange, Timestamp};

use super::Edge;
use crate::protocol::http1::framing::{Event, Framing, Stream};
use crate::protocol::http1::head::{Head, Side, Start, Target};
use crate::recorder::Recorder;

/// One connection, as its bytes pass.
///
/// Responses belong to requests in their order (RFC 9112, section 9.3.2). An exchange is given to
/// the recorder when both of its messages have ended.
#[derive(Debug)]
pub(super) struct Conversation {
    edge: Arc<Edge>,
    connection: Connection,
    requests: Stream,
    responses: Stream,
    /// Exchanges that began and did not end, in order.
    open: VecDeque<Open>,
    /// When the first byte of the message being read passed.
    request_started_at: Option<Timestamp>,
    response_started_at: Option<Timestamp>,
    /// Bytes that belong to no message.
    opaque_bytes: u64,
    /// Set when bytes of a response could not be handed to the client.
    undelivered: bool,
}

#[derive(Debug)]
struct Open {
    exchange: Exchange,
    request_ended: bool,
    response_ended: bool,
}

// === impl Conversation ===

impl Conversation {
    pub(super) fn new(
        edge: Arc<Edge>,
        [client, server]: [SocketAddr; 2],
        opened_at: Timestamp,
    ) -> Self {
        let connection = Connection {
            connection_id: edge.recorder.next_connection_id(),
            client,
            server,
            opened_at,
            closed_at: None,
            handshake_rtt_ns: None,
            retransmitted_segments: 0,
            out_of_order_segments: 0,
            lost_bytes: 0,
            client_bytes: 0,
            server_bytes: 0,
        };
        Self {
            edge,
            connection,
            requests: Stream::new(Side::Request),
            responses: Stream::new(Side::Response),
            open: VecDeque::new(),
            request_started_at: None,
            response_started_at: None,
            opaque_bytes: 0,
            undelivered: false,
        }
    }

    /// Says whether nothing is under way, in either direction.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.requests.is_idle() && self.responses.is_idle()
    }

    /// Returns the method of the oldest request that waits for its response.
    pub(super) fn awaited_method(&self) -> Option<&str> {
        let awaited = self.open.iter().find(|open| open.exchange.status.is_none())?;
        Some(&awaited.exchange.method)
    }

    /// Says whether what the client sends is not HTTP/1.
    pub(super) fn is_opaque(&self) -> bool {
        self.requests.is_tunnel()
    }

    /// Notes bytes from the client, read at `at`.
    pub(super) fn client_bytes(&mut self, mut bytes: &[u8], at: Timestamp) {
        self.connection.client_bytes += bytes.len() as u64;
        let mut began_idle = self.requests.is_idle();
        while let Some(event) = self.requests.read(&mut bytes) {
            if began_idle {
                self.request_started_at = Some(at);
            }
            match event {
                Event::Head(head) => self.request_head(*head, at),
                Event::Body(piece) => self.request_body(piece),
                Event::End => self.request_ended(at),
                Event::Opaque(count) => self.opaque_bytes += count,
            }
            began_idle = self.requests.is_idle();
        }
        if began_idle && !self.requests.is_idle() {
            self.request_started_at = Some(at);
        }
    }

    /// Notes bytes from the upstream, read at `read_at` and handed to the client by `written_at`.
    pub(super) fn server_bytes(
        &mut self,
        mut bytes: &[u8],
        read_at: Timestamp,
        written_at: Timestamp,
    ) {
        self.connection.server_bytes += bytes.len() as u64;
        let mut began_idle = self.responses.is_idle();
        while let Some(event) = self.responses.read(&mut bytes) {
            if began_idle {
                self.response_started_at = Some(read_at);
            }
            match event {
                Event::Head(head) => self.response_head(*head, read_at),
                Event::Body(piece) => self.response_body(piece),
                Event::End => self.response_ended(written_at),
                Event::Opaque(count) => self.opaque_bytes += count,
            }
            began_idle = self.responses.is_idle();
        }
        if began_idle && !self.responses.is_idle() {
            self.response_started_at = Some(read_at);
        }
    }

    /// Notes bytes from the upstream that the client was no longer there to take.
    pub(super) fn undelivered_bytes(&mut self, bytes: &[u8], read_at: Timestamp) {
        self.undelivered = true;
        self.server_bytes(bytes, read_at, read_at);
    }

    /// Notes that the upstream closed in an orderly way, which may be how its response ends.
    pub(super) fn server_closed(&mut self, at: Timestamp) {
        if self.responses.ends_with_connection() {
            self.responses.frame(Framing::Empty);
            self.server_bytes(&[], at, at);
        }
    }

    /// Records what is still open as far as it came, and the connection.
    pub(super) fn end(mut self, at: Timestamp) {
        self.opaque_bytes += self.requests.tunnel() + self.responses.tunnel();
        self.edge.recorder.unparsed(self.opaque_bytes);
        while let Some(mut open) = self.open.pop_front() {
            open.exchange.completeness = match open.exchange.status {
                None => Completeness::RequestOnly,
                // A response that nobody asked for stays one.
                Some(_) if open.exchange.method.is_empty() => Completeness::ResponseOnly,
                Some(_) => Completeness::Truncated,
            };
            open.record(&self.edge.recorder);
        }
        self.connection.closed_at = Some(at);
        self.edge.recorder.connection(self.connection);
    }

    fn request_head(&mut self, head: Head, at: Timestamp) {
        let framing = head.request_framing();
        self.requests.frame(framing);
        let Start::Request { method, target } = &head.start else {
            return;
        };
        let target = Target::parse(method, target);
        let mut exchange = self.exchange(&head, at);
        exchange.route = route_of(method, &target.path);
        exchange.method.clone_from(method);
        exchange.path = target.path;
        exchange.query = target.query;
        exchange.authority =
            head.header("host").map(str::to_owned).or(target.authority).unwrap_or_default();
        exchange.trace_id = head.header("traceparent").and_then(trace_id_of);
        exchange.started_at = self.request_started_at.unwrap_or(at);
        exchange.request_ended_at = at;
        exchange.request_headers = head.headers;
        self.open.push_back(Open { exchange, request_ended: false, response_ended: false });
    }

    fn request_body(&mut self, piece: &[u8]) {
        if let Some(open) = self.open.back_mut().filter(|open| !open.request_ended) {
            open.keep(Side::Request, piece, &self.edge);
        }
    }

    fn request_ended(&mut self, at: Timestamp) {
        if let Some(open) = self.open.back_mut().filter(|open| !open.request_ended) {
            open.exchange.request_ended_at = at;
            open.request_ended = true;
        }
        self.record_ended();
    }

    fn response_head(&mut self, head: Head, at: Timestamp) {
        let Start::Response { status } = head.start else {
            return;
        };
        let method = self.answered().map_or("", |open| open.exchange.method.as_str());
        let framing = head.response_framing(method, status);
        self.responses.frame(framing);
        if (100..200).contains(&status) && status != 101 {
            // An interim response: the final one follows.
            return;
        }
        if self.answered().is_none() {
            // A server may speak first, for instance a 408 on an idle connection.
            let mut exchange = self.exchange(&head, at);
            exchange.completeness = Completeness::ResponseOnly;
            self.open.push_back(Open { exchange, request_ended: true, response_ended: false });
        }
        let started_at = self.response_started_at.unwrap_or(at);
        let open = self.answered().expect("one was pushed if there was none");
        open.exchange.status = Some(status);
        open.exchange.response_headers = head.headers;
        open.exchange.response_started_at = Some(started_at);
        if framing == Framing::Tunnel {
            self.opaque_bytes += self.requests.tunnel();
            self.response_ended(at);
        }
    }

    fn response_body(&mut self, piece: &[u8]) {
        if let Some(open) = self.open.iter_mut().find(|open| !open.response_ended) {
            open.keep(Side::Response, piece, &self.edge);
        }
    }

    fn response_ended(&mut self, at: Timestamp) {
        let undelivered = self.undelivered;
        // The end of an interim response ends nothing.
        if let Some(open) = self.answered().filter(|open| open.exchange.status.is_some())
            && !undelivered
        {
            open.exchange.response_ended_at = Some(at);
            open.response_ended = true;
        }
        self.record_ended();
    }

    /// Returns the exchange that bytes of a response belong to.
    fn answered(&mut self) -> Option<&mut Open> {
        self.open.iter_mut().find(|open| !open.response_ended)
    }

    fn record_ended(&mut self) {
        while self.open.front().is_some_and(|open| open.request_ended && open.response_ended) {
            let open = self.open.pop_front().expect("the front was just looked at");
            open.record(&self.edge.recorder);
        }
    }

    /// Returns an exchange of this connection of which nothing but the protocol is known.
    fn exchange(&self, head: &Head, at: Timestamp) -> Exchange {
        Exchange {
            exchange_id: self.edge.recorder.next_exchange_id(),
            session_id: self.connection.connection_id,
            connection_id: self.connection.connection_id,
            trace_id: None,
            source: self.edge.options.source.clone(),
            destination: self.edge.options.destination.clone(),
            client: self.connection.client,
            server: self.connection.server,
            protocol: head.protocol,
            method: String::new(),
            authority: String::new(),
            path: String::new(),
            query: None,
            route: String::new(),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            request_body: None,
            response_body: None,
            request_bytes: 0,
            response_bytes: 0,
            started_at: at,
            request_ended_at: at,
            response_started_at: None,
            response_ended_at: None,
            status: None,
            completeness: Completeness::Complete,
        }
    }
}

// === impl Open ===

impl Open {
    /// Counts a piece of a body, and copies it as far as the limits allow.
    fn keep(&mut self, side: Side, piece: &[u8], edge: &Edge) {
        let exchange = &mut self.exchange;
        let (body, count) = match side {
            Side::Request => (&mut exchange.request_body, &mut exchange.request_bytes),
            Side::Response => (&mut exchange.response_body, &mut exchange.response_bytes),
        };
        let held = body.as_ref().map_or(0, Vec::len);
        // A body that was cut once stays cut: what follows the cut is not its continuation.
        let is_whole = held as u64 == *count;
        *count += piece.len() as u64;
        let room = edge.options.body_limit.saturating_sub(held).min(piece.len());
        if room > 0 && is_whole && edge.recorder.reserve(room) {
            body.get_or_insert_default().extend_from_slice(&piece[..room]);
        }
    }

    /// Hands the exchange to the recorder, which has limits of its own.
    fn record(self, recorder: &Recorder) {
        let bodies = [&self.exchange.request_body, &self.exchange.response_body];
        recorder.release(bodies.into_iter().flatten().map(Vec::len).sum());
        recorder.exchange(self.exchange);
    }
}
