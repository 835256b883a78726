//! The proxy between real sockets.
//!
//! Clients and upstreams are scripts over bare sockets, so that every byte and every end of a
//! connection is under the control of the test. What was recorded is heard through the tap.

mod bodies;
mod ends;
mod messages;
pub(crate) mod rig;
mod stop;
