//! HTTP/1.0 and HTTP/1.1 (RFC 9112), as somebody who reads along sees them.

pub(crate) mod framing;
pub(crate) mod head;
mod lenient;
