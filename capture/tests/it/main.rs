//! Captures as their users see them: real sockets, real files.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod agent;
mod captures;
mod mirror;
mod packets;
mod recorder;
