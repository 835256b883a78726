//! Where a test keeps its store: each test runs in every place there is.

use std::sync::Arc;
use std::time::Duration;

use prophecy_store::{Store, StoreOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;

use crate::server::{Server, connect};

/// An empty place for a store, and a folder.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) folder: TempDir,
    _server: Option<Arc<Server>>,
}

/// Statements past the store, on a connection that stays open.
pub(crate) enum Raw {
    Sqlite(sqlx::SqliteConnection),
    Postgres(sqlx::PgConnection),
}

// === impl Place ===

impl Place {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        Self { url, folder, _server: None }
    }

    pub(crate) async fn postgres() -> Option<Self> {
        let server = Server::shared()?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        Some(Self { url: server.database().await, folder, _server: Some(server) })
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    pub(crate) async fn store(&self) -> Store {
        // Other tests keep the machine busy; the wait is no part of what most tests look at.
        let options = StoreOptions { wait: Duration::from_mins(1), ..StoreOptions::default() };
        Store::open_with(&self.url, options).await.expect("the store opens")
    }

    pub(crate) async fn impatient_store(&self) -> Store {
        let options = StoreOptions { wait: Duration::from_millis(300), ..StoreOptions::default() };
        Store::open_with(&self.url, options).await.expect("the store opens")
    }

    pub(crate) async fn raw(&self) -> Raw {
        if self.is_postgres() {
            return Raw::Postgres(connect(&self.url).await);
        }
        let path = self.url.trim_start_matches("sqlite:");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        Raw::Sqlite(options.connect().await.expect("the file opens"))
    }
}

// === impl Raw ===

impl Raw {
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => {
                sqlx::raw_sql(sql).execute(&mut *connection).await.map(drop)
            }
            Self::Postgres(connection) => {
                sqlx::raw_sql(sql).execute(&mut *connection).await.map(drop)
            }
        }
    }

    pub(crate) async fn close(self) {
        let closed = match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        };
        closed.expect("closed");
    }
}

/// Runs a test over SQLite, then over PostgreSQL where that is installed.
pub(crate) async fn each(test: impl AsyncFn(Place)) {
    test(Place::sqlite()).await;
    if let Some(place) = Place::postgres().await {
        test(place).await;
    }
}
