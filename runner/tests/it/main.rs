//! The runner as its users see it: real sockets, and the guides as they are written.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod guide;
mod router;
