//! Writes datasets: parts first, the manifest last.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::writer::FileWriter;
use prophecy_anonymizer::Sanitized;
use prophecy_core::{Connection, Exchange, Ledger, Metric, Operation, Timestamp};
use thiserror::Error;

use crate::encode;
use crate::file::write_whole;
use crate::journal::Journal;
use crate::manifest::{Anonymization, Manifest, Part, SCHEMA, State};
use crate::schema::Table;

/// What a new dataset says about itself.
#[derive(Clone, Debug)]
pub struct DatasetOptions {
    /// Where its rows come from.
    pub sources: Vec<String>,
    /// The policy's name.
    pub policy_name: String,
    /// The digest of the policy's rules.
    pub policy_digest: String,
    /// The public number of the key.
    pub key_id: String,
    /// The most rows of a part.
    pub part_rows: usize,
}

/// Why a dataset could not be written.
#[derive(Debug, Error)]
pub enum WriteDatasetError {
    /// The folder holds something already.
    #[error("`{}` is not empty; a dataset needs a folder of its own", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// Writes one dataset.
///
/// Dropped without [`DatasetWriter::finish`], it leaves a dataset in state `recording`.
#[derive(Debug)]
pub struct DatasetWriter {
    folder: PathBuf,
    options: DatasetOptions,
    journal: Journal,
    exchanges: Vec<Exchange>,
    operations: Vec<Operation>,
    connections: Vec<Connection>,
    metrics: Vec<Metric>,
    parts: BTreeMap<String, Vec<Part>>,
}

// === impl DatasetWriter ===

impl DatasetWriter {
    /// Starts a dataset in a folder that does not exist or is empty.
    ///
    /// # Errors
    ///
    /// Each variant of [`WriteDatasetError`].
    pub fn create(folder: &Path, options: DatasetOptions) -> Result<Self, WriteDatasetError> {
        let fail = |source| WriteDatasetError::Write { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(fail)?;
        if fs::read_dir(folder).map_err(fail)?.next().is_some() {
            return Err(WriteDatasetError::Occupied { path: folder.to_owned() });
        }
        let journal = Journal::create(folder).map_err(fail)?;
        let writer = Self {
            folder: folder.to_owned(),
            options,
            journal,
            exchanges: Vec::new(),
            operations: Vec::new(),
            connections: Vec::new(),
            metrics: Vec::new(),
            parts: BTreeMap::new(),
        };
        writer.write_manifest(State::Recording, &Ledger::default())?;
        Ok(writer)
    }

    /// Adds an exchange.
    ///
    /// # Errors
    ///
    /// [`WriteDatasetError::Write`] if a full part could not be written.
    pub fn exchange(&mut self, exchange: Sanitized<Exchange>) -> Result<(), WriteDatasetError> {
        self.accept(Table::Exchanges)?;
        self.exchanges.push(exchange.into_inner());
        if self.exchanges.len() >= self.options.part_rows {
            self.flush(Table::Exchanges)
        } else {
            Ok(())
        }
    }

    /// Adds an operation.
    ///
    /// # Errors
    ///
    /// [`WriteDatasetError::Write`] if a full part could not be written.
    pub fn operation(&mut self, operation: Sanitized<Operation>) -> Result<(), WriteDatasetError> {
        self.accept(Table::Operations)?;
        self.operations.push(operation.into_inner());
        if self.operations.len() >= self.options.part_rows {
            self.flush(Table::Operations)
        } else {
            Ok(())
        }
    }

    /// Adds a connection.
    ///
    /// # Errors
    ///
    /// [`WriteDatasetError::Write`] if a full part could not be written.
    pub fn connection(
        &mut self,
        connection: Sanitized<Connection>,
    ) -> Result<(), WriteDatasetError> {
        self.accept(Table::Connections)?;
        self.connections.push(connection.into_inner());
        if self.connections.len() >= self.options.part_rows {
            self.flush(Table::Connections)
        } else {
            Ok(())
        }
    }

    /// Adds a metric.
    ///
    /// # Errors
    ///
    /// [`WriteDatasetError::Write`] if a full part could not be written.
    pub fn metric(&mut self, metric: Sanitized<Metric>) -> Result<(), WriteDatasetError> {
        self.accept(Table::Metrics)?;
        self.metrics.push(metric.into_inner());
        if self.metrics.len() >= self.options.part_rows {
            self.flush(Table::Metrics)
        } else {
            Ok(())
        }
    }

    /// Writes what is buffered, and a manifest in state `recording`.
    ///
    /// # Errors
    ///
    /// [`WriteDatasetError::Write`] if a file could not be written.
    pub fn checkpoint(&mut self, ledger: &Ledger) -> Result<(), WriteDatasetError> {
        Table::ALL.into_iter().try_for_each(|table| self.flush(table))?;
        self.write_manifest(State::Recording, ledger).map(drop)
    }

    /// Writes what is buffered, and the final manifest.
    ///
    /// # Errors
    ///
    /// [`WriteDatasetError::Write`] if a file could not be written.
    pub fn finish(mut self, ledger: &Ledger) -> Result<Manifest, WriteDatasetError> {
        Table::ALL.into_iter().try_for_each(|table| self.flush(table))?;
        self.write_manifest(State::Complete, ledger)
    }
}

impl DatasetWriter {
    fn accept(&mut self, table: Table) -> Result<(), WriteDatasetError> {
        self.journal.accept(table).map_err(|source| WriteDatasetError::Write {
            path: self.folder.join(crate::journal::NAME),
            source,
        })
    }

