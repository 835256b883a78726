//! TCP segments (RFC 9293).

use std::net::{IpAddr, SocketAddr};

use super::short;

/// A TCP segment.
#[derive(Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) sequence: u32,
    /// What the sender had received, if it said so.
    pub(crate) acknowledgment: Option<u32>,
    flags: u8,
    pub(crate) payload: &'a [u8],
    /// Payload bytes that were on the wire but are not in the file.
    pub(crate) cut: u32,
}

// === impl Segment ===

impl<'a> Segment<'a> {
    pub(super) fn parse(
        source: IpAddr,
        destination: IpAddr,
        bytes: &'a [u8],
        length: usize,
    ) -> Option<Self> {
        let header = bytes.get(..20)?;
        let header_length = usize::from(header[12] >> 4) * 4;
        if header_length < 20 || length < header_length {
            return None;
        }
        let four = |index: usize| {
            u32::from_be_bytes(header[index..index + 4].try_into().expect("four bytes were taken"))
        };
        // A packet that was cut within its options has no payload in the file.
        let payload = bytes.get(header_length..).unwrap_or_default();
        let flags = header[13];
        Some(Self {
            source: SocketAddr::new(source, short(header, 0)?),
            destination: SocketAddr::new(destination, short(header, 2)?),
            sequence: four(4),
            acknowledgment: (flags & 0x10 != 0).then(|| four(8)),
            flags,
            payload,
            cut: (length - header_length).saturating_sub(payload.len()) as u32,
        })
    }

    pub(crate) fn is_fin(&self) -> bool {
        self.flags & 0x01 != 0
    }

    pub(crate) fn is_syn(&self) -> bool {
        self.flags & 0x02 != 0
    }

    pub(crate) fn is_rst(&self) -> bool {
        self.flags & 0x04 != 0
    }
}
