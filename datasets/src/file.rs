//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// What a file under a temporary name ends with.
pub(crate) const TEMPORARY: &str = "tmp";

/// Writes a file under a temporary name, syncs it, renames it, and syncs its folder.
///
/// A crash leaves either the old file, the new one, or a file that ends in `.tmp`.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".");
    temporary.push(TEMPORARY);
    let temporary = Path::new(&temporary);
    let written = File::create(temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written {
        // The disk may be full: what was written of it must not stay.
        drop(fs::remove_file(temporary));
        return Err(error);
    }
    fs::rename(temporary, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
