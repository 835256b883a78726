//! The classic format of libpcap (draft-ietf-opsawg-pcap).

use std::io;

use prophecy_core::Timestamp;

use super::{Input, PACKET_LIMIT, Packet, number};

/// A classic capture after its header.
#[derive(Debug)]
pub(super) struct Pcap {
    big_endian: bool,
    nanos_per_unit: i64,
    /// Bytes of a record's header behind the usual sixteen.
    extra: u32,
    link_type: u32,
}

// === impl Pcap ===

impl Pcap {
    /// Reads what follows the magic number; `None` if it is another one.
    pub(super) fn open(magic: [u8; 4], input: &mut Input<'_>) -> io::Result<Option<Self>> {
        let (big_endian, nanos_per_unit, extra) = match magic {
            [0xa1, 0xb2, 0xc3, 0xd4] => (true, 1_000, 0),
            [0xd4, 0xc3, 0xb2, 0xa1] => (false, 1_000, 0),
            [0xa1, 0xb2, 0x3c, 0x4d] => (true, 1, 0),
            [0x4d, 0x3c, 0xb2, 0xa1] => (false, 1, 0),
            // A variant of Linux 2.2 times, with interface and direction in each record.
            [0xa1, 0xb2, 0xcd, 0x34] => (true, 1_000, 8),
            [0x34, 0xcd, 0xb2, 0xa1] => (false, 1_000, 8),
            _ => return Ok(None),
        };
        let Some(header) = input.header::<20>()? else {
            input.truncated = true;
            return Ok(Some(Self { big_endian, nanos_per_unit, extra, link_type: 0 }));
        };
        // The upper bits say how long the frame check sequence is.
        let link_type = number(&header, 16, big_endian) & 0xffff;
        Ok(Some(Self { big_endian, nanos_per_unit, extra, link_type }))
    }

    pub(super) fn next<'a>(&self, input: &'a mut Input<'_>) -> io::Result<Option<Packet<'a>>> {
        let Some(header) = input.header::<16>()? else {
            return Ok(None);
        };
        let field = |index| number(&header, index, self.big_endian);
        let length = field(8);
        if length > PACKET_LIMIT {
            input.damaged = true;
            return Ok(None);
        }
        let nanos = i64::from(field(4)) * self.nanos_per_unit;
        let at = Timestamp(i64::from(field(0)) * 1_000_000_000 + nanos);
        let wanted = length + self.extra;
        if input.fill(wanted)?.len() < wanted as usize {
            input.truncated = true;
            if input.buffer.len() <= self.extra as usize {
                return Ok(None);
            }
        }
        let bytes = &input.buffer[self.extra as usize..];
        Ok(Some(Packet { at, link_type: Some(self.link_type), bytes }))
    }
}