    fn flush(&mut self, table: Table) -> Result<(), WriteDatasetError> {
        let (batch, times): (RecordBatch, Vec<Timestamp>) = match table {
            Table::Exchanges => {
                let rows = std::mem::take(&mut self.exchanges);
                (encode::exchanges(&rows), rows.iter().map(|row| row.started_at).collect())
            }
            Table::Operations => {
                let rows = std::mem::take(&mut self.operations);
                (encode::operations(&rows), rows.iter().map(|row| row.started_at).collect())
            }
            Table::Connections => {
                let rows = std::mem::take(&mut self.connections);
                (encode::connections(&rows), rows.iter().map(|row| row.opened_at).collect())
            }
            Table::Metrics => {
                let rows = std::mem::take(&mut self.metrics);
                (encode::metrics(&rows), rows.iter().map(|row| row.at).collect())
            }
        };
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let parts = self.parts.entry(table.as_str().to_owned()).or_default();
        let name = format!("{}-{:05}.arrow", table.as_str(), parts.len());
        let path = self.folder.join(&name);
        let bytes = file_of(&batch);
        write_whole(&path, &bytes).map_err(|source| WriteDatasetError::Write { path, source })?;
        parts.push(Part {
            path: name,
            rows: batch.num_rows() as u64,
            bytes: bytes.len() as u64,
            blake3: blake3::hash(&bytes).to_hex().to_string(),
            times: times
                .iter()
                .min()
                .zip(times.iter().max())
                .map(|(first, last)| [first.0, last.0]),
        });
        Ok(())
    }

    fn write_manifest(&self, state: State, ledger: &Ledger) -> Result<Manifest, WriteDatasetError> {
        let times = self.parts.values().flatten().filter_map(|part| part.times);
        let window = times.reduce(|[first, last], [from, to]| [first.min(from), last.max(to)]);
        let manifest = Manifest {
            schema: SCHEMA.to_owned(),
            state,
            window,
            sources: self.options.sources.clone(),
            anonymization: Anonymization {
                policy: self.options.policy_name.clone(),
                digest: self.options.policy_digest.clone(),
                key_id: self.options.key_id.clone(),
            },
            tables: self.parts.clone(),
            ledger: ledger.clone(),
        };
        let text = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
        let path = self.folder.join("manifest.json");
        write_whole(&path, &text).map_err(|source| WriteDatasetError::Write { path, source })?;
        Ok(manifest)
    }
}

/// Returns the Arrow IPC file that holds one batch.
pub(crate) fn file_of(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &batch.schema()).expect("the schema is plain");
    writer.write(batch).expect("writing to memory does not fail");
    writer.into_inner().expect("writing to memory does not fail")
}
