//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::short;

/// The protocol numbers that matter here.
pub(super) const TCP: u8 = 6;
pub(super) const IPV4: u8 = 4;
pub(super) const IPV6: u8 = 41;

/// An IP packet without its headers.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) payload: &'a [u8],
    /// How long the payload was on the wire.
    pub(super) length: usize,
    pub(super) fragment: Option<Place>,
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) id: u32,
    pub(super) offset: usize,
    pub(super) is_last: bool,
}

/// Parses the headers of a packet of either version.
pub(super) fn parse(bytes: &[u8]) -> Option<Datagram<'_>> {
    match bytes.first()? >> 4 {
        4 => parse_v4(bytes),
        6 => parse_v6(bytes),
        _ => None,
    }
}

fn parse_v4(bytes: &[u8]) -> Option<Datagram<'_>> {
    let header = bytes.get(..20)?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    // A network card that cuts packets itself hands over a length of zero.
    let length = match short(bytes, 2)? {
        0 => bytes.len(),
        length => usize::from(length),
    };
    if header_length < 20 || length < header_length {
        return None;
    }
    // What follows the packet pads the frame.
    let payload = bytes.get(header_length..length.min(bytes.len()))?;
    let placing = short(bytes, 6)?;
    let (offset, more) = (usize::from(placing & 0x1fff) * 8, placing & 0x2000 != 0);
    let fragment = (offset > 0 || more).then_some(Place {
        id: u32::from(short(bytes, 4)?),
        offset,
        is_last: !more,
    });
    let address = |index: usize| {
        let octets: [u8; 4] = header[index..index + 4].try_into().expect("four bytes were taken");
        IpAddr::V4(Ipv4Addr::from(octets))
    };
    Some(Datagram {
        source: address(12),
        destination: address(16),
        protocol: header[9],
        payload,
        length: length - header_length,
        fragment,
    })
}

fn parse_v6(bytes: &[u8]) -> Option<Datagram<'_>> {
    let header = bytes.get(..40)?;
    let address = |index: usize| {
        let octets: [u8; 16] = header[index..index + 16].try_into().expect("as many were taken");
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let rest = &bytes[40..];
    let mut length = match short(bytes, 4)? {
        0 => rest.len(),
        length => usize::from(length),
    };
    let mut payload = &rest[..rest.len().min(length)];
    let mut protocol = header[6];
    let mut fragment = None;
    loop {
        let size = match protocol {
            // Hop-by-hop, routing, destination options, mobility: in units of eight bytes.
            0 | 43 | 60 | 135 => usize::from(*payload.get(1)?) * 8 + 8,
            // Authentication: in units of four.
            51 => usize::from(*payload.get(1)?) * 4 + 8,
            44 => {
                let placing = short(payload, 2)?;
                let id = payload.get(4..8)?.try_into().expect("four bytes were taken");
                let (offset, is_last) = (usize::from(placing & 0xfff8), placing & 1 == 0);
                if offset > 0 || !is_last {
                    fragment = Some(Place { id: u32::from_be_bytes(id), offset, is_last });
                }
                8
            }
            _ => break,
        };
        protocol = *payload.first()?;
        payload = payload.get(size..)?;
        length = length.checked_sub(size)?;
        if fragment.is_some_and(|place| place.offset > 0) {
            break;
        }
    }
    Some(Datagram {
        source: address(8),
        destination: address(24),
        protocol,
        payload,
        length,
        fragment,
    })
}
