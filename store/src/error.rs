//! Why the store could not do what it was asked, told apart by what a caller can do about it.

use std::path::PathBuf;

use thiserror::Error;

/// Why the store could not do what it was asked.
///
/// No variant holds a stored value: only names of tables, ids that the caller gave, and codes.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The address names no store; it is not repeated, because it may hold a password.
    #[error("cannot open the store: {reason}; expected `sqlite:<path>` or `postgres://…`")]
    Address {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Others held the store longer than it waits; trying again later can help.
    #[error("{doing}: the store is locked by another writer")]
    Locked {
        /// What was attempted.
        doing: &'static str,
    },
    /// The database cannot be reached, or its file is no longer there.
    #[error("{doing}: the store is gone ({reason})")]
    Gone {
        /// What was attempted.
        doing: &'static str,
        /// How it showed.
        reason: String,
    },
    /// The disk or the quota is full; nothing was written.
    #[error("{doing}: the disk of the store is full")]
    Full {
        /// What was attempted.
        doing: &'static str,
    },
    /// The store may only be read.
    #[error("{doing}: the store is read-only")]
    ReadOnly {
        /// What was attempted.
        doing: &'static str,
    },
    /// The store holds something else than the caller saw.
    #[error("{what}: found {found}, expected {expected}")]
    Conflict {
        /// Which record, or what was attempted.
        what: String,
        /// How it is.
        found: String,
        /// How it was expected to be.
        expected: String,
    },
    /// There is no such record.
    #[error("there is no {what} `{id}`")]
    NotFound {
        /// The kind of record.
        what: &'static str,
        /// The id asked for.
        id: String,
    },
    /// The record cannot be stored as it is.
    #[error("{doing}: the record is refused because {reason}")]
    Invalid {
        /// What was attempted.
        doing: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What is stored, or what a backup holds, contradicts itself.
    #[error("`{what}` is corrupt: {reason}")]
    Corrupt {
        /// The file, table or row.
        what: String,
        /// The contradiction.
        reason: String,
    },
    /// The store was made by a newer Prophecy, or its migrations were changed.
    #[error("the store has schema {found}, expected at most {expected}")]
    Schema {
        /// The version in the store.
        found: u64,
        /// The newest version this program knows.
        expected: u64,
    },
    /// A backup file could not be read or written.
    #[error("cannot {doing} `{}`", path.display())]
    File {
        /// What was attempted.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The database refused for another reason.
    #[error("{doing}: the database answers with code {code}")]
    Database {
        /// What was attempted.
        doing: &'static str,
        /// The code of the database; for a fault in a statement also what it says.
        code: String,
    },
}

// === impl StoreError ===

impl StoreError {
    pub(crate) fn not_found(what: &'static str, id: &str) -> Self {
        Self::NotFound { what, id: id.to_owned() }
    }

    pub(crate) fn corrupt(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.into() }
    }

    /// Tells by the code of an SQLite error what a caller can do.
    ///
    /// # Source
    ///
    /// SQLite, *Result and Error Codes*: the low byte of an extended code is the primary code.
    pub(crate) fn from_sqlite(doing: &'static str, error: sqlx::Error) -> Self {
        let Some((code, message)) = code_of(&error) else { return Self::from_driver(doing, error) };
        let extended: u32 = code.parse().unwrap_or(1);
        match extended & 0xff {
            5 | 6 => Self::Locked { doing },
            8 if extended == 1032 => Self::Gone { doing, reason: "its file was moved".to_owned() },
            8 => Self::ReadOnly { doing },
            13 => Self::Full { doing },
            10 | 14 => Self::Gone { doing, reason: format!("its file fails with code {code}") },
            11 => Self::corrupt("the store", format!("SQLite finds damage, code {code}")),
            26 => Self::corrupt("the store", "it is not an SQLite database"),
            // Raised by a trigger: the audit log refuses to be changed.
            19 if extended == 1811 => Self::Invalid { doing, reason: "it may never be changed" },
            19 => Self::constraint(doing, &error, code),
            1 => Self::Database { doing, code: format!("{code}: {message}") },
            _ => Self::Database { doing, code },
        }
    }

    /// Tells by the SQLSTATE of a PostgreSQL error what a caller can do.
    ///
    /// # Source
    ///
    /// PostgreSQL, appendix A, *PostgreSQL Error Codes*.
    pub(crate) fn from_postgres(doing: &'static str, error: sqlx::Error) -> Self {
        let Some((code, message)) = code_of(&error) else { return Self::from_driver(doing, error) };
        let gone = |reason: &str| Self::Gone { doing, reason: format!("{reason}, code {code}") };
        match code.as_str() {
            "55P03" | "40001" | "40P01" | "53300" | "57014" => Self::Locked { doing },
            "53100" => Self::Full { doing },
            "25006" => Self::ReadOnly { doing },
            "57P01" | "57P02" | "57P03" => gone("the server shuts down or starts up"),
            "3D000" => gone("there is no such database"),
            "28P01" | "28000" => gone("the server refuses the user"),
            "XX001" | "XX002" => Self::corrupt("the store", format!("damage, code {code}")),
            "22021" | "22P05" => Self::Invalid { doing, reason: "a text holds a zero byte" },
            // Raised by a trigger: the audit log refuses to be changed.
            "P0001" => Self::Invalid { doing, reason: "it may never be changed" },
            class if class.starts_with("08") => gone("the connection failed"),
            class if class.starts_with("23") => Self::constraint(doing, &error, code),
            class if class.starts_with("42") => {
                Self::Database { doing, code: format!("{code}: {message}") }
            }
            _ => Self::Database { doing, code },
        }
    }

    fn constraint(doing: &'static str, error: &sqlx::Error, code: String) -> Self {
        use sqlx::error::ErrorKind;
        let kind = error.as_database_error().map(sqlx::error::DatabaseError::kind);
        let reason = match kind {
            Some(ErrorKind::UniqueViolation) => return Self::taken(doing),
            Some(ErrorKind::ForeignKeyViolation) => "what it belongs to is not stored",
            Some(ErrorKind::NotNullViolation) => "a value is absent or not a number",
            Some(ErrorKind::CheckViolation) => "a value is outside its range",
            _ => return Self::Database { doing, code },
        };
        Self::Invalid { doing, reason }
    }

    fn taken(doing: &'static str) -> Self {
        let (found, expected) = ("another record of this name".to_owned(), "none".to_owned());
        Self::Conflict { what: doing.to_owned(), found, expected }
    }

    fn from_driver(doing: &'static str, error: sqlx::Error) -> Self {
        let gone = |reason: String| Self::Gone { doing, reason };
        match error {
            sqlx::Error::PoolTimedOut => Self::Locked { doing },
            sqlx::Error::PoolClosed => gone("it was closed".to_owned()),
            sqlx::Error::WorkerCrashed => gone("its driver stopped".to_owned()),
            sqlx::Error::Io(error) => match error.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    Self::Full { doing }
                }
                kind => gone(kind.to_string()),
            },
            sqlx::Error::Tls(_) => gone("it asks for TLS, which this build cannot do".to_owned()),
            sqlx::Error::Protocol(_) => gone("it broke the protocol".to_owned()),
            sqlx::Error::Configuration(_) => Self::Address { reason: "it cannot be read" },
            sqlx::Error::ColumnDecode { index, .. } => {
                Self::corrupt("the store", format!("column {index} has another type"))
            }
            _ => Self::Database { doing, code: "none".to_owned() },
        }
    }
}

fn code_of(error: &sqlx::Error) -> Option<(String, String)> {
    let error = error.as_database_error()?;
    Some((error.code().unwrap_or_default().into_owned(), error.message().to_owned()))
}
