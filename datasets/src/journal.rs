//! Eight counters that survive the death of the writing process.
//!
//! They say how many rows were accepted, so that after a crash the rows that are in no part can be
//! counted.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::schema::Table;

/// The file's name.
pub(crate) const NAME: &str = "journal";

/// Rows accepted, by table.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    accepted: [u64; 4],
}

// === impl Journal ===

impl Journal {
    pub(crate) fn create(folder: &Path) -> io::Result<Self> {
        let file = File::create(folder.join(NAME))?;
        file.write_all_at(&[0; 32], 0)?;
        Ok(Self { file, accepted: [0; 4] })
    }

    /// Counts one more row, in the page cache: a killed process does not lose it.
    pub(crate) fn accept(&mut self, table: Table) -> io::Result<()> {
        let index = table as usize;
        self.accepted[index] += 1;
        self.file.write_all_at(&self.accepted[index].to_le_bytes(), 8 * index as u64)
    }

    /// Reads the counts of a dataset, if there is a whole journal.
    pub(crate) fn read(folder: &Path) -> Option<[u64; 4]> {
        let bytes: [u8; 32] = std::fs::read(folder.join(NAME)).ok()?.try_into().ok()?;
        let count = |index: usize| {
            u64::from_le_bytes(bytes[8 * index..8 * index + 8].try_into().expect("eight bytes"))
        };
        Some([count(0), count(1), count(2), count(3)])
    }
}
