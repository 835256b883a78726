//! Where one side's HTTP/1 messages begin and end.
//!
//! A [`Stream`] is fed the bytes of one direction in pieces as they come, and cut anywhere. It
//! copies only heads that come in several pieces; bodies are handed on as slices.

use super::head::{Head, Parsed, Side, parse_head};

/// The longest head that is read; a longer one ends the reading, not the relaying.
const HEAD_LIMIT: usize = 64 << 10;

/// The longest line between chunks that is read.
const CHUNK_LINE_LIMIT: usize = 16 << 10;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    Empty,
    /// This many bytes.
    Length(u64),
    /// Chunks, and trailers after the last.
    Chunked,
    /// All until the sender closes.
    UntilClose,
    /// Not messages any more.
    Tunnel,
}

/// What a piece of a stream means.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A head ended. [`Stream::frame`] must say how its body ends before reading on.
    Head(Box<Head>),
    /// Bytes of the body, without the framing of chunks.
    Body(&'a [u8]),
    /// The message ended.
    End,
    /// This many bytes that are not part of a message.
    Opaque(u64),
}

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Stream {
    side: Side,
    state: State,
    /// The head, or the line between chunks, as far as it came.
    pending: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Head,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    Ended,
    Tunnel,
}

// === impl Stream ===

impl Stream {
    pub(crate) fn new(side: Side) -> Self {
        Self { side, state: State::Head, pending: Vec::new() }
    }

    /// Says whether the stream is between messages.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Head) && self.pending.is_empty()
    }

    /// Says whether the end of the connection ends the current body.
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::UntilClose)
    }

    /// Says whether what follows is opaque.
    pub(crate) fn is_tunnel(&self) -> bool {
        matches!(self.state, State::Tunnel)
    }

    /// Gives up on messages: all that follows is opaque. Returns how many bytes were held back.
    pub(crate) fn tunnel(&mut self) -> u64 {
        self.state = State::Tunnel;
        std::mem::take(&mut self.pending).len() as u64
    }

    /// Passes over bytes that were lost; says whether it is known where in a message this ends up.
    pub(crate) fn skip(&mut self, bytes: u64) -> bool {
        self.state = match self.state {
            State::Length(left) if left == bytes => State::Ended,
            State::Length(left) if left > bytes => State::Length(left - bytes),
            State::ChunkData(left) if left > bytes => State::ChunkData(left - bytes),
            State::UntilClose => State::UntilClose,
            State::Tunnel => State::Tunnel,
            _ => return false,
        };
        true
    }

    /// Says how the body after the head ends.
    pub(crate) fn frame(&mut self, framing: Framing) {
        self.state = match framing {
            Framing::Empty | Framing::Length(0) => State::Ended,
            Framing::Length(bytes) => State::Length(bytes),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
            Framing::Tunnel => State::Tunnel,
        };
    }

    /// Takes the next event from the front of `input`; `None` once all of it is used.
    pub(crate) fn read<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        loop {
            if matches!(self.state, State::Ended) {
                self.state = State::Head;
                return Some(Event::End);
            }
            if input.is_empty() {
                return None;
            }
            match self.state {
                State::Head => return self.read_head(input),
                State::Length(left) => {
                    let body = take(input, left);
                    let left = left - body.len() as u64;
                    self.state = if left == 0 { State::Ended } else { State::Length(left) };
                    return Some(Event::Body(body));
                }
                State::ChunkData(left) => {
                    let body = take(input, left);
                    let left = left - body.len() as u64;
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                    return Some(Event::Body(body));
                }
                State::UntilClose => return Some(Event::Body(std::mem::take(input))),
                State::Tunnel => return Some(Event::Opaque(std::mem::take(input).len() as u64)),
                State::ChunkSize | State::ChunkEnd | State::Trailers => {
                    if !self.read_line(input) {
                        if self.pending.len() > CHUNK_LINE_LIMIT {
                            return Some(Event::Opaque(self.tunnel()));
                        }
                        return None;
                    }
                    if !self.apply_line() {
                        return Some(Event::Opaque(self.tunnel()));
                    }
                }
                State::Ended => unreachable!("handled before the input is looked at"),
            }
        }
    }

    fn read_head<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        if self.pending.is_empty() {
            // Servers accept empty lines before a request line (RFC 9112, section 2.2).
            while let [b'\r' | b'\n', rest @ ..] = input {
                *input = rest;
            }
            if input.is_empty() {
                return None;
            }
            match parse_head(input, self.side) {
                Parsed::Head(head, length) => {
                    *input = &input[length..];
                    return Some(Event::Head(head));
                }
                Parsed::Partial if input.len() <= HEAD_LIMIT => {
                    self.pending.extend_from_slice(std::mem::take(input));
                    return None;
                }
                Parsed::Partial | Parsed::Foreign => {
                    self.tunnel();
                    return Some(Event::Opaque(std::mem::take(input).len() as u64));
                }
            }
        }
        let held = self.pending.len();
        self.pending.extend_from_slice(input);
        // A head that drips in is parsed when a line of it ends, not at every drop.
        let parsed = if input.contains(&b'\n') {
            parse_head(&self.pending, self.side)
        } else {
            Parsed::Partial
        };
        match parsed {
            Parsed::Head(head, length) => {
                *input = &input[length - held..];
                self.pending.clear();
                Some(Event::Head(head))
            }
            Parsed::Partial if self.pending.len() <= HEAD_LIMIT => {
                *input = &[];
                None
            }
            Parsed::Partial | Parsed::Foreign => {
                *input = &[];
                Some(Event::Opaque(self.tunnel()))
            }
        }
    }

    /// Moves bytes up to a line feed into `pending`; says whether the line is whole.
    fn read_line(&mut self, input: &mut &[u8]) -> bool {
        let end = input.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(input.len(), |index| index + 1);
        self.pending.extend_from_slice(take(input, length as u64));
        end.is_some()
    }

    /// Acts on a whole line between chunks; says whether it made sense.
    fn apply_line(&mut self) -> bool {
        let line = self.pending.trim_ascii();
        let next = match self.state {
            State::ChunkSize => match chunk_size(line) {
                Some(0) => State::Trailers,
                Some(bytes) => State::ChunkData(bytes),
                None => return false,
            },
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::Trailers if line.is_empty() => State::Ended,
            State::Trailers => State::Trailers,
            _ => return false,
        };
        self.pending.clear();
        self.state = next;
        true
    }
}

