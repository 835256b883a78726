//! A store as lines of JSON: what it is, its rows, and what they add up to.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Lines, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::of_file;
use crate::content::{Content, Line, Tally};
use crate::error::StoreError;
use crate::schema;

const FORMAT: &str = "prophecy.store/1";

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: String,
    schema: u64,
}

/// Any other line: a row, or at the end the content.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Rest {
    Row(Line),
    End(Content),
}

/// Writes a dump.
pub(super) struct DumpWriter {
    path: PathBuf,
    file: BufWriter<File>,
    tally: Tally,
}

/// Reads a dump, and checks it against its last line.
pub(super) struct DumpReader {
    path: PathBuf,
    lines: Lines<BufReader<File>>,
    tally: Tally,
    end: Option<Content>,
}

// === impl DumpWriter ===

impl DumpWriter {
    pub(super) fn create(path: &Path, schema: u64) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
        let file = file.map_err(|source| of_file("create", path, source))?;
        let mut writer =
            Self { path: path.to_owned(), file: BufWriter::new(file), tally: Tally::new() };
        writer.line(&json(&Head { format: FORMAT.to_owned(), schema }))?;
        Ok(writer)
    }

    pub(super) fn write(&mut self, line: &Line) -> Result<(), StoreError> {
        let text = self.tally.add(line);
        self.line(&text)
    }

    pub(super) fn finish(mut self) -> Result<Content, StoreError> {
        let content = std::mem::replace(&mut self.tally, Tally::new()).content();
        self.line(&json(&content))?;
        self.file.flush().map_err(|source| of_file("write", &self.path, source))?;
        Ok(content)
    }

    fn line(&mut self, text: &str) -> Result<(), StoreError> {
        let written = writeln!(self.file, "{text}");
        written.map_err(|source| of_file("write", &self.path, source))
    }
}

// === impl DumpReader ===

impl DumpReader {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|source| of_file("read", path, source))?;
        let lines = BufReader::new(file).lines();
        let mut reader = Self { path: path.to_owned(), lines, tally: Tally::new(), end: None };
        let head = reader.text()?.unwrap_or_default();
        let head: Head = serde_json::from_str(&head)
            .map_err(|_| corrupt("it is neither an SQLite database nor a dump of a store"))?;
        if head.format != FORMAT {
            return Err(corrupt("its format is not `prophecy.store/1`"));
        }
        if head.schema > schema::VERSION {
            return Err(StoreError::Schema { found: head.schema, expected: schema::VERSION });
        }
        Ok(reader)
    }

    pub(super) fn next(&mut self) -> Result<Option<Line>, StoreError> {
        let Some(text) = self.text()? else {
            return Err(corrupt("it ends before its last line"));
        };
        match serde_json::from_str(&text).map_err(|_| corrupt("a line is not a row"))? {
            Rest::Row(line) => {
                self.tally.add(&line);
                Ok(Some(line))
            }
            Rest::End(content) => {
                self.end = Some(content);
                Ok(None)
            }
        }
    }

    /// Checks that the rows were those that were written.
    pub(super) fn finish(mut self) -> Result<Content, StoreError> {
        if self.text()?.is_some() {
            return Err(corrupt("it goes on after its last line"));
        }
        let read = self.tally.content();
        if self.end.as_ref() != Some(&read) {
            return Err(corrupt("its rows do not have the counts and the digest it states"));
        }
        Ok(read)
    }

    fn text(&mut self) -> Result<Option<String>, StoreError> {
        self.lines.next().transpose().map_err(|source| of_file("read", &self.path, source))
    }
}

fn corrupt(reason: &str) -> StoreError {
    StoreError::corrupt("the backup", reason)
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("names and numbers are JSON")
}
