//! SQLite: many readers and one writer on a file.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use super::{bound, rows, values};
use crate::error::StoreError;
use crate::row::Row;
use crate::statement::{Kind, Statement};
use crate::store::StoreOptions;

/// A file, with connections that read and one that writes.
///
/// One writing connection makes the writers of a process wait in line for each other, instead of
/// each polling the lock; the lock remains for writers of other processes.
#[derive(Clone)]
pub(crate) struct SqliteDatabase {
    path: PathBuf,
    /// Tells the file that was opened from one that took its name.
    inode: u64,
    readers: SqlitePool,
    writer: SqlitePool,
}

// === impl SqliteDatabase ===

impl SqliteDatabase {
    pub(crate) async fn open(path: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        const DOING: &str = "opening the store";
        let named = path.to_str().filter(|name| !name.is_empty() && !name.contains(":memory:"));
        if named.is_none() {
            return Err(StoreError::Address { reason: "it names no file" });
        }
        create_private(path).map_err(|error| of_file(DOING, &error))?;
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // What was committed stays committed when the power fails.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(options.wait)
            .foreign_keys(true);
        let pool = || {
            SqlitePoolOptions::new()
                .acquire_timeout(options.wait)
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let failed = |error| StoreError::from_sqlite(DOING, error);
        let writer = pool().max_connections(1).connect_with(connect.clone()).await;
        let writer = writer.map_err(failed)?;
        let reading = connect.pragma("query_only", "on");
        let readers = pool().max_connections(options.readers).connect_with(reading).await;
        let readers = readers.map_err(failed)?;
        let inode = fs::metadata(path).map_err(|error| of_file(DOING, &error))?.ino();
        Ok(Self { path: path.to_owned(), inode, readers, writer })
    }

    pub(crate) async fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        const DOING: &str = "opening the backup";
        let inode = fs::metadata(path).map_err(|error| of_file(DOING, &error))?.ino();
        let connect = SqliteConnectOptions::new().filename(path).read_only(true);
        let readers = SqlitePoolOptions::new().max_connections(1).connect_with(connect).await;
        let readers = readers.map_err(|error| StoreError::from_sqlite(DOING, error))?;
        Ok(Self { path: path.to_owned(), inode, writer: readers.clone(), readers })
    }

    /// Whether the path still names the file that was opened: SQLite goes on writing to a deleted
    /// one, and everything written would be lost.
    pub(crate) fn check_file(&self, doing: &'static str) -> Result<(), StoreError> {
        match fs::metadata(&self.path) {
            Ok(found) if found.ino() == self.inode => Ok(()),
            Ok(_) => Err(StoreError::Gone { doing, reason: "another file has its name".into() }),
            Err(error) => Err(of_file(doing, &error)),
        }
    }

    pub(crate) async fn begin(
        &self,
        doing: &'static str,
    ) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, StoreError> {
        self.check_file(doing)?;
        // A transaction that begins by reading could not become a writing one under contention.
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        begun.map_err(|error| StoreError::from_sqlite(doing, error))
    }

    pub(crate) async fn snapshot(
        &self,
        doing: &'static str,
    ) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, StoreError> {
        let begun = self.readers.begin().await;
        begun.map_err(|error| StoreError::from_sqlite(doing, error))
    }

    pub(crate) async fn read(
        &self,
        statement: Statement,
        kinds: &[Kind],
    ) -> Result<Vec<Row>, StoreError> {
        let doing = statement.doing;
        rows!(statement, kinds, &self.readers)
            .map_err(|error| StoreError::from_sqlite(doing, error))
    }

    /// Copies the store into a new file while it is used.
    pub(crate) async fn copy_into(&self, path: &str) -> Result<(), StoreError> {
        // SQLite copies into an empty file, and gives it nobody else's permissions.
        create_private(Path::new(path)).map_err(|error| of_file("copying the store", &error))?;
        let statement = Statement::new("copying the store", "VACUUM INTO $1").bind(path);
        let failed = |error| StoreError::from_sqlite("copying the store", error);
        // A connection of its own, for a copy may take long: readers and writers go on.
        let connect = SqliteConnectOptions::new().filename(&self.path);
        let mut connection = connect.connect().await.map_err(failed)?;
        let done = bound!(statement).execute(&mut connection).await.map_err(failed);
        connection.close().await.map_err(failed)?;
        done.map(drop)
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Creates the file if it is absent, readable by its owner only: it holds hashes of tokens.
fn create_private(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    match file {
        // Whether a read-only file will do is for SQLite to say.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && path.exists() => {
            Ok(())
        }
        other => other.map(drop),
    }
}

fn of_file(doing: &'static str, error: &std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            StoreError::Full { doing }
        }
        std::io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { doing },
        kind => StoreError::Gone { doing, reason: format!("its file: {kind}") },
    }
}
