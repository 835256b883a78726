//! Pairs the messages of one connection into exchanges.

use std::collections::VecDeque;
use std::net::SocketAddr;

use prophecy_core::exchange::trace_id_of;
use prophecy_core::route::route_of;
use prophecy_core::{Completeness, Exchange, Timestamp};

use super::lane::{Found, Lane, Mark};
use super::{Captured, Context};
use crate::protocol::http1::framing::Framing;
use crate::protocol::http1::head::{Head, Side, Start, Target};

/// How many exchanges of a connection may be open; beyond, the oldest is recorded as it is.
const OPEN_LIMIT: usize = 4_096;

/// Where a connection is in the network and in the dataset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) connection_id: u64,
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// The messages of one connection.
///
/// Responses belong to requests in their order (RFC 9112, section 9.3.2). Where bytes are missing,
/// the acknowledgments tell which request a response cannot belong to.
#[derive(Debug)]
pub(super) struct Dialog {
    requests: Lane,
    responses: Lane,
    open: VecDeque<Open>,
    /// The position behind the last bytes of the server that are missing.
    response_gap: Option<u64>,
    /// Whether a message was found at all.
    pub(super) is_http: bool,
}

#[derive(Debug)]
struct Open {
    exchange: Exchange,
    request: Mark,
    request_ended: bool,
    response_ended: bool,
    /// What kept it from being complete.
    flaw: Option<Completeness>,
}

// === impl Dialog ===

impl Dialog {
    /// Starts reading; `is_lost` says that the start of the connection was not captured.
    pub(super) fn new(is_lost: bool) -> Self {
        Self {
            requests: Lane::new(Side::Request, is_lost),
            responses: Lane::new(Side::Response, is_lost),
            open: VecDeque::new(),
            response_gap: None,
            is_http: false,
        }
    }

