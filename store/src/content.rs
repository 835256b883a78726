//! All that a store holds, row by row in one order, and its digest: the same for the same records
//! in either database.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::database::Transaction;
use crate::error::StoreError;
use crate::row::{Row, fields_of};
use crate::statement::Statement;
use crate::store::{Store, kinds};
use crate::table::{TABLES, Table};

/// What a store or a backup holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Rows by table; a table without rows is absent.
    pub counts: BTreeMap<String, u64>,
    /// The BLAKE3 hash of all rows, in hexadecimal.
    pub digest: String,
}

/// One row of a backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) table: String,
    pub(crate) row: Map<String, Json>,
}

/// Reads all tables of a store, some rows at a time.
#[derive(Debug)]
pub(crate) struct Walk {
    tables: Vec<&'static Table>,
    last: Option<Row>,
}

/// Counts and hashes rows on their way.
#[derive(Debug)]
pub(crate) struct Tally {
    counts: BTreeMap<String, u64>,
    hasher: blake3::Hasher,
}

/// Reports may be large.
const BATCH: u64 = 200;

// === impl Walk ===

impl Walk {
    /// A walk over the tables that a schema has.
    pub(crate) fn of(schema: u64) -> Self {
        let tables = TABLES.iter().rev().filter(|table| table.since <= schema);
        Self { tables: tables.copied().collect(), last: None }
    }

    /// Returns the next rows as lines, or nothing at the end.
    pub(crate) async fn next(
        &mut self,
        transaction: &mut Transaction,
    ) -> Result<Option<Vec<Line>>, StoreError> {
        while let Some(table) = self.tables.last() {
            let statement = after(table, self.last.as_ref());
            let rows = transaction.rows(statement, &kinds(table)).await?;
            if let Some(last) = rows.last() {
                self.last = Some(last[..table.key_count].to_vec());
                let line = |row| Line { table: table.name.to_owned(), row: fields_of(table, row) };
                return Ok(Some(rows.into_iter().map(line).collect()));
            }
            self.last = None;
            self.tables.pop();
        }
        Ok(None)
    }
}

/// The rows of a table after the one with this key.
fn after(table: &Table, key: Option<&Row>) -> Statement {
    let names: Vec<String> = table.key().iter().map(|c| format!("\"{}\"", c.name)).collect();
    let names = names.join(", ");
    let mut statement = Statement::new("reading all records", table.select());
    if let Some(key) = key {
        let places: Vec<String> = (1..=key.len()).map(|n| format!("${n}")).collect();
        statement = statement.push(&format!(" WHERE ({names}) > ({})", places.join(", ")));
        statement.values.extend(key.iter().cloned());
    }
    statement.push(&format!(" ORDER BY {names}")).filter("LIMIT", Some(BATCH))
}

// === impl Tally ===

impl Tally {
    pub(crate) fn new() -> Self {
        Self { counts: BTreeMap::new(), hasher: blake3::Hasher::new() }
    }

    /// Counts a row, and returns it as text without the end of its line.
    pub(crate) fn add(&mut self, line: &Line) -> String {
        let text = serde_json::to_string(line).expect("names, numbers and texts are JSON");
        self.hasher.update(text.as_bytes());
        self.hasher.update(b"\n");
        *self.counts.entry(line.table.clone()).or_default() += 1;
        text
    }

    pub(crate) fn content(self) -> Content {
        Content { counts: self.counts, digest: self.hasher.finalize().to_hex().to_string() }
    }
}

// === impl Store ===

impl Store {
    /// Counts and hashes everything the store holds at this moment.
    pub async fn content(&self) -> Result<Content, StoreError> {
        let schema = self.schema_version().await?;
        let mut snapshot = self.database.snapshot("reading all records").await?;
        content_of(&mut snapshot, schema).await
    }
}

/// Counts and hashes what a transaction sees.
pub(crate) async fn content_of(
    transaction: &mut Transaction,
    schema: u64,
) -> Result<Content, StoreError> {
    let (mut walk, mut tally) = (Walk::of(schema), Tally::new());
    while let Some(lines) = walk.next(transaction).await? {
        lines.iter().for_each(|line| drop(tally.add(line)));
    }
    Ok(tally.content())
}
