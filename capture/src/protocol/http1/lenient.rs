//! Heads that break the grammar in ways that receivers let pass.
//!
//! A capture shows what was sent, and what was sent was answered: the line ends, the version and
//! the headers of such a head are worth more than the certainty that nothing is wrong with it.

use prophecy_core::{Header, Protocol};

use super::head::{Head, KNOWN_METHODS, Parsed, Side, Start};

/// The longest first line that is believed.
const LINE_LIMIT: usize = 16 << 10;

/// Parses a head that a strict parser refused.
pub(super) fn parse(bytes: &[u8], side: Side) -> Parsed {
    let Some(line_end) = bytes.iter().take(LINE_LIMIT).position(|byte| *byte == b'\n') else {
        return Parsed::Foreign;
    };
    let Some((start, protocol)) = first_line(bytes[..line_end].trim_ascii(), side) else {
        return Parsed::Foreign;
    };
    let mut headers = Vec::new();
    let mut rest = line_end + 1;
    while let Some(length) = bytes[rest..].iter().position(|byte| *byte == b'\n') {
        let line = &bytes[rest..rest + length];
        rest += length + 1;
        let line = String::from_utf8_lossy(line);
        if line.trim().is_empty() {
            return Parsed::Head(Box::new(Head { start, protocol, headers }), rest);
        }
        match (line.starts_with([' ', '\t']), line.split_once(':'), headers.last_mut()) {
            // A folded line continues the one before (RFC 9112, section 5.2).
            (true, _, Some(Header { value, .. })) => {
                value.push(' ');
                value.push_str(line.trim());
            }
            (_, Some((name, value)), _) => headers.push(Header::new(name.trim(), value.trim())),
            // Neither a header nor the end: left out, as a strict parser would.
            _ => {}
        }
    }
    Parsed::Partial
}

fn first_line(line: &[u8], side: Side) -> Option<(Start, Protocol)> {
    let line = String::from_utf8_lossy(line);
    match side {
        Side::Request => {
            let (method, rest) = line.split_once([' ', '\t'])?;
            let is_method = (1..=64).contains(&method.len())
                && method.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
            let (target, version) = rest.rsplit_once([' ', '\t']).unwrap_or(("", rest));
            let (target, protocol) = match protocol_of(version) {
                Some(protocol) => (target, protocol),
                // Without a version it is as old as it can be (RFC 1945, section 4.1), if it is
                // a request.
                None if KNOWN_METHODS.contains(&method) && rest.starts_with('/') => {
                    (rest, Protocol::Http10)
                }
                None => return None,
            };
            if !is_method {
                return None;
            }
            let start =
                Start::Request { method: method.to_owned(), target: target.trim().to_owned() };
            Some((start, protocol))
        }
        Side::Response => {
            let mut words = line.split_ascii_whitespace();
            let protocol = protocol_of(words.next()?)?;
            let status = words.next()?;
            let is_status = status.len() == 3;
            let status = status.parse().ok().filter(|_| is_status)?;
            Some((Start::Response { status }, protocol))
        }
    }
}

fn protocol_of(version: &str) -> Option<Protocol> {
    // Some clients write a minor version that does not exist; what they mean is the latest.
    let minor = version.strip_prefix("HTTP/1.")?;
    let is_number = minor.len() <= 2 && minor.bytes().all(|b| b.is_ascii_digit());
    is_number.then_some(if minor == "0" { Protocol::Http10 } else { Protocol::Http11 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_heads_that_a_strict_parser_refuses() {
        let check = |side, text: &str, expected: &str| {
            let found = match parse(text.as_bytes(), side) {
                Parsed::Head(head, length) => {
                    let headers: Vec<_> = head
                        .headers
                        .iter()
                        .map(|header| format!("{}={}", header.name, header.value))
                        .collect();
                    let start = match &head.start {
                        Start::Request { method, target } => format!("{method} {target}"),
                        Start::Response { status } => status.to_string(),
                    };
                    let left = text.len() - length;
                    format!("{start} {} [{}] {left}", head.protocol.as_str(), headers.join(", "))
                }
                Parsed::Partial => "partial".to_owned(),
                Parsed::Foreign => "foreign".to_owned(),
            };
            assert_eq!(found, expected, "{text:?}");
        };
        let request = |text, expected| check(Side::Request, text, expected);
        request("GET /a b HTTP/1.1\r\nX: 1\r\n\r\nrest", "GET /a b http/1.1 [x=1] 4");
        request("GET HTTP/1.1\n\n", "GET  http/1.1 [] 0");
        request("GET / HTTP/1.1\nA: 1\n 2\nnonsense\n\n", "GET / http/1.1 [a=1 2] 0");
        request("A?B / HTTP/1.0\r\n\r\n", "A?B / http/1.0 [] 0");
        request("GET /a b HTTP/1.1\r\nX: 1", "partial");
        request("GET /a\r\nB: c\r\n\r\n", "GET /a http/1.0 [b=c] 0");
        request("GET / HTTP/1.\r\n\r\n", "GET / http/1.1 [] 0");
        request("GET key\r\n\r\n", "foreign");
        request("MAIL /a\r\n\r\n", "foreign");
        request("PRI * HTTP/2.0\r\n\r\n", "foreign");
        let response = |text, expected| check(Side::Response, text, expected);
        response("HTTP/1.1  200\r\nA\u{1}: b\r\n\r\n", "200 http/1.1 [a\u{1}=b] 0");
        response("HTTP/1.1 2000 OK\r\n\r\n", "foreign");
        response("ICY 200 OK\r\n\r\n", "foreign");
    }
}
