//! PostgreSQL: a pool of connections to a server.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use super::{bound, rows, values};
use crate::error::StoreError;
use crate::row::Row;
use crate::statement::{Kind, Statement};
use crate::store::StoreOptions;

/// A server, with connections that both read and write.
#[derive(Clone)]
pub(crate) struct PostgresDatabase {
    pool: PgPool,
}

// === impl PostgresDatabase ===

impl PostgresDatabase {
    pub(crate) async fn open(url: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        // The error of the parser may repeat the address, which may hold a password.
        let connect = PgConnectOptions::from_str(url)
            .map_err(|_| StoreError::Address { reason: "it is no address of PostgreSQL" })?;
        let wait_ms = options.wait.as_millis().to_string();
        let connect = connect
            .application_name("prophecy")
            .options([("lock_timeout", wait_ms.as_str()), ("client_encoding", "UTF8")]);
        let pool = PgPoolOptions::new()
            .max_connections(options.readers)
            .acquire_timeout(options.wait)
            .connect_with(connect)
            .await;
        let pool = pool.map_err(|error| failure("opening the store", error))?;
        Ok(Self { pool })
    }

    pub(crate) async fn begin(
        &self,
        doing: &'static str,
    ) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, StoreError> {
        self.pool.begin().await.map_err(|error| failure(doing, error))
    }

    pub(crate) async fn snapshot(
        &self,
        doing: &'static str,
    ) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, StoreError> {
        let begun = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await;
        begun.map_err(|error| failure(doing, error))
    }

    pub(crate) async fn read(
        &self,
        statement: Statement,
        kinds: &[Kind],
    ) -> Result<Vec<Row>, StoreError> {
        let doing = statement.doing;
        rows!(statement, kinds, &self.pool).map_err(|error| failure(doing, error))
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// A pool that finds no connection in time means here that the server does not answer: it goes on
/// trying to connect until then.
fn failure(doing: &'static str, error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::PoolTimedOut => {
            StoreError::Gone { doing, reason: "the server gave no connection in time".to_owned() }
        }
        error => StoreError::from_postgres(doing, error),
    }
}
