//! Two databases behind one way to run statements.

mod postgres;
mod sqlite;

use std::path::Path;

use self::postgres::PostgresDatabase;
use self::sqlite::SqliteDatabase;
use crate::error::StoreError;
use crate::row::Row;
use crate::statement::{Kind, Statement, Value};
use crate::store::StoreOptions;

/// A database that statements can be run on.
#[derive(Clone)]
pub(crate) enum Database {
    Sqlite(SqliteDatabase),
    Postgres(PostgresDatabase),
}

/// Statements that take effect together or not at all; dropping it undoes them.
pub(crate) enum Transaction {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

/// Makes a query of a statement and binds its values.
macro_rules! bound {
    ($statement:expr) => {{
        let mut query = sqlx::query(sqlx::AssertSqlSafe($statement.sql));
        for value in $statement.values {
            query = match value {
                crate::statement::Value::Text(text) => query.bind(text),
                crate::statement::Value::Integer(number) => query.bind(number),
                crate::statement::Value::Real(number) => query.bind(number),
            };
        }
        query
    }};
}

/// Reads the values of a row whose columns have these kinds.
macro_rules! values {
    ($row:expr, $kinds:expr) => {{
        let mut values = crate::row::Row::with_capacity($kinds.len());
        for (index, kind) in $kinds.iter().enumerate() {
            values.push(match kind {
                crate::statement::Kind::Text => {
                    crate::statement::Value::Text(sqlx::Row::try_get($row, index)?)
                }
                crate::statement::Kind::Integer | crate::statement::Kind::Flag => {
                    crate::statement::Value::Integer(sqlx::Row::try_get($row, index)?)
                }
                crate::statement::Kind::Real => {
                    crate::statement::Value::Real(sqlx::Row::try_get($row, index)?)
                }
            });
        }
        Ok::<_, sqlx::Error>(values)
    }};
}

/// Runs a statement on a pool or a connection and returns its rows.
macro_rules! rows {
    ($statement:expr, $kinds:expr, $on:expr) => {{
        match bound!($statement).fetch_all($on).await {
            Ok(rows) => rows.iter().map(|row| values!(row, $kinds)).collect(),
            Err(error) => Err(error),
        }
    }};
}

pub(crate) use {bound, rows, values};

// === impl Database ===

impl Database {
    pub(crate) async fn open(url: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            SqliteDatabase::open(Path::new(path), options).await.map(Self::Sqlite)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            PostgresDatabase::open(url, options).await.map(Self::Postgres)
        } else {
            Err(StoreError::Address { reason: "it begins with no known scheme" })
        }
    }

    /// Opens an SQLite file to be read only, as a backup is.
    pub(crate) async fn open_file(path: &Path) -> Result<Self, StoreError> {
        SqliteDatabase::open_read_only(path).await.map(Self::Sqlite)
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Begins a transaction that may write.
    pub(crate) async fn begin(&self, doing: &'static str) -> Result<Transaction, StoreError> {
        match self {
            Self::Sqlite(database) => database.begin(doing).await.map(Transaction::Sqlite),
            Self::Postgres(database) => database.begin(doing).await.map(Transaction::Postgres),
        }
    }

    /// Begins a transaction that only reads, and sees the store as it is now until its end.
    pub(crate) async fn snapshot(&self, doing: &'static str) -> Result<Transaction, StoreError> {
        match self {
            Self::Sqlite(database) => database.snapshot(doing).await.map(Transaction::Sqlite),
            Self::Postgres(database) => database.snapshot(doing).await.map(Transaction::Postgres),
        }
    }

    /// Runs a reading statement outside of a transaction.
    pub(crate) async fn read(
        &self,
        statement: Statement,
        kinds: &[Kind],
    ) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(database) => database.read(statement, kinds).await,
            Self::Postgres(database) => database.read(statement, kinds).await,
        }
    }

    /// Whether the database can be reached, and is still the one that was opened.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        if let Self::Sqlite(database) = self {
            database.check_file("checking the store")?;
        }
        let statement = Statement::new("checking the store", "SELECT COUNT(*) FROM counters");
        self.read(statement, &[Kind::Integer]).await.map(drop)
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(database) => database.close().await,
            Self::Postgres(database) => database.close().await,
        }
    }
}

// === impl Transaction ===

impl Transaction {
    /// Runs a statement and returns how many rows it changed.
    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<u64, StoreError> {
        let doing = statement.doing;
        match self {
            Self::Sqlite(transaction) => {
                let done = bound!(statement).execute(&mut **transaction).await;
                let done = done.map_err(|error| StoreError::from_sqlite(doing, error))?;
                Ok(done.rows_affected())
            }
            Self::Postgres(transaction) => {
                let done = bound!(statement).execute(&mut **transaction).await;
                let done = done.map_err(|error| StoreError::from_postgres(doing, error))?;
                Ok(done.rows_affected())
            }
        }
    }

    /// Runs a statement and returns its rows.
    pub(crate) async fn rows(
        &mut self,
        statement: Statement,
        kinds: &[Kind],
    ) -> Result<Vec<Row>, StoreError> {
        let doing = statement.doing;
        match self {
            Self::Sqlite(transaction) => rows!(statement, kinds, &mut **transaction)
                .map_err(|error| StoreError::from_sqlite(doing, error)),
            Self::Postgres(transaction) => rows!(statement, kinds, &mut **transaction)
                .map_err(|error| StoreError::from_postgres(doing, error)),
        }
    }

    /// Runs a statement that returns one number.
    pub(crate) async fn number(&mut self, statement: Statement) -> Result<Option<u64>, StoreError> {
        let rows = self.rows(statement, &[Kind::Integer]).await?;
        Ok(rows.into_iter().next().and_then(|row| match row.into_iter().next() {
            Some(Value::Integer(Some(number))) => u64::try_from(number).ok(),
            _ => None,
        }))
    }

    /// Runs many statements that take no values, as a migration has.
    pub(crate) async fn script(
        &mut self,
        doing: &'static str,
        sql: &'static str,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(transaction) => {
                let done = sqlx::raw_sql(sql).execute(&mut **transaction).await;
                done.map(drop).map_err(|error| StoreError::from_sqlite(doing, error))
            }
            Self::Postgres(transaction) => {
                let done = sqlx::raw_sql(sql).execute(&mut **transaction).await;
                done.map(drop).map_err(|error| StoreError::from_postgres(doing, error))
            }
        }
    }

    /// Makes everything take effect.
    pub(crate) async fn commit(self, doing: &'static str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(transaction) => {
                transaction.commit().await.map_err(|error| StoreError::from_sqlite(doing, error))
            }
            Self::Postgres(transaction) => {
                transaction.commit().await.map_err(|error| StoreError::from_postgres(doing, error))
            }
        }
    }
}
