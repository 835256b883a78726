//! The tables: which columns there are, of which type, and which of them name a row.
//!
//! Columns bear the names of the fields of their record, so that a row, a record and a line of a
//! backup are three spellings of one thing.

mod catalog;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::catalog::{SETTLED_CLAIMS, TABLES};
use crate::statement::Kind;

/// A column; whether it may be empty is up to the migrations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// A table, or the columns of a view of tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// The version of the schema that brought it.
    pub(crate) since: u64,
    /// The first columns of every table are those that name a row.
    pub(crate) key_count: usize,
    pub(crate) columns: &'static [Column],
}

/// A struct whose fields are the columns of a table.
pub(crate) trait Record: Serialize + DeserializeOwned {
    const TABLE: &'static Table;
}

// === impl Table ===

impl Table {
    /// The columns as a list for SQL, quoted.
    pub(crate) fn column_list(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|c| format!("\"{}\"", c.name)).collect();
        names.join(", ")
    }

    /// The columns that name a row.
    pub(crate) fn key(&self) -> &'static [Column] {
        &self.columns[..self.key_count]
    }

    /// `SELECT <columns> FROM <table>`, to be continued.
    pub(crate) fn select(&self) -> String {
        format!("SELECT {} FROM {}", self.column_list(), self.name)
    }

    /// `INSERT INTO <table> (…) VALUES ($1, …)`, to be continued.
    pub(crate) fn insert(&self) -> String {
        let places: Vec<String> = (1..=self.columns.len()).map(|n| format!("${n}")).collect();
        let (columns, places) = (self.column_list(), places.join(", "));
        format!("INSERT INTO {} ({columns}) VALUES ({places})", self.name)
    }

    /// `UPDATE <table> SET … WHERE <key> = …`, with a place for every column in order.
    pub(crate) fn update(&self) -> String {
        let assign =
            |(index, column): (usize, &Column)| format!("\"{}\" = ${}", column.name, index + 1);
        let pairs: Vec<String> = self.columns.iter().enumerate().map(assign).collect();
        let (key, rest) = pairs.split_at(self.key_count);
        format!("UPDATE {} SET {} WHERE {}", self.name, rest.join(", "), key.join(" AND "))
    }

    /// Like [`Table::insert`], but a row of the same key is replaced.
    pub(crate) fn upsert(&self) -> String {
        let (key, rest) = self.columns.split_at(self.key_count);
        let key: Vec<String> = key.iter().map(|c| format!("\"{}\"", c.name)).collect();
        let assign = |c: &Column| format!("\"{0}\" = excluded.\"{0}\"", c.name);
        let rest: Vec<String> = rest.iter().map(assign).collect();
        let (insert, key, rest) = (self.insert(), key.join(", "), rest.join(", "));
        format!("{insert} ON CONFLICT ({key}) DO UPDATE SET {rest}")
    }
}
