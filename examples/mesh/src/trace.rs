//! Which request a request is part of: `traceparent` and `x-request-id`.

use prophecy_core::Philox;

/// The identity of a request, passed on to the calls it makes.
///
/// # Source
///
/// W3C Trace Context, section 3.2 (`traceparent`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    id: String,
    flags: String,
    request_id: String,
}

// === impl Trace ===

impl Trace {
    /// Continues the trace that the headers name, or starts one.
    pub(crate) fn continued(
        traceparent: Option<&str>,
        request_id: Option<&str>,
        luck: &mut Philox,
    ) -> Self {
        let (id, flags) = traceparent.and_then(parse).unwrap_or_else(|| {
            // A trace id of zeros is not one; setting a bit avoids it.
            (format!("{:016x}{:016x}", luck.next_u64(), luck.next_u64() | 1), "01".to_owned())
        });
        let request_id = match request_id.filter(|id| !id.is_empty() && id.len() <= 128) {
            Some(id) => id.to_owned(),
            None => format!("{:016x}", luck.next_u64()),
        };
        Self { id, flags, request_id }
    }

    /// Returns the header of a call, under a span of its own.
    pub(crate) fn child(&self, luck: &mut Philox) -> String {
        format!("00-{}-{:016x}-{}", self.id, luck.next_u64() | 1, self.flags)
    }

    /// Returns the id that answers and calls carry.
    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }
}

fn parse(header: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = header.split('-').collect();
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    match parts.as_slice() {
        [version, trace_id, span_id, flags, ..]
            if is_hex(version, 2)
                && *version != "ff"
                && is_hex(trace_id, 32)
                && is_hex(span_id, 16)
                && is_hex(flags, 2)
                && trace_id.bytes().any(|byte| byte != b'0') =>
        {
            Some(((*trace_id).to_owned(), (*flags).to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use prophecy_core::Seed;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    #[test]
    fn continues_a_trace_under_a_span_of_its_own() {
        let mut luck = Seed(1).stream(0, 0, "test");
        let trace = Trace::continued(Some(PARENT), Some("r-1"), &mut luck);
        let child = trace.child(&mut luck);
        assert!(child.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{child}");
        assert!(child.ends_with("-00"), "{child}");
        assert_ne!(child, PARENT);
        assert_eq!(trace.request_id(), "r-1");
    }

    #[test]
    fn starts_a_trace_where_there_is_none() {
        let mut luck = Seed(1).stream(0, 0, "test");
        let zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        for header in [None, Some("nonsense"), Some(zero), Some("00-é-a-b")] {
            let trace = Trace::continued(header, Some(""), &mut luck);
            assert!(parse(&trace.child(&mut luck)).is_some(), "{header:?}");
            assert_eq!(trace.request_id().len(), 16);
        }
    }
}
