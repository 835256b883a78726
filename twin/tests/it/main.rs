//! The twin as its users see it: real processes, real sockets, generated traffic with a known truth.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod fit;
mod fit_patience;
mod fit_slices;
mod launch;
mod manifest;
mod probe;
mod replay;
mod traffic;
