//! From the bytes of a packet to a TCP segment.

mod fragments;
mod ip;
mod link;
mod segment;

use std::borrow::Cow;
use std::net::IpAddr;

use self::fragments::{Fragment, Fragments};
pub(crate) use self::segment::Segment;
use crate::source::Packet;

/// What a packet turned out to be.
#[derive(Debug)]
pub(crate) enum Decoded<'a> {
    Tcp(Addressed<'a>),
    NotTcp,
    NotDecodable,
}

/// A TCP segment with the addresses of the packet that carried it.
#[derive(Debug)]
pub(crate) struct Addressed<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    bytes: Cow<'a, [u8]>,
    /// How long the segment was on the wire; the file may hold less of it.
    length: usize,
}

/// Decodes packets. It has a memory for the fragments of datagrams.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    fragments: Fragments,
}

/// What a layer found below itself.
enum Layer<'a> {
    Ip(&'a [u8]),
    /// Something that is well formed and not of interest, such as ARP.
    Other,
    Malformed,
}

/// How many packets may be inside each other.
const DEPTH_LIMIT: usize = 8;

// === impl Decoder ===

impl Decoder {
    pub(crate) fn decode<'a>(&mut self, packet: &Packet<'a>) -> Decoded<'a> {
        let layer =
            packet.link_type.map_or(Layer::Malformed, |kind| link::open(kind, packet.bytes));
        let mut bytes = match layer {
            Layer::Ip(bytes) => bytes,
            Layer::Other => return Decoded::NotTcp,
            Layer::Malformed => return Decoded::NotDecodable,
        };
        for _ in 0..DEPTH_LIMIT {
            let Some(datagram) = ip::parse(bytes) else {
                return Decoded::NotDecodable;
            };
            match datagram.protocol {
                ip::TCP => {}
                // IP in IP: the inner addresses are those of the services.
                ip::IPV4 | ip::IPV6 if datagram.fragment.is_none() => {
                    bytes = datagram.payload;
                    continue;
                }
                _ => return Decoded::NotTcp,
            }
            let ip::Datagram { source, destination, payload, length, fragment, .. } = datagram;
            let Some(place) = fragment else {
                let bytes = Cow::Borrowed(payload);
                return Decoded::Tcp(Addressed { source, destination, bytes, length });
            };
            let fragment = Fragment { source, destination, place, payload };
            return match self.fragments.add(&fragment) {
                Some(whole) => {
                    let (length, bytes) = (whole.len(), Cow::Owned(whole));
                    Decoded::Tcp(Addressed { source, destination, bytes, length })
                }
                None => Decoded::NotTcp,
            };
        }
        Decoded::NotDecodable
    }
}

// === impl Addressed ===

impl Addressed<'_> {
    pub(crate) fn segment(&self) -> Option<Segment<'_>> {
        Segment::parse(self.source, self.destination, &self.bytes, self.length)
    }
}

/// Returns a big-endian number of two bytes.
fn short(bytes: &[u8], index: usize) -> Option<u16> {
    let found = bytes.get(index..index + 2)?;
    Some(u16::from_be_bytes(found.try_into().expect("two bytes were taken")))
}
