//! A real database: SQLite in a file, with real indexes and locks.

mod sample;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prophecy_core::Seed;
use rusqlite::Connection;
use rusqlite::types::{Value as SqlValue, ValueRef};
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::config::DatabaseConfig;

/// A database and its connections.
#[derive(Debug)]
pub(crate) struct Database {
    slots: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

/// Why a database cannot be used.
#[derive(Debug, Error)]
pub(crate) enum OpenDatabaseError {
    /// The file cannot be opened or filled.
    #[error("cannot open the database `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A statement of the configuration is not valid.
    #[error("cannot prepare the query of {place}")]
    Prepare {
        /// The route.
        place: String,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A statement has other parameters than are given.
    #[error("the query of {place} has {found} parameters, and is given {given}")]
    Parameters {
        /// The route.
        place: String,
        /// In the statement.
        found: usize,
        /// In the configuration.
        given: usize,
    },
}

/// A statement failed.
#[derive(Debug, Error)]
#[error("cannot run the query")]
pub(crate) struct QueryError(#[from] rusqlite::Error);

// === impl Database ===

impl Database {
    /// Opens a database, after making and filling it if there is none.
    ///
    /// # Errors
    ///
    /// [`OpenDatabaseError::Open`].
    pub(crate) fn open(config: &DatabaseConfig, seed: Seed) -> Result<Self, OpenDatabaseError> {
        let connections = (|| {
            let mut first = connect(config)?;
            sample::prepare(&mut first, config, seed)?;
            let mut connections = vec![first];
            for _ in 1..config.connections {
                connections.push(connect(config)?);
            }
            Ok(connections)
        })();
        let connections = connections
            .map_err(|source| OpenDatabaseError::Open { path: config.path.clone(), source })?;
        Ok(Self { slots: Semaphore::new(connections.len()), idle: Mutex::new(connections) })
    }

    /// Checks a statement before anybody needs it.
    ///
    /// # Errors
    ///
    /// [`OpenDatabaseError::Prepare`] and [`OpenDatabaseError::Parameters`].
    pub(crate) fn check(
        &self,
        place: &str,
        sql: &str,
        given: usize,
    ) -> Result<(), OpenDatabaseError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = idle.first().expect("no query runs before the service has started");
        let statement = connection
            .prepare(sql)
            .map_err(|source| OpenDatabaseError::Prepare { place: place.to_owned(), source })?;
        let found = statement.parameter_count();
        if found == given {
            return Ok(());
        }
        Err(OpenDatabaseError::Parameters { place: place.to_owned(), found, given })
    }

    /// Runs a statement on a thread that may block, and returns its rows.
    ///
    /// # Errors
    ///
    /// [`QueryError`], for one if the database stays locked.
    pub(crate) async fn query(
        self: &Arc<Self>,
        sql: String,
        params: Vec<Value>,
    ) -> Result<Vec<Value>, QueryError> {
        let slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let database = Arc::clone(self);
        let work = move || {
            let lock = || database.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let connection = lock().pop().expect("there is a connection for each slot");
            let rows = rows_of(&connection, &sql, params);
            lock().push(connection);
            rows
        };
        let rows = tokio::task::spawn_blocking(work).await.expect("a query does not panic");
        drop(slot);
        Ok(rows?)
    }
}

fn connect(config: &DatabaseConfig) -> rusqlite::Result<Connection> {
    let connection = Connection::open(&config.path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // With a write-ahead log this loses the last writes on a power cut, and never consistency.
    connection.pragma_update(None, "synchronous", "normal")?;
    Ok(connection)
}

fn rows_of(connection: &Connection, sql: &str, params: Vec<Value>) -> rusqlite::Result<Vec<Value>> {
    let mut statement = connection.prepare_cached(sql)?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut rows = statement.query(rusqlite::params_from_iter(params.into_iter().map(to_sql)))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut fields = Map::new();
        for (index, column) in columns.iter().enumerate() {
            fields.insert(column.clone(), from_sql(row.get_ref(index)?));
        }
        found.push(Value::Object(fields));
    }
    Ok(found)
}

/// Returns a value as SQLite has it. Text that is a number is compared as one, since a value from a
/// path is always text; lists and objects go as JSON, for `json_each`.
fn to_sql(value: Value) -> SqlValue {
    match value {
        Value::Null => SqlValue::Null,
        Value::Bool(is_true) => SqlValue::Integer(i64::from(is_true)),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => SqlValue::Integer(integer),
            None => number.as_f64().map_or(SqlValue::Null, SqlValue::Real),
        },
        Value::String(text) => text.parse().map_or(SqlValue::Text(text), SqlValue::Integer),
        list_or_object => SqlValue::Text(list_or_object.to_string()),
    }
}

fn from_sql(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::from(integer),
        ValueRef::Real(real) => Value::from(real),
        ValueRef::Text(text) => Value::from(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::from(bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Rows;

    fn config(folder: &tempfile::TempDir) -> DatabaseConfig {
        let rows = Rows { customers: 5, items: 40, orders: 100 };
        let path = folder.path().join("shop.db");
        DatabaseConfig { path, rows, indexes: true, connections: 2 }
    }

    #[tokio::test]
    async fn makes_the_same_rows_from_the_same_seed() {
        let mut answers = Vec::new();
        for seed in [7, 7, 8] {
            let folder = tempfile::tempdir().expect("a folder");
            let database = Database::open(&config(&folder), Seed(seed)).expect("opens");
            let sql = "SELECT c.*, o.id AS order_id, o.quantity FROM orders o \
                JOIN customers c ON c.id = o.customer_id WHERE o.id <= ?1";
            let rows = Arc::new(database).query(sql.to_owned(), vec![json!("3")]).await;
            answers.push(rows.expect("valid"));
        }
        assert_eq!(answers[0].len(), 3);
        assert_eq!(answers[0], answers[1]);
        assert_ne!(answers[0], answers[2]);
    }

    #[tokio::test]
    async fn keeps_a_file_and_changes_its_indexes_to_match() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(&folder);
        for has_indexes in [true, false, true] {
            config.indexes = has_indexes;
            let database = Arc::new(Database::open(&config, Seed(7)).expect("opens"));
            let plan = "EXPLAIN QUERY PLAN SELECT quantity FROM orders WHERE item_id = ?1";
            let rows = database.query(plan.to_owned(), vec![json!(1)]).await.expect("valid");
            let detail = rows[0]["detail"].as_str().expect("text");
            assert_eq!(detail.starts_with("SEARCH"), has_indexes, "{detail}");
            let count = "SELECT count(*) AS n FROM orders".to_owned();
            let rows = database.query(count, vec![]).await.expect("valid");
            assert_eq!(rows, [json!({ "n": 100 })]);
        }
    }

    #[tokio::test]
    async fn returns_what_a_write_returns_and_reads_lists() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = Arc::new(Database::open(&config(&folder), Seed(7)).expect("opens"));
        let insert = "INSERT INTO orders (customer_id, item_id, quantity) VALUES (?1, ?2, ?3) \
            RETURNING id";
        let values = vec![json!(1), json!(2), json!(3.5)];
        let rows = database.query(insert.to_owned(), values).await.expect("valid");
        assert_eq!(rows, [json!({ "id": 101 })]);
        let list = "SELECT count(*) AS n FROM items WHERE sku IN (SELECT value FROM json_each(?1))";
        let values = vec![json!(["SKU-00001", "SKU-00040", "SKU-00041"])];
        let rows = database.query(list.to_owned(), values).await.expect("valid");
        assert_eq!(rows, [json!({ "n": 2 })]);
    }

    #[test]
    fn refuses_a_statement_before_anybody_needs_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = Database::open(&config(&folder), Seed(7)).expect("opens");
        let check = |sql: &str, given: usize, expected: &str| {
            let error = database.check("route `GET /`", sql, given).expect_err(sql);
            assert!(error.to_string().contains(expected), "{error}");
        };
        check("SELECT nothing FROM nowhere", 0, "cannot prepare the query of route `GET /`");
        check("SELECT ?1, ?2", 1, "has 2 parameters, and is given 1");
        assert!(database.check("route `GET /`", "SELECT ?1", 1).is_ok());
    }
}