/// Returns the size that a chunk line gives, without its extensions (RFC 9112, section 7.1).
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    let digits = std::str::from_utf8(digits).ok()?;
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

/// Takes at most `most` bytes from the front of `input`.
fn take<'a>(input: &mut &'a [u8], most: u64) -> &'a [u8] {
    let length = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
    let (front, rest) = input.split_at(length);
    *input = rest;
    front
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::head::Start;
    use super::*;

    const REQUESTS: &[u8] = b"\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n\
        POST /b HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello\
        PUT /c HTTP/1.1\nTransfer-Encoding: chunked\n\n\
        3;a=b\r\nabc\r\n00a\r\n0123456789\r\n0\r\nSum: 1\r\n\r\n\
        GET /d HTTP/1.0\r\n\r\n";

    /// Reads `pieces` and writes down what they mean, bodies joined.
    fn transcript<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut stream = Stream::new(Side::Request);
        let mut text = String::new();
        for mut piece in pieces {
            while let Some(event) = stream.read(&mut piece) {
                match event {
                    Event::Head(head) => {
                        stream.frame(head.request_framing());
                        let Start::Request { method, target } = &head.start else {
                            unreachable!("the side is that of requests");
                        };
                        text.push_str(&["[", method, " ", target, " "].concat());
                    }
                    Event::Body(body) => text.push_str(std::str::from_utf8(body).unwrap()),
                    Event::End => text.push(']'),
                    Event::Opaque(count) => text.push_str(&"?".repeat(count as usize)),
                }
            }
            assert!(piece.is_empty());
        }
        text
    }

    fn cut_at<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % bytes.len()).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }

    #[test]
    fn reads_messages_in_every_framing() {
        let expected = "[GET /a ][POST /b hello][PUT /c abc0123456789][GET /d ]";
        assert_eq!(transcript([REQUESTS]), expected);
        assert_eq!(transcript(REQUESTS.chunks(1)), expected);
    }

    #[test]
    fn gives_up_on_what_makes_no_sense() {
        let check = |bytes: &str, expected: &str| {
            assert_eq!(transcript([bytes.as_bytes()]), expected, "{bytes}");
        };
        check("\x16\x03\x01ab", "?????");
        let chunked = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for line in ["xyz\r\n", "-1\r\n", "+1\r\n", "\r\n", "11111111111111111\r\n"] {
            let marks = "?".repeat(line.len());
            check(&format!("{chunked}{line}"), &format!("[PUT / {marks}"));
        }
        check(&format!("{chunked}1\r\nab\r\n"), "[PUT / a???");
    }

    #[test]
    fn gives_up_on_a_head_that_never_ends() {
        let mut stream = Stream::new(Side::Request);
        let mut opaque_bytes = 0;
        let start = b"GET / HTTP/1.1\r\n".as_slice();
        let line = b"X-Filler: 0123456789abcdef0123456789abcdef\r\n".as_slice();
        let pieces = std::iter::once(start).chain(std::iter::repeat_n(line, 3_000));
        for mut piece in pieces {
            while let Some(event) = stream.read(&mut piece) {
                let Event::Opaque(count) = event else { panic!("{event:?}") };
                opaque_bytes += count;
            }
        }
        assert_eq!(opaque_bytes, start.len() as u64 + 3_000 * line.len() as u64);
    }

    proptest! {
        #[test]
        fn reads_the_same_however_the_bytes_are_cut(
            cuts in prop::collection::vec(any::<usize>(), 0..20),
        ) {
            prop_assert_eq!(transcript(cut_at(REQUESTS, &cuts)), transcript([REQUESTS]));
        }

        #[test]
        fn survives_any_bytes(
            bytes in prop::collection::vec(any::<u8>(), 1..300),
            at in any::<usize>(),
            cuts in prop::collection::vec(any::<usize>(), 0..5),
        ) {
            let mut damaged = REQUESTS.to_vec();
            let at = at % damaged.len();
            let end = (at + bytes.len()).min(damaged.len());
            damaged.splice(at..end, bytes);
            for side in [Side::Request, Side::Response] {
                let mut stream = Stream::new(side);
                for mut piece in cut_at(&damaged, &cuts) {
                    while let Some(event) = stream.read(&mut piece) {
                        if let Event::Head(head) = event {
                            stream.frame(head.response_framing("GET", 200));
                        }
                    }
                }
            }
        }
    }
}
