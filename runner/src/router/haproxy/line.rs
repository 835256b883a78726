//! One line that HAProxy writes when a request has ended.

use std::time::Duration;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) generation: u64,
    pub(super) front: &'a str,
    pub(super) backend: &'a str,
    pub(super) server: &'a str,
    pub(super) number: u64,
    /// Whether the process was about to end.
    pub(super) stopping: bool,
    status: i32,
    /// Who ended it, and when; `--` if it was whole.
    ending: &'a str,
    began: u64,
    /// In microseconds since 1970.
    pub(super) ended: u64,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) failed: bool,
    /// How long it took; nothing if there was no whole answer.
    pub(super) latency: Option<Duration>,
}

// === impl Line ===

impl<'a> Line<'a> {
    /// Reads a line; nothing if it has another key, or is not about a request.
    pub(super) fn parse(text: &'a [u8], key: &str) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.trim_end();
        let mut words = text.splitn(15, ' ');
        let mut word = || words.next();
        if word()? != "prophecy" || word()? != key {
            return None;
        }
        let (generation, front) = (word()?.parse().ok()?, word()?);
        let (backend, server) = (word()?, word()?);
        let (number, stopping) = (word()?.parse().ok()?, word()? == "1");
        let status = word()?.parse().ok()?;
        let (ending, _bytes) = (word()?, word()?);
        let (began, ended) = (word()?.parse().ok()?, word()?.parse().ok()?);
        let (method, path) = (word()?, word().unwrap_or_default());
        Some(Self {
            generation,
            front,
            backend,
            server,
            number,
            stopping,
            status,
            ending,
            began,
            ended,
            method,
            path,
        })
    }

    /// Returns what came of the request; nothing if its caller left before there was an answer.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let is_callers = self.ending.starts_with(['C', 'c']);
        let is_whole = self.ending.starts_with('-');
        if is_callers && (self.status <= 0 || self.ending.ends_with(['R', 'Q', 'C', 'H'])) {
            return None;
        }
        let failed = self.status >= 500 || !(is_whole || is_callers);
        let took = Duration::from_micros(self.ended.saturating_sub(self.began));
        // A tunnel is over when its ends say so.
        let latency = (is_whole && self.status != 101).then_some(took);
        Some(Outcome { failed, latency })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: i32, ending: &str) -> Option<(bool, bool)> {
        let text =
            format!("prophecy key 3 entry entry:a a:b 7 0 {status} {ending} 90 1000 1500 GET /a/1");
        let line = Line::parse(text.as_bytes(), "key").expect("a line");
        assert_eq!((line.generation, line.number, line.path), (3, 7, "/a/1"));
        line.outcome().map(|it| (it.failed, it.latency == Some(Duration::from_micros(500))))
    }

    #[test]
    fn tells_whose_fault_an_ending_is() {
        let cases = [
            (200, "--", Some((false, true))),
            (404, "--", Some((false, true))),
            (500, "--", Some((true, true))),
            (503, "SC", Some((true, false))),
            (504, "sH", Some((true, false))),
            (200, "SD", Some((true, false))),
            (502, "PH", Some((true, false))),
            (200, "CD", Some((false, false))),
            (-1, "CH", None),
            (408, "cR", None),
            (101, "--", Some((false, false))),
        ];
        for (status, ending, expected) in cases {
            assert_eq!(outcome(status, ending), expected, "{status} {ending}");
        }
    }

    #[test]
    fn leaves_out_what_is_not_about_a_request() {
        let whole = "prophecy key 1 entry a b 1 0 200 -- 9 1 2 GET /";
        assert!(Line::parse(whole.as_bytes(), "key").is_some());
        assert_eq!(Line::parse(whole.as_bytes(), "other"), None, "somebody else wrote it");
        for text in ["", "Server a/b is DOWN", "prophecy", "prophecy key 1 entry a b - 0 400 PR"] {
            assert_eq!(Line::parse(text.as_bytes(), "key"), None, "{text}");
        }
        let text = b"prophecy key 1 entry a b 1 0 200 -- 9 1 2 GET \xff";
        assert_eq!(Line::parse(text, "key"), None);
    }
}