    /// Notes bytes of a segment, in order.
    pub(super) fn bytes(
        &mut self,
        side: Side,
        segment: &[u8],
        at: Timestamp,
        mark: Mark,
        (place, context): (&Place, &mut Context<'_>),
    ) {
        self.lane(side).begin(segment);
        let mut input = segment;
        while let Some(found) = self.lane(side).read(&mut input, segment, at, mark) {
            match (found, side) {
                (Found::Head(head), Side::Request) => self.request_head(*head, place, context),
                (Found::Head(head), Side::Response) => self.response_head(*head, place, context),
                (Found::Body(piece), _) => self.body(side, piece, context.options.body_limit),
                (Found::End, _) => self.ended(side, context),
                (Found::Lost, _) => {
                    context.odd("bytes between messages");
                    self.lost(side, Completeness::Truncated, context);
                }
            }
        }
    }

    /// Notes that bytes are missing, up to a position.
    pub(super) fn gap(&mut self, side: Side, bytes: u64, until: u64, context: &mut Context<'_>) {
        let follows = self.lane(side).skip(bytes);
        if side == Side::Response {
            self.response_gap = Some(until);
        }
        if !follows {
            self.lost(side, Completeness::Gap, context);
            return;
        }
        let current = match side {
            Side::Request => self.open.back_mut().filter(|open| !open.request_ended),
            Side::Response => self
                .open
                .iter_mut()
                .find(|open| !open.response_ended && open.exchange.status.is_some()),
        };
        if let Some(open) = current {
            open.flaw = Some(Completeness::Gap);
            match side {
                Side::Request => open.exchange.request_bytes += bytes,
                Side::Response => open.exchange.response_bytes += bytes,
            }
        }
    }

    /// Notes that a side closed in an orderly way, which may be how its message ends.
    pub(super) fn closed(&mut self, side: Side, context: &mut Context<'_>) {
        if side == Side::Response && self.responses.stream.ends_with_connection() {
            self.responses.stream.frame(Framing::Empty);
            self.ended(side, context);
        }
    }

    /// Records what is still open as far as it came.
    pub(super) fn finish(&mut self, context: &mut Context<'_>) {
        self.requests.tunnel();
        self.responses.tunnel();
        context.counts.segments.unparsed_bytes +=
            self.requests.opaque_bytes + self.responses.opaque_bytes;
        while let Some(mut open) = self.open.pop_front() {
            if open.exchange.status.is_some() && !(open.request_ended && open.response_ended) {
                open.flaw.get_or_insert(Completeness::Truncated);
            }
            open.record(context);
        }
    }

    fn lane(&mut self, side: Side) -> &mut Lane {
        match side {
            Side::Request => &mut self.requests,
            Side::Response => &mut self.responses,
        }
    }

    fn request_head(&mut self, head: Head, place: &Place, context: &mut Context<'_>) {
        self.requests.stream.frame(head.request_framing());
        let Start::Request { method, target } = &head.start else {
            return;
        };
        self.is_http = true;
        self.close_unanswered(context);
        let target = Target::parse(method, target);
        let mut exchange = blank(&head, place, context, self.requests.started_at);
        exchange.route = route_of(method, &target.path);
        exchange.method.clone_from(method);
        exchange.authority =
            head.header("host").map(str::to_owned).or(target.authority).unwrap_or_default();
        exchange.path = target.path;
        exchange.query = target.query;
        exchange.trace_id = head.header("traceparent").and_then(trace_id_of);
        exchange.request_ended_at = self.requests.last_at;
        exchange.request_headers = head.headers;
        if self.open.len() >= OPEN_LIMIT
            && let Some(open) = self.open.pop_front()
        {
            context.odd("too many requests without a response");
            open.record(context);
        }
        let request = self.requests.started;
        self.open.push_back(Open::new(exchange, request));
    }

    /// Closes requests whose response was lost: the client had received it before it went on.
    fn close_unanswered(&mut self, context: &mut Context<'_>) {
        let heard = self.requests.started.heard;
        if self.response_gap.is_some_and(|gap| heard.is_some_and(|heard| heard >= gap)) {
            for open in self.open.iter_mut().filter(|open| !open.response_ended) {
                open.flaw = Some(Completeness::Gap);
                (open.request_ended, open.response_ended) = (true, true);
            }
            self.response_gap = None;
            self.record_ended(context);
        }
    }

    fn response_head(&mut self, head: Head, place: &Place, context: &mut Context<'_>) {
        let Start::Response { status } = head.start else {
            return;
        };
        self.is_http = true;
        // What the server had not received when it answered it cannot have answered.
        let heard = self.responses.started.heard;
        let answers = |open: &Open| heard.is_none_or(|heard| heard > open.request.position);
        let candidate = self.open.iter().find(|open| !open.response_ended);
        let is_answer = candidate.is_some_and(answers);
        let method = candidate.filter(|_| is_answer).map_or("", |open| &open.exchange.method);
        let framing = head.response_framing(method, status);
        self.responses.stream.frame(framing);
        if (100..200).contains(&status) && status != 101 {
            context.counts.interim_responses += 1;
            return;
        }
        if !is_answer {
            let mut exchange = blank(&head, place, context, self.responses.started_at);
            exchange.completeness = Completeness::ResponseOnly;
            let mut open = Open::new(exchange, Mark::default());
            open.request_ended = true;
            self.open.push_front(open);
        }
        let started_at = self.responses.started_at;
        let open = self.answered().expect("one was pushed if there was none");
        open.exchange.status = Some(status);
        open.exchange.response_headers = head.headers;
        open.exchange.response_started_at = started_at;
        if framing == Framing::Tunnel {
            self.ended(Side::Response, context);
            self.requests.tunnel();
            self.responses.tunnel();
            context.odd("connection handed to another protocol");
        }
    }

    fn body(&mut self, side: Side, piece: &[u8], limit: usize) {
        let open = match side {
            Side::Request => self.open.back_mut().filter(|open| !open.request_ended),
            Side::Response => self.answered().filter(|open| open.exchange.status.is_some()),
        };
        if let Some(open) = open {
            open.keep(side, piece, limit);
        }
    }

    fn ended(&mut self, side: Side, context: &mut Context<'_>) {
        let at = self.lane(side).last_at;
        match side {
            Side::Request => {
                if let Some(open) = self.open.back_mut().filter(|open| !open.request_ended) {
                    open.exchange.request_ended_at = at;
                    open.request_ended = true;
                }
            }
            Side::Response => {
                // The end of an interim response ends nothing.
                if let Some(open) = self.answered().filter(|open| open.exchange.status.is_some()) {
                    open.exchange.response_ended_at = Some(at);
                    open.response_ended = true;
                }
            }
        }
        self.record_ended(context);
    }

    /// Ends the message being read at a place where its end cannot be known.
    fn lost(&mut self, side: Side, flaw: Completeness, context: &mut Context<'_>) {
        let at = self.lane(side).last_at;
        let open = match side {
            Side::Request => self.open.back_mut().filter(|open| !open.request_ended),
            Side::Response => self.answered().filter(|open| open.exchange.status.is_some()),
        };
        let Some(open) = open else {
            return;
        };
        open.flaw = Some(flaw);
        match side {
            Side::Request => {
                open.exchange.request_ended_at = at;
                open.request_ended = true;
            }
            Side::Response => {
                open.exchange.response_ended_at = (flaw == Completeness::Gap).then_some(at);
                open.response_ended = true;
            }
        }
        self.record_ended(context);
    }

    /// Returns the exchange that bytes of a response belong to.
    fn answered(&mut self) -> Option<&mut Open> {
        self.open.iter_mut().find(|open| !open.response_ended)
    }

    fn record_ended(&mut self, context: &mut Context<'_>) {
        while let Some(open) =
            self.open.pop_front_if(|open| open.request_ended && open.response_ended)
        {
            open.record(context);
        }
    }
}

// === impl Open ===

impl Open {
    fn new(exchange: Exchange, request: Mark) -> Self {
        Self { exchange, request, request_ended: false, response_ended: false, flaw: None }
    }

