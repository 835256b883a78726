//! A capture from files of packets.

use std::cell::RefCell;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use prophecy_anonymizer::Sanitizer;
use prophecy_core::Ledger;
use prophecy_core::ledger::Exchanges;
use prophecy_datasets::{DatasetWriter, WriteDatasetError};
use thiserror::Error;

use super::{CaptureSummary, Output};
use crate::pcap::{
    CaptureCounts, Captured, Ids, PcapOptions, ReadCaptureError, read_watched_capture,
};

/// A capture from files of packets.
#[expect(missing_debug_implementations, reason = "a callback has nothing to show")]
pub struct PcapCaptureOptions<'a> {
    /// The files, in the order in which they were captured; at least one.
    pub files: Vec<PathBuf>,
    /// How packets become exchanges.
    pub pcap: PcapOptions,
    /// Where to write.
    pub output: Output,
    /// Set from outside to end early, with a complete dataset of what was read so far.
    pub stop: &'a AtomicBool,
    /// Told every thousand packets or so, and at the end of each file.
    pub progress: &'a dyn Fn(FileProgress),
}

/// How far a capture from files is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileProgress {
    /// Which of the files is being read, from zero.
    pub file_index: usize,
    /// The bytes read of all files.
    pub bytes_read: u64,
    /// The bytes of all files.
    pub bytes_total: u64,
    /// The exchanges recorded so far.
    pub exchange_count: u64,
}

/// Why a capture from files failed.
#[derive(Debug, Error)]
pub enum CapturePcapError {
    /// There is nothing to do.
    #[error("cannot capture: found no file to read, expected at least one")]
    NoFile,
    /// A file could not be read as packets.
    #[error("cannot capture")]
    Read(#[from] ReadCaptureError),
    /// The dataset could not be written.
    #[error("cannot write what was captured")]
    Write(#[from] WriteDatasetError),
}

/// Sanitizes and writes rows as they are read, and remembers the first error.
struct Intake {
    writer: DatasetWriter,
    sanitizer: Sanitizer,
    exchanges: Exchanges,
    error: Option<WriteDatasetError>,
}

/// Reads files of packets into one dataset.
///
/// Every file is looked at before the dataset is created, so that one that is no capture leaves
/// nothing behind.
///
/// # Errors
///
/// [`CapturePcapError`]. If a file breaks off in a way that is an error, the dataset keeps what was
/// read before, and says that it is not complete.
pub fn capture_pcap(options: PcapCaptureOptions<'_>) -> Result<CaptureSummary, CapturePcapError> {
    let PcapCaptureOptions { files, pcap, output, stop, progress } = options;
    if files.is_empty() {
        return Err(CapturePcapError::NoFile);
    }
    let mut sizes = Vec::new();
    for path in &files {
        let ids = &mut Ids::default();
        let glance = &mut |_| ControlFlow::Break(());
        read_watched_capture(path, &pcap, ids, &mut |_| (), glance)?;
        let metadata = std::fs::metadata(path);
        sizes.push(metadata.map_err(|source| unreadable(path.clone(), source))?.len());
    }
    let sources = files.iter().map(|path| source_name(path)).collect();
    let (writer, sanitizer) = output.open(sources)?;
    let exchanges = Exchanges::default();
    let intake = RefCell::new(Intake { writer, sanitizer, exchanges, error: None });
    let bytes_total = sizes.iter().sum();
    let (mut ids, mut counts) = (Ids::default(), CaptureCounts::default());
    let mut broken = None;
    for (file_index, path) in files.iter().enumerate() {
        let bytes_before: u64 = sizes[..file_index].iter().sum();
        let mut watch = |position: u64| {
            let (failed, exchange_count) = intake.borrow().state();
            let bytes_read = (bytes_before + position).min(bytes_total);
            progress(FileProgress { file_index, bytes_read, bytes_total, exchange_count });
            if failed || stop.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let mut sink = |captured| intake.borrow_mut().take(captured);
        match read_watched_capture(path, &pcap, &mut ids, &mut sink, &mut watch) {
            Ok(of_file) => counts.add(&of_file),
            Err(error) => broken = Some(error),
        }
        if broken.is_some() || intake.borrow().error.is_some() || stop.load(Ordering::Relaxed) {
            break;
        }
    }
    let Intake { mut writer, exchanges, error, .. } = intake.into_inner();
    if let Some(error) = error {
        return Err(error.into());
    }
    let CaptureCounts { packets, segments, oddities, .. } = counts;
    let ledger = Ledger { packets, segments, exchanges };
    if let Some(error) = broken {
        // What was read is worth keeping; the error matters more than a second one here.
        drop(writer.checkpoint(&ledger));
        return Err(error.into());
    }
    let manifest = writer.finish(&ledger)?;
    let interrupted = stop.load(Ordering::Relaxed);
    Ok(CaptureSummary { manifest, other_rows_shed: 0, oddities, interrupted })
}

/// Returns the file's name without the folders, which are nobody's business but the captor's.
fn source_name(path: &std::path::Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn unreadable(path: PathBuf, source: io::Error) -> ReadCaptureError {
    ReadCaptureError::Read { path, source }
}

// === impl Intake ===

impl Intake {
    fn take(&mut self, captured: Captured) {
        if self.error.is_some() {
            return;
        }
        let written = match captured {
            Captured::Exchange(exchange) => {
                let completeness = exchange.completeness;
                let written = self.writer.exchange(self.sanitizer.exchange(exchange));
                written.map(|()| self.exchanges.record(completeness))
            }
            Captured::Connection(connection) => {
                self.writer.connection(self.sanitizer.connection(connection))
            }
        };
        self.error = written.err();
    }

    /// Returns whether writing has failed, and how many exchanges were written.
    fn state(&self) -> (bool, u64) {
        (self.error.is_some(), self.exchanges.recorded)
    }
}
