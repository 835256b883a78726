//! The audit log: entries are chained, so that a changed one is found.

use crate::database::Transaction;
use crate::error::StoreError;
use crate::record::{Audit, NewAudit};
use crate::row::{insertion, record_of};
use crate::statement::{Statement, Value};
use crate::store::{Store, kinds, take_numbers};
use crate::table::Record;

/// What a walk over the whole log found in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditChain {
    /// How many entries there are.
    pub entries: u64,
    /// The hash of the last; whoever keeps it elsewhere can tell later that nothing was cut off.
    pub head: String,
}

/// What the first entry has in place of the hash of the one before.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// How many entries are checked at a time.
const BATCH: u64 = 1_000;

// === impl Store ===

impl Store {
    /// Adds an entry at the end of the log.
    pub async fn append_audit(&self, entry: &NewAudit) -> Result<Audit, StoreError> {
        const DOING: &str = "writing the audit log";
        let mut transaction = self.begin(DOING).await?;
        let seq = take_numbers(&mut transaction, DOING, "audit", 1).await?;
        let previous = entries_after(&mut transaction, seq.saturating_sub(2), 1).await?;
        let previous_hash = match (seq, previous.into_iter().next()) {
            (1, None) => NO_HASH.to_owned(),
            (_, Some(previous)) if previous.seq + 1 == seq => previous.hash,
            _ => return Err(broken(seq.saturating_sub(1), "it is absent")),
        };
        let hash = hash_of(seq, &previous_hash, entry);
        let audit = Audit { seq, previous_hash, hash, entry: entry.clone() };
        transaction.execute(insertion(DOING, &audit)?).await?;
        transaction.commit(DOING).await?;
        Ok(audit)
    }

    /// Lists entries in their order after a number; zero is before the first.
    pub async fn list_audit(&self, after_seq: u64, limit: u32) -> Result<Vec<Audit>, StoreError> {
        let sql = format!("{} WHERE seq > $1 ORDER BY seq LIMIT $2", Audit::TABLE.select());
        self.all(Statement::new("listing the audit log", sql).bind(after_seq).bind(limit)).await
    }

    /// Lists entries, the newest first, before a number if one is given.
    pub async fn list_audit_newest(
        &self,
        before_seq: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Audit>, StoreError> {
        let sql = format!("{} WHERE 1 = 1", Audit::TABLE.select());
        let statement = Statement::new("listing the audit log", sql)
            .filter("AND seq <", before_seq)
            .push(" ORDER BY seq DESC")
            .filter("LIMIT", Some(limit));
        self.all(statement).await
    }

    /// Walks the whole log and checks every link.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] names the first entry that is absent, changed or out of place.
    pub async fn verify_audit(&self) -> Result<AuditChain, StoreError> {
        const DOING: &str = "verifying the audit log";
        let mut snapshot = self.database.snapshot(DOING).await?;
        let mut chain = AuditChain { entries: 0, head: NO_HASH.to_owned() };
        loop {
            let batch = entries_after(&mut snapshot, chain.entries, BATCH).await?;
            if batch.is_empty() {
                break;
            }
            for audit in batch {
                chain = chain.link(audit)?;
            }
        }
        let sql = "SELECT value FROM counters WHERE name = 'audit'";
        let written = snapshot.number(Statement::new(DOING, sql)).await?.unwrap_or(0);
        if written == chain.entries {
            Ok(chain)
        } else {
            Err(broken(chain.entries + 1, &format!("it is absent, but {written} were written")))
        }
    }
}

// === impl AuditChain ===

impl AuditChain {
    fn link(self, audit: Audit) -> Result<Self, StoreError> {
        let seq = self.entries + 1;
        if audit.seq != seq {
            return Err(broken(seq, "it is absent"));
        }
        if audit.previous_hash != self.head {
            return Err(broken(seq, "it does not continue the entry before it"));
        }
        if audit.hash != hash_of(seq, &audit.previous_hash, &audit.entry) {
            return Err(broken(seq, "its content is not what its hash was made of"));
        }
        Ok(Self { entries: seq, head: audit.hash })
    }
}

fn broken(seq: u64, reason: &str) -> StoreError {
    StoreError::corrupt(format!("audit entry {seq}"), reason)
}

async fn entries_after(
    transaction: &mut Transaction,
    seq: u64,
    limit: u64,
) -> Result<Vec<Audit>, StoreError> {
    let sql = format!("{} WHERE seq > $1 ORDER BY seq LIMIT $2", Audit::TABLE.select());
    let statement = Statement::new("reading the audit log", sql).bind(seq).bind(Value::from(limit));
    let rows = transaction.rows(statement, &kinds(Audit::TABLE)).await?;
    rows.into_iter().map(record_of).collect()
}

/// Hashes an entry with its place: numbers as eight bytes, little end first, and every text after
/// its length, so that no two entries are written alike.
fn hash_of(seq: u64, previous_hash: &str, entry: &NewAudit) -> String {
    let NewAudit { at, actor, action, object, detail_json } = entry;
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"prophecy.audit/1");
    hasher.update(&seq.to_le_bytes());
    hasher.update(&at.0.to_le_bytes());
    for text in [previous_hash, actor, action, object, detail_json] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
