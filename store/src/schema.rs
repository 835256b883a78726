//! The migrations, and bringing a store up to them.

use crate::database::{Database, Transaction};
use crate::error::StoreError;
use crate::statement::{Kind, Statement, Value};

/// The newest schema this program knows.
pub(crate) const VERSION: u64 = MIGRATIONS.len() as u64;

/// A step from one version of the schema to the next, in the words of each database.
struct Migration {
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! migration {
    ($name:literal) => {
        Migration {
            name: $name,
            sqlite: include_str!(concat!("../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../migrations/postgres/", $name, ".sql")),
        }
    };
}

/// In order; the first makes version 1. A migration that was released never changes.
const MIGRATIONS: [Migration; 3] =
    [migration!("0001_forecasts"), migration!("0002_rollouts"), migration!("0003_access")];

const DOING: &str = "migrating the store";

/// Any number will do, as long as every Prophecy locks the same.
const LOCK: i64 = 0x70_72_6f_70_68_65_63_79;

/// Brings a store up to a version; several programs may do so at one time.
///
/// # Errors
///
/// [`StoreError::Schema`] if the store is newer, [`StoreError::Corrupt`] if it was made by other
/// migrations than these.
pub(crate) async fn migrate(database: &Database, up_to: u64) -> Result<(), StoreError> {
    // A store that is up to date opens while others hold its lock.
    if found(database).await? == Some(VERSION) {
        return Ok(());
    }
    let mut transaction = database.begin(DOING).await?;
    let postgres = database.is_postgres();
    if postgres {
        let lock = "SELECT COUNT(pg_advisory_xact_lock($1))";
        transaction.number(Statement::new(DOING, lock).bind(LOCK)).await?;
    }
    let table = "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT NOT NULL PRIMARY KEY, \
                 name TEXT NOT NULL, digest TEXT NOT NULL)";
    transaction.execute(Statement::new(DOING, table)).await?;
    let rows = transaction.rows(versions(), &VERSION_KINDS).await?;
    let present = verify(postgres, &rows)?;
    for (index, migration) in MIGRATIONS.iter().enumerate() {
        let version = index as u64 + 1;
        if version > present && version <= up_to {
            run(&mut transaction, postgres, version, migration).await?;
        }
    }
    transaction.commit(DOING).await
}

/// Returns the version of a store, or `None` if it has none yet.
pub(crate) async fn found(database: &Database) -> Result<Option<u64>, StoreError> {
    let sql = if database.is_postgres() {
        "SELECT COUNT(*) FROM information_schema.tables \
         WHERE table_schema = current_schema() AND table_name = 'schema_versions'"
    } else {
        "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_versions'"
    };
    let exists = database.read(Statement::new(DOING, sql), &[Kind::Integer]).await?;
    if exists != [[Value::Integer(Some(1))]] {
        return Ok(None);
    }
    let rows = database.read(versions(), &VERSION_KINDS).await?;
    verify(database.is_postgres(), &rows).map(Some)
}

const VERSION_KINDS: [Kind; 2] = [Kind::Integer, Kind::Text];

fn versions() -> Statement {
    Statement::new(DOING, "SELECT version, digest FROM schema_versions ORDER BY version")
}

/// Checks what was run against what would be, and returns the version reached.
fn verify(postgres: bool, rows: &[Vec<Value>]) -> Result<u64, StoreError> {
    let reached = rows.len() as u64;
    if reached > VERSION {
        return Err(StoreError::Schema { found: reached, expected: VERSION });
    }
    for (index, (row, migration)) in rows.iter().zip(&MIGRATIONS).enumerate() {
        let [Value::Integer(Some(version)), Value::Text(Some(digest))] = row.as_slice() else {
            return Err(StoreError::corrupt("schema_versions", "a row has no version"));
        };
        if *version != index as i64 + 1 || *digest != migration.digest(postgres) {
            let reason = format!("it is not the migration `{}` of this program", migration.name);
            return Err(StoreError::corrupt(format!("schema version {version}"), reason));
        }
    }
    Ok(reached)
}

async fn run(
    transaction: &mut Transaction,
    postgres: bool,
    version: u64,
    migration: &Migration,
) -> Result<(), StoreError> {
    transaction.script(DOING, migration.sql(postgres)).await?;
    let row = "INSERT INTO schema_versions (version, name, digest) VALUES ($1, $2, $3)";
    let digest = migration.digest(postgres);
    let row = Statement::new(DOING, row).bind(version).bind(migration.name).bind(&digest);
    transaction.execute(row).await.map(drop)
}

// === impl Migration ===

impl Migration {
    fn sql(&self, postgres: bool) -> &'static str {
        if postgres { self.postgres } else { self.sqlite }
    }

    fn digest(&self, postgres: bool) -> String {
        blake3::hash(self.sql(postgres).as_bytes()).to_hex().to_string()
    }
}
