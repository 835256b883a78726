//! The format of newer tools (draft-ietf-opsawg-pcapng): blocks, of several interfaces.

use std::io;

use prophecy_core::Timestamp;

use super::{Input, PACKET_LIMIT, Packet, number};

/// The type of the block that starts a section; the same in both byte orders.
pub(super) const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

const INTERFACE_DESCRIPTION: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// A capture in blocks.
#[derive(Debug, Default)]
pub(super) struct Pcapng {
    big_endian: bool,
    is_open: bool,
    interfaces: Vec<Interface>,
    /// Drops of sections that ended.
    dropped: u64,
    last_at: Timestamp,
}

#[derive(Debug)]
struct Interface {
    link_type: u32,
    snap_length: u32,
    units_per_second: u64,
    offset_seconds: i64,
    dropped: u64,
}

/// Where the packet of a block is.
struct Place {
    interface: u32,
    /// High and low half of the time, if there is one.
    units: Option<(u32, u32)>,
    start: usize,
    length: u32,
}

// === impl Pcapng ===

impl Pcapng {
    pub(super) fn next<'a>(&mut self, input: &'a mut Input<'_>) -> io::Result<Option<Packet<'a>>> {
        let place = loop {
            let Some(kind) = self.read_block(input)? else {
                return Ok(None);
            };
            let body = input.buffer.as_slice();
            let field = |index| number(body, index, self.big_endian);
            match kind {
                ENHANCED_PACKET => {
                    let units = Some((field(4), field(8)));
                    break Place { interface: field(0), units, start: 20, length: field(12) };
                }
                PACKET => {
                    let both = field(0);
                    let interface = if self.big_endian { both >> 16 } else { both & 0xffff };
                    let units = Some((field(4), field(8)));
                    break Place { interface, units, start: 20, length: field(12) };
                }
                SIMPLE_PACKET => {
                    let most = self.interfaces.first().map_or(0, |first| first.snap_length);
                    let most = if most == 0 { u32::MAX } else { most };
                    let length = field(0).min(most);
                    break Place { interface: 0, units: None, start: 4, length };
                }
                INTERFACE_DESCRIPTION => {
                    self.interfaces.push(Interface::parse(body, self.big_endian));
                }
                INTERFACE_STATISTICS => self.note_statistics(body),
                _ => {}
            }
        };
        let interface = self.interfaces.get(place.interface as usize);
        if let (Some((high, low)), Some(interface)) = (place.units, interface) {
            self.last_at = interface.time(u64::from(high) << 32 | u64::from(low));
        }
        let bytes = input.buffer.get(place.start..).unwrap_or_default();
        let bytes = &bytes[..bytes.len().min(place.length as usize)];
        // A simple packet has no time: the one before it is the best guess.
        let link_type = interface.map(|interface| interface.link_type);
        Ok(Some(Packet { at: self.last_at, link_type, bytes }))
    }

    /// Reads a block's body into the buffer and returns its type.
    fn read_block(&mut self, input: &mut Input<'_>) -> io::Result<Option<u32>> {
        let kind = if self.is_open {
            match input.header::<4>()? {
                Some(kind) => kind,
                None => return Ok(None),
            }
        } else {
            // The opener of the file has read the first type already.
            self.is_open = true;
            SECTION_HEADER
        };
        let Some(length) = input.header::<4>()? else {
            input.truncated = true;
            return Ok(None);
        };
        if kind == SECTION_HEADER {
            let Some(order) = input.header::<4>()? else {
                input.truncated = true;
                return Ok(None);
            };
            self.big_endian = order == [0x1a, 0x2b, 0x3c, 0x4d];
            if !self.big_endian && order != [0x4d, 0x3c, 0x2b, 0x1a] {
                input.damaged = true;
                return Ok(None);
            }
            self.dropped = self.dropped();
            self.interfaces.clear();
        }
        let length = number(&length, 0, self.big_endian);
        let taken = if kind == SECTION_HEADER { 12 } else { 8 };
        if length < taken + 4 || length > PACKET_LIMIT {
            input.damaged = true;
            return Ok(None);
        }
        let wanted = length - taken;
        let found = input.fill(wanted)?.len();
        if found < wanted as usize {
            input.truncated = true;
            if found < 20 {
                return Ok(None);
            }
        } else {
            // The length once more.
            input.buffer.truncate(found - 4);
        }
        Ok(Some(number(&kind, 0, self.big_endian)))
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped + self.interfaces.iter().map(|interface| interface.dropped).sum::<u64>()
    }

    fn note_statistics(&mut self, body: &[u8]) {
        let interface = number(body, 0, self.big_endian) as usize;
        let big_endian = self.big_endian;
        if let Some(interface) = self.interfaces.get_mut(interface) {
            // `isb_ifdrop` counts from the start of the capture: the last one has it all.
            for (code, value) in options(body.get(12..).unwrap_or_default(), big_endian) {
                if let (5, Some(dropped)) = (code, wide(value, big_endian)) {
                    interface.dropped = dropped;
                }
            }
        }
    }
}

// === impl Interface ===

impl Interface {
    fn parse(body: &[u8], big_endian: bool) -> Self {
        let first = number(body, 0, big_endian);
        let mut interface = Self {
            link_type: if big_endian { first >> 16 } else { first & 0xffff },
            snap_length: number(body, 4, big_endian),
            units_per_second: 1_000_000,
            offset_seconds: 0,
            dropped: 0,
        };
        for (code, value) in options(body.get(8..).unwrap_or_default(), big_endian) {
            match (code, value) {
                (9, [exponent, ..]) if exponent & 0x80 != 0 => {
                    interface.units_per_second = 1 << (exponent & 0x7f).min(63);
                }
                (9, [exponent, ..]) => {
                    interface.units_per_second = 10_u64.pow(u32::from(*exponent).min(19));
                }
                (14, value) => {
                    let seconds = wide(value, big_endian).unwrap_or(0) as i64;
                    interface.offset_seconds = seconds;
                }
                _ => {}
            }
        }
        interface
    }

    fn time(&self, units: u64) -> Timestamp {
        let nanos = u128::from(units) * 1_000_000_000 / u128::from(self.units_per_second);
        let offset = i128::from(self.offset_seconds) * 1_000_000_000;
        let nanos = i128::try_from(nanos).unwrap_or(i128::MAX).saturating_add(offset);
        Timestamp(nanos.clamp(0, i128::from(i64::MAX)) as i64)
    }
}

/// Returns the options at the end of a block, as code and value.
fn options(mut bytes: &[u8], big_endian: bool) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let both = (bytes.len() >= 4).then(|| number(bytes, 0, big_endian))?;
        let (code, length) =
            if big_endian { (both >> 16, both & 0xffff) } else { (both & 0xffff, both >> 16) };
        let length = length as usize;
        let value = bytes.get(4..4 + length).filter(|_| code != 0)?;
        bytes = bytes.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    })
}

fn wide(value: &[u8], big_endian: bool) -> Option<u64> {
    let value = value.try_into().ok()?;
    Some(if big_endian { u64::from_be_bytes(value) } else { u64::from_le_bytes(value) })
}
