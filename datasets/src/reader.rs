//! Reads datasets.

use std::fs;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::reader::FileReader;
use prophecy_core::{Connection, Exchange, Metric, Operation};
use thiserror::Error;

use crate::decode;
use crate::manifest::{Manifest, Part, SCHEMA};
use crate::schema::Table;

/// A dataset on disk.
#[derive(Clone, Debug)]
pub struct Dataset {
    folder: PathBuf,
    manifest: Manifest,
}

/// Why a dataset could not be opened.
#[derive(Debug, Error)]
pub enum OpenDatasetError {
    /// The folder or its manifest is not there, or not readable.
    #[error("cannot read dataset `{}`", path.display())]
    Read {
        /// The dataset.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The folder has no manifest.
    #[error("`{}` is not a dataset: it has no `manifest.json`", path.display())]
    NoManifest {
        /// The folder.
        path: PathBuf,
    },
    /// The manifest is not one.
    #[error("the manifest of `{}` does not fit the format: {message}", path.display())]
    Manifest {
        /// The dataset.
        path: PathBuf,
        /// What does not fit.
        message: String,
    },
    /// The dataset is of another version.
    #[error("`{}` has schema `{found}`; this version reads `{SCHEMA}`", path.display())]
    Schema {
        /// The dataset.
        path: PathBuf,
        /// What was found.
        found: String,
    },
}

/// Why a table could not be read.
#[derive(Debug, Error)]
pub enum ReadDatasetError {
    /// A part could not be read.
    #[error("cannot read part `{}`", path.display())]
    Read {
        /// The part.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A part is not the one that was written.
    #[error("part `{}` was altered: {problem}", path.display())]
    Altered {
        /// The part.
        path: PathBuf,
        /// How that is known.
        problem: String,
    },
}

// === impl Dataset ===

impl Dataset {
    /// Opens a dataset, finished or not.
    ///
    /// # Errors
    ///
    /// Each variant of [`OpenDatasetError`].
    pub fn open(folder: &Path) -> Result<Self, OpenDatasetError> {
        let path = folder.to_owned();
        let text = match fs::read(folder.join("manifest.json")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder.is_dir() => {
                return Err(OpenDatasetError::NoManifest { path });
            }
            Err(source) => return Err(OpenDatasetError::Read { path, source }),
        };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| {
            OpenDatasetError::Manifest { path: path.clone(), message: error.to_string() }
        })?;
        let found = value.get("schema").and_then(|schema| schema.as_str()).unwrap_or("none");
        if found != SCHEMA {
            return Err(OpenDatasetError::Schema { path, found: found.to_owned() });
        }
        let manifest = serde_json::from_value(value).map_err(|error| {
            OpenDatasetError::Manifest { path: path.clone(), message: error.to_string() }
        })?;
        Ok(Self { folder: path, manifest })
    }

    /// Returns what the dataset says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns its folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Reads all exchanges, by start.
    ///
    /// # Errors
    ///
    /// Each variant of [`ReadDatasetError`].
    pub fn exchanges(&self) -> Result<Vec<Exchange>, ReadDatasetError> {
        let mut rows = self.rows(Table::Exchanges, decode::exchanges)?;
        rows.sort_by_key(|row| (row.started_at, row.exchange_id));
        Ok(rows)
    }

    /// Reads all operations, by start.
    ///
    /// # Errors
    ///
    /// Each variant of [`ReadDatasetError`].
    pub fn operations(&self) -> Result<Vec<Operation>, ReadDatasetError> {
        let mut rows = self.rows(Table::Operations, decode::operations)?;
        rows.sort_by_key(|row| row.started_at);
        Ok(rows)
    }

    /// Reads all connections, by opening.
    ///
    /// # Errors
    ///
    /// Each variant of [`ReadDatasetError`].
    pub fn connections(&self) -> Result<Vec<Connection>, ReadDatasetError> {
        let mut rows = self.rows(Table::Connections, decode::connections)?;
        rows.sort_by_key(|row| (row.opened_at, row.connection_id));
        Ok(rows)
    }

    /// Reads all metrics, by time.
    ///
    /// # Errors
    ///
    /// Each variant of [`ReadDatasetError`].
    pub fn metrics(&self) -> Result<Vec<Metric>, ReadDatasetError> {
        let mut rows = self.rows(Table::Metrics, decode::metrics)?;
        rows.sort_by_key(|row| row.at);
        Ok(rows)
    }

    fn rows<T>(
        &self,
        table: Table,
        decode: fn(&RecordBatch) -> Option<Vec<T>>,
    ) -> Result<Vec<T>, ReadDatasetError> {
        let mut rows = Vec::new();
        for part in self.manifest.tables.get(table.as_str()).into_iter().flatten() {
            for batch in read_part(&self.folder, part, table)? {
                let path = self.folder.join(&part.path);
                let problem = "a name in it is unknown".to_owned();
                rows.extend(decode(&batch).ok_or(ReadDatasetError::Altered { path, problem })?);
            }
        }
        Ok(rows)
    }
}

/// Reads one part, checking size, digest, schema and rows against the manifest.
pub(crate) fn read_part(
    folder: &Path,
    part: &Part,
    table: Table,
) -> Result<Vec<RecordBatch>, ReadDatasetError> {
    read_columns(folder, part, table, None)
}

/// Reads the columns of these names, or all, of one part, with the same checks.
pub(crate) fn read_columns(
    folder: &Path,
    part: &Part,
    table: Table,
    columns: Option<&[&str]>,
) -> Result<Vec<RecordBatch>, ReadDatasetError> {
    let path = folder.join(&part.path);
    let altered = |problem: String| ReadDatasetError::Altered { path: path.clone(), problem };
    if Path::new(&part.path).file_name().is_none_or(|name| name != part.path.as_str()) {
        // A manifest from elsewhere must not make us read any file of this machine.
        return Err(altered("a part is a file of the dataset's own folder".to_owned()));
    }
    let bytes =
        fs::read(&path).map_err(|source| ReadDatasetError::Read { path: path.clone(), source })?;
    if bytes.len() as u64 != part.bytes {
        return Err(altered(format!(
            "it has {} bytes, the manifest says {}",
            bytes.len(),
            part.bytes
        )));
    }
    if blake3::hash(&bytes).to_hex().as_str() != part.blake3 {
        return Err(altered("its BLAKE3 digest is not that of the manifest".to_owned()));
    }
    let schema = table.schema();
    let indices = columns
        .map(|columns| columns.iter().filter_map(|name| schema.index_of(name).ok()).collect());
    let reader = FileReader::try_new(Cursor::new(bytes), indices)
        .map_err(|error| altered(error.to_string()))?;
    if reader.schema().fields() != schema.fields() {
        return Err(altered(format!("its columns are not those of `{}`", table.as_str())));
    }
    let batches: Vec<RecordBatch> =
        reader.collect::<Result<_, _>>().map_err(|error| altered(error.to_string()))?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if rows as u64 != part.rows {
        return Err(altered(format!("it has {rows} rows, the manifest says {}", part.rows)));
    }
    Ok(batches)
}
