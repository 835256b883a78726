//! Packets or proxied streams in, exchanges out.
//!
//! Traffic reaches Prophecy on one of two ways: a [`mirror::Mirror`] relays it and reads along, or
//! a packet capture is read after the fact. Both make the same
//! [`Exchange`](prophecy_core::Exchange)s, hand them to the anonymizer, and account for whatever
//! they did not record.

pub mod agent;
pub mod clock;
pub mod mirror;
pub mod pcap;
pub mod recorder;

mod protocol;
mod source;
mod wire;