    /// Counts a piece of a body, and copies it up to the limit.
    fn keep(&mut self, side: Side, piece: &[u8], limit: usize) {
        let exchange = &mut self.exchange;
        let (body, count) = match side {
            Side::Request => (&mut exchange.request_body, &mut exchange.request_bytes),
            Side::Response => (&mut exchange.response_body, &mut exchange.response_bytes),
        };
        let held = body.as_ref().map_or(0, Vec::len);
        // What follows a hole is not the continuation of what is before it.
        let is_whole = held as u64 == *count;
        *count += piece.len() as u64;
        let room = limit.saturating_sub(held).min(piece.len());
        if room > 0 && is_whole {
            body.get_or_insert_default().extend_from_slice(&piece[..room]);
        }
    }

    fn record(self, context: &mut Context<'_>) {
        let mut exchange = self.exchange;
        if exchange.completeness != Completeness::ResponseOnly {
            exchange.completeness = match (self.flaw, exchange.status) {
                (Some(flaw), Some(_)) => flaw,
                (Some(Completeness::Gap), None) => Completeness::Gap,
                (_, None) => Completeness::RequestOnly,
                (None, Some(_)) => Completeness::Complete,
            };
        }
        (context.sink)(Captured::Exchange(exchange));
    }
}

/// Returns an exchange of which nothing but its place is known.
fn blank(
    head: &Head,
    place: &Place,
    context: &mut Context<'_>,
    started_at: Option<Timestamp>,
) -> Exchange {
    let at = started_at.unwrap_or_default();
    Exchange {
        exchange_id: context.ids.next_exchange(),
        session_id: place.connection_id,
        connection_id: place.connection_id,
        trace_id: None,
        source: context.options.services.source(place.client),
        destination: context.options.services.destination(place.server),
        client: place.client,
        server: place.server,
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
