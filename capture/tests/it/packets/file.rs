//! Capture files that are made up, in every format that is read.

/// A packet and when it passed \[ns since 2023-11-14T22:13:20Z\].
pub(super) type Stamped = (u64, Vec<u8>);

const BASE_SECONDS: u64 = 1_700_000_000;

/// Gives packets a millisecond each.
pub(super) fn stamped(packets: impl IntoIterator<Item = Vec<u8>>) -> Vec<Stamped> {
    (0..).zip(packets).map(|(index, packet)| (index * 1_000_000, packet)).collect()
}

/// The unit and the byte order of a classic capture.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    MicrosLittle,
    MicrosBig,
    NanosLittle,
    NanosBig,
}

/// A classic capture, in either byte order and either unit.
pub(super) fn pcap(link_type: u32, kind: Kind, packets: &[Stamped]) -> Vec<u8> {
    let big_endian = matches!(kind, Kind::MicrosBig | Kind::NanosBig);
    let nanos = matches!(kind, Kind::NanosLittle | Kind::NanosBig);
    let magic = if nanos { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let version = if big_endian { 0x0002_0004 } else { 0x0004_0002 };
    let mut words = Words { big_endian, bytes: Vec::new() };
    words.extend([magic, version, 0, 0, 262_144, link_type]);
    for (at, packet) in packets {
        let fraction = at % 1_000_000_000 / if nanos { 1 } else { 1_000 };
        let seconds = BASE_SECONDS + at / 1_000_000_000;
        words.extend([seconds as u32, fraction as u32, packet.len() as u32, packet.len() as u32]);
        words.bytes.extend(packet);
    }
    words.bytes
}

/// A little-endian Ethernet-less capture: raw IP.
pub(super) fn raw(packets: &[Stamped]) -> Vec<u8> {
    pcap(101, Kind::MicrosLittle, packets)
}

/// How a packet is put in a block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Block {
    Enhanced,
    Simple,
    Obsolete,
}

/// A capture in blocks with two interfaces: the first (raw IP) counts microseconds, the second
/// (BSD loopback) counts 2^-20 seconds after an offset. Packets alternate between them.
pub(super) fn pcapng(big_endian: bool, block: Block, packets: &[Stamped]) -> Vec<u8> {
    let mut file = Words { big_endian, bytes: Vec::new() };
    file.block(0x0a0d_0d0a, |body| {
        body.extend([0x1a2b_3c4d, if big_endian { 0x0001_0000 } else { 1 }, u32::MAX, u32::MAX]);
    });
    file.block(1, |body| {
        body.pair(101, 0);
        body.extend([0]);
    });
    file.block(1, |body| {
        body.pair(0, 0);
        body.extend([0]);
        body.pair(9, 1);
        body.bytes.extend([0x80 | 0x14, 0, 0, 0]);
        body.pair(14, 8);
        let offset = BASE_SECONDS;
        let halves = [(offset >> 32) as u32, offset as u32];
        body.extend(if big_endian { halves } else { [halves[1], halves[0]] });
        body.pair(0, 0);
    });
    // A block of a type that nobody knows.
    file.block(0x0bad, |body| body.extend([1, 2, 3]));
    for (index, (at, packet)) in packets.iter().enumerate() {
        let is_second = index % 2 == 1 && !matches!(block, Block::Simple);
        let (units, packet) = if is_second {
            let family = if big_endian { [0, 0, 0, 2] } else { [2, 0, 0, 0] };
            ((at << 20) / 1_000_000_000, [family.to_vec(), packet.clone()].concat())
        } else {
            (BASE_SECONDS * 1_000_000 + at / 1_000, packet.clone())
        };
        let length = packet.len() as u32;
        let time = [(units >> 32) as u32, units as u32];
        let kind = match block {
            Block::Enhanced => 6,
            Block::Simple => 3,
            Block::Obsolete => 2,
        };
        file.block(kind, |body| {
            match block {
                Block::Enhanced => body.extend([u32::from(is_second), time[0], time[1], length]),
                Block::Obsolete => {
                    body.pair(u16::from(is_second), 0);
                    body.extend([time[0], time[1], length]);
                }
                Block::Simple => {}
            }
            body.extend([length]);
            body.bytes.extend(&packet);
            body.bytes.resize(body.bytes.len().next_multiple_of(4), 0);
        });
    }
    // Statistics of the first interface: four packets dropped.
    file.block(5, |body| {
        body.extend([0, 0, 0]);
        body.pair(5, 8);
        body.extend(if big_endian { [0, 4] } else { [4, 0] });
        body.pair(0, 0);
    });
    file.bytes
}

struct Words {
    big_endian: bool,
    bytes: Vec<u8>,
}

impl Words {
    fn extend<const N: usize>(&mut self, words: [u32; N]) {
        for word in words {
            self.bytes.extend(if self.big_endian {
                word.to_be_bytes()
            } else {
                word.to_le_bytes()
            });
        }
    }

    fn pair(&mut self, first: u16, second: u16) {
        for half in [first, second] {
            self.bytes.extend(if self.big_endian {
                half.to_be_bytes()
            } else {
                half.to_le_bytes()
            });
        }
    }

    fn block(&mut self, kind: u32, write: impl FnOnce(&mut Self)) {
        let mut body = Self { big_endian: self.big_endian, bytes: Vec::new() };
        write(&mut body);
        let length = body.bytes.len() as u32 + 12;
        self.extend([kind, length]);
        self.bytes.extend(body.bytes);
        self.extend([length]);
    }
}
