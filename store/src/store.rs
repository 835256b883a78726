//! The store itself: opening it, and the few ways in which every record is read and written.

use std::fmt;
use std::time::Duration;

use crate::database::{Database, Transaction};
use crate::error::StoreError;
use crate::row::{insertion, record_of};
use crate::schema;
use crate::statement::{Kind, Statement};
use crate::table::{Record, Table};

/// Durable records in one database; clones share its connections.
#[derive(Clone)]
pub struct Store {
    pub(crate) database: Database,
}

/// How a store is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// How long to wait for a lock or a connection before saying so.
    pub wait: Duration,
    /// The most connections that read at one time; for PostgreSQL, that read or write.
    pub readers: u32,
}

// === impl StoreOptions ===

impl Default for StoreOptions {
    fn default() -> Self {
        Self { wait: Duration::from_secs(5), readers: 8 }
    }
}

// === impl Store ===

impl Store {
    /// Opens the store at `sqlite:<path>` or `postgres://…`, and brings its schema up to date.
    ///
    /// An SQLite file is created if it is absent, for its owner only.
    ///
    /// # Errors
    ///
    /// [`StoreError::Schema`] if a newer Prophecy made it; [`StoreError::Gone`] if it cannot be
    /// reached; [`StoreError::Locked`], if it has to be migrated and others hold it.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url, StoreOptions::default()).await
    }

    /// The same with other options.
    pub async fn open_with(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        let database = Database::open(url, &options).await?;
        schema::migrate(&database, schema::VERSION).await?;
        Ok(Self { database })
    }

    /// Opens the store as a program of an earlier schema would have made it.
    ///
    /// It is for tests of migrations: such a store has not all of the tables.
    #[doc(hidden)]
    pub async fn open_at_schema(url: &str, version: u64) -> Result<Self, StoreError> {
        let database = Database::open(url, &StoreOptions::default()).await?;
        schema::migrate(&database, version).await?;
        Ok(Self { database })
    }

    /// The version of the schema.
    pub async fn schema_version(&self) -> Result<u64, StoreError> {
        Ok(schema::found(&self.database).await?.unwrap_or(0))
    }

    /// Whether the store answers, and is still the one that was opened.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.database.check().await
    }

    /// Ends all connections after what they are doing.
    pub async fn close(&self) {
        self.database.close().await;
    }

    pub(crate) async fn begin(&self, doing: &'static str) -> Result<Transaction, StoreError> {
        self.database.begin(doing).await
    }

    pub(crate) async fn all<T: Record>(&self, statement: Statement) -> Result<Vec<T>, StoreError> {
        let rows = self.database.read(statement, &kinds(T::TABLE)).await?;
        rows.into_iter().map(record_of).collect()
    }

    pub(crate) async fn first<T: Record>(
        &self,
        statement: Statement,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.all(statement).await?.into_iter().next())
    }

    /// Returns the record of a table with one column for its key.
    pub(crate) async fn get<T: Record>(
        &self,
        what: &'static str,
        id: &str,
    ) -> Result<T, StoreError> {
        let key = T::TABLE.columns[0].name;
        let sql = format!("{} WHERE \"{key}\" = $1", T::TABLE.select());
        let found = self.first(Statement::new(what, sql).bind(id)).await?;
        found.ok_or_else(|| StoreError::not_found(what, id))
    }

    pub(crate) async fn insert<T: Record>(
        &self,
        doing: &'static str,
        record: &T,
    ) -> Result<(), StoreError> {
        let statement = insertion(doing, record)?;
        self.execute(statement).await.map(drop)
    }

    /// Runs one writing statement, and returns how many rows it changed.
    pub(crate) async fn execute(&self, statement: Statement) -> Result<u64, StoreError> {
        let doing = statement.doing;
        let mut transaction = self.begin(doing).await?;
        let count = transaction.execute(statement).await?;
        transaction.commit(doing).await?;
        Ok(count)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.database.is_postgres() { "Store(PostgreSQL)" } else { "Store(SQLite)" })
    }
}

/// Takes the next `count` numbers of a counter, and returns the last of them.
///
/// Others wait for the end of the transaction before they get theirs: whoever sees a number sees
/// all below it.
pub(crate) async fn take_numbers(
    transaction: &mut Transaction,
    doing: &'static str,
    counter: &str,
    count: u64,
) -> Result<u64, StoreError> {
    let sql = "UPDATE counters SET value = value + $1 WHERE name = $2 RETURNING value";
    let last = transaction.number(Statement::new(doing, sql).bind(count).bind(counter)).await?;
    last.ok_or_else(|| StoreError::corrupt("counters", format!("`{counter}` is absent")))
}

/// The kinds of a table's columns.
pub(crate) fn kinds(table: &Table) -> Vec<Kind> {
    table.columns.iter().map(|column| column.kind).collect()
}
