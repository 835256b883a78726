//! Backups that are taken while the store is used, and restored into either database.

mod dump;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use self::dump::{DumpReader, DumpWriter};
use crate::content::{Content, Line, Tally, Walk, content_of};
use crate::database::{Database, Transaction};
use crate::error::StoreError;
use crate::row::row_from_fields;
use crate::schema;
use crate::statement::Statement;
use crate::store::Store;
use crate::table::TABLES;

/// How every SQLite file begins.
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";

const RESTORING: &str = "restoring a backup";

// === impl Store ===

impl Store {
    /// Writes all records into a new file while the store is used, and says what is in it: for
    /// SQLite a database, for PostgreSQL the same as [`Store::dump`].
    ///
    /// # Errors
    ///
    /// [`StoreError::File`] if the file exists.
    pub async fn backup(&self, path: &Path) -> Result<Content, StoreError> {
        let Database::Sqlite(database) = &self.database else { return self.dump(path).await };
        refuse_existing(path)?;
        let part = part_of(path);
        let named = part.to_str().ok_or(StoreError::Invalid {
            doing: "copying the store",
            reason: "the path of the backup is not UTF-8",
        })?;
        remove_if_present(&part)?;
        let copied = async {
            database.copy_into(named).await?;
            let copy = Self { database: Database::open_file(&part).await? };
            let content = copy.content().await;
            copy.close().await;
            content
        };
        finish(copied.await, &part, path)
    }

    /// Writes all records as they are at this moment into a new file of JSON lines, which can be
    /// restored into either database, and says what is in it.
    ///
    /// # Errors
    ///
    /// [`StoreError::File`] if the file exists.
    pub async fn dump(&self, path: &Path) -> Result<Content, StoreError> {
        refuse_existing(path)?;
        let part = part_of(path);
        let written = async {
            let schema = self.schema_version().await?;
            let mut snapshot = self.database.snapshot("dumping the store").await?;
            let mut writer = DumpWriter::create(&part, schema)?;
            let mut walk = Walk::of(schema);
            while let Some(lines) = walk.next(&mut snapshot).await? {
                for line in &lines {
                    writer.write(line)?;
                }
            }
            writer.finish()
        };
        finish(written.await, &part, path)
    }

    /// Restores a backup or a dump into an empty store, which is created if it is absent.
    ///
    /// Everything is restored, or nothing: what was written is read again and compared with the
    /// backup by counts and digest before it takes effect.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the store holds records; [`StoreError::Corrupt`] if the backup
    /// does not add up; [`StoreError::Schema`] if it was made by a newer Prophecy.
    pub async fn restore(path: &Path, into: &str) -> Result<Content, StoreError> {
        let is_database = begins_with_magic(path)?;
        let store = Self::open(into).await?;
        let mut transaction = store.begin(RESTORING).await?;
        empty(&mut transaction).await?;
        let offered = if is_database {
            fill_from_database(&mut transaction, path).await?
        } else {
            fill_from_dump(&mut transaction, path).await?
        };
        let restored = content_of(&mut transaction, schema::VERSION).await?;
        if restored != offered {
            return Err(StoreError::corrupt("the restored store", "it differs from the backup"));
        }
        transaction.commit(RESTORING).await?;
        store.close().await;
        Ok(restored)
    }
}

async fn fill_from_database(
    transaction: &mut Transaction,
    path: &Path,
) -> Result<Content, StoreError> {
    let source = Store { database: Database::open_file(path).await? };
    let schema = source.schema_version().await?;
    let mut snapshot = source.database.snapshot(RESTORING).await?;
    let (mut walk, mut tally) = (Walk::of(schema), Tally::new());
    while let Some(lines) = walk.next(&mut snapshot).await? {
        for line in lines {
            tally.add(&line);
            insert_line(transaction, line).await?;
        }
    }
    Ok(tally.content())
}

async fn fill_from_dump(transaction: &mut Transaction, path: &Path) -> Result<Content, StoreError> {
    let mut reader = DumpReader::open(path)?;
    while let Some(line) = reader.next()? {
        insert_line(transaction, line).await?;
    }
    reader.finish()
}

/// Checks that a store holds nothing, and takes out the counters that every store begins with.
async fn empty(transaction: &mut Transaction) -> Result<(), StoreError> {
    let started = "SELECT COUNT(*) FROM counters WHERE value > 0";
    let mut found = transaction.number(Statement::new(RESTORING, started)).await?.unwrap_or(0);
    for table in TABLES.iter().filter(|table| table.name != "counters") {
        let sql = format!("SELECT COUNT(*) FROM {}", table.name);
        found += transaction.number(Statement::new(RESTORING, sql)).await?.unwrap_or(0);
    }
    if found > 0 {
        let what = "the store to restore into".to_owned();
        let (found, expected) = (format!("{found} records"), "none".to_owned());
        return Err(StoreError::Conflict { what, found, expected });
    }
    transaction.execute(Statement::new(RESTORING, "DELETE FROM counters")).await.map(drop)
}

async fn insert_line(transaction: &mut Transaction, line: Line) -> Result<(), StoreError> {
    let corrupt = |reason: &str| StoreError::corrupt("the backup", reason);
    let table = TABLES.iter().find(|table| table.name == line.table);
    let table = table.ok_or_else(|| corrupt("it has a row of an unknown table"))?;
    let mut fields = line.row;
    let values = row_from_fields(table, &mut fields).map_err(corrupt)?;
    if !fields.is_empty() {
        return Err(corrupt("a row has a column that its table has not"));
    }
    let sql = table.insert().into();
    match transaction.execute(Statement { doing: RESTORING, sql, values }).await {
        Err(StoreError::Invalid { reason, .. }) => Err(corrupt(reason)),
        Err(StoreError::Conflict { .. }) => Err(corrupt("it has a record twice")),
        other => other.map(drop),
    }
}

/// Gives a finished file its name, or removes an unfinished one.
fn finish(
    result: Result<Content, StoreError>,
    part: &Path,
    path: &Path,
) -> Result<Content, StoreError> {
    let named = result.and_then(|content| {
        let synced = File::open(part).and_then(|file| file.sync_all());
        synced.map_err(|source| of_file("sync", part, source))?;
        std::fs::rename(part, path).map_err(|source| of_file("rename to", path, source))?;
        Ok(content)
    });
    if named.is_err() {
        remove_if_present(part)?;
    }
    named
}

fn part_of(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn refuse_existing(path: &Path) -> Result<(), StoreError> {
    if path.exists() {
        return Err(of_file("create", path, io::ErrorKind::AlreadyExists.into()));
    }
    Ok(())
}

fn remove_if_present(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(of_file("remove", path, source))
        }
        _ => Ok(()),
    }
}

fn begins_with_magic(path: &Path) -> Result<bool, StoreError> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
    read.map_err(|source| of_file("read", path, source))?;
    Ok(head == SQLITE_MAGIC)
}

/// Tells a full disk from other troubles with a file.
fn of_file(doing: &'static str, path: &Path, source: io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::Full { doing: "writing a backup" }
        }
        _ => StoreError::File { doing, path: path.to_owned(), source },
    }
}
