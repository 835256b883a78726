//! Capture files: packets with a time and a link type, one after another.

mod pcap;
mod pcapng;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use prophecy_core::Timestamp;

use self::pcap::Pcap;
use self::pcapng::Pcapng;

/// The longest packet that is believed; a longer one means that the file is damaged.
const PACKET_LIMIT: u32 = 64 << 20;

/// A captured packet.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) at: Timestamp,
    /// What the first byte is, by the number of the tcpdump registry; `None` if the file does not
    /// say.
    pub(crate) link_type: Option<u32>,
    pub(crate) bytes: &'a [u8],
}

/// What came instead of a capture file.
#[derive(Debug)]
pub(crate) enum OpenSourceError {
    Read(io::Error),
    Empty,
    Foreign([u8; 4]),
}

/// Packets of one file.
#[derive(Debug)]
pub(crate) struct Source<'r> {
    input: Input<'r>,
    format: Format,
}

#[derive(Debug)]
enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

/// A reader that knows how it ended.
struct Input<'r> {
    reader: Box<dyn Read + 'r>,
    /// Bytes taken from the file, before any decompression.
    position: Rc<Cell<u64>>,
    buffer: Vec<u8>,
    truncated: bool,
    damaged: bool,
}

/// Counts what is read.
struct Counted<R> {
    reader: R,
    position: Rc<Cell<u64>>,
}

// === impl Source ===

impl<'r> Source<'r> {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenSourceError> {
        Self::read(File::open(path).map_err(OpenSourceError::Read)?)
    }

    pub(crate) fn read(reader: impl Read + 'r) -> Result<Self, OpenSourceError> {
        let position = Rc::new(Cell::new(0));
        let counted = Counted { reader, position: Rc::clone(&position) };
        let reader = Box::new(BufReader::with_capacity(256 << 10, counted));
        let mut input =
            Input { reader, position, buffer: Vec::new(), truncated: false, damaged: false };
        let mut magic = input.magic()?;
        if magic.starts_with(&[0x1f, 0x8b]) {
            let plain = io::Cursor::new(magic).chain(input.reader);
            let reader = flate2::read::MultiGzDecoder::new(plain);
            input.reader = Box::new(BufReader::with_capacity(256 << 10, reader));
            magic = input.magic()?;
        }
        let format = match Pcap::open(magic, &mut input).map_err(OpenSourceError::Read)? {
            Some(pcap) => Format::Pcap(pcap),
            None if magic == pcapng::SECTION_HEADER => Format::Pcapng(Pcapng::default()),
            None => return Err(OpenSourceError::Foreign(magic)),
        };
        Ok(Self { input, format })
    }

    /// Returns the next packet; `None` at the end, expected or not.
    pub(crate) fn next(&mut self) -> io::Result<Option<Packet<'_>>> {
        match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.input),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.input),
        }
    }

    /// Returns how much of the file was read.
    pub(crate) fn position(&self) -> u64 {
        self.input.position.get()
    }

    /// Says whether the file ended in the middle of something.
    pub(crate) fn is_truncated(&self) -> bool {
        self.input.truncated
    }

    /// Says whether the reading stopped at something that makes no sense.
    pub(crate) fn is_damaged(&self) -> bool {
        self.input.damaged
    }

    /// Returns how many packets the capturing machine says that it dropped.
    pub(crate) fn dropped(&self) -> u64 {
        match &self.format {
            Format::Pcap(_) => 0,
            Format::Pcapng(pcapng) => pcapng.dropped(),
        }
    }
}

// === impl Input ===

impl Input<'_> {
    fn magic(&mut self) -> Result<[u8; 4], OpenSourceError> {
        let found = self.fill(4).map_err(OpenSourceError::Read)?;
        if found.is_empty() {
            return Err(OpenSourceError::Empty);
        }
        let mut magic = [0; 4];
        magic[..found.len()].copy_from_slice(found);
        Ok(magic)
    }

    /// Reads up to `length` bytes; fewer come only at the end.
    fn fill(&mut self, length: u32) -> io::Result<&[u8]> {
        self.buffer.clear();
        match (&mut self.reader).take(u64::from(length)).read_to_end(&mut self.buffer) {
            Ok(_) => {}
            // A compressed file that was cut, or is damaged, in the middle.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.truncated = true,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.damaged = true,
            Err(error) => return Err(error),
        }
        Ok(&self.buffer)
    }

    /// Reads a header of fixed size; `None` at the end of the file.
    fn header<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        let found = self.fill(N as u32)?;
        let header = found.try_into().ok();
        if header.is_none() && !found.is_empty() {
            self.truncated = true;
        }
        Ok(header)
    }
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("position", &self.position).finish_non_exhaustive()
    }
}

// === impl Counted ===

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buf)?;
        self.position.set(self.position.get() + count as u64);
        Ok(count)
    }
}

/// Returns the number at an index in the byte order of the file.
fn number(bytes: &[u8], index: usize, big_endian: bool) -> u32 {
    let mut four = [0; 4];
    if let Some(found) = bytes.get(index..index + 4) {
        four.copy_from_slice(found);
    }
    if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
}
