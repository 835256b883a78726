//! Deleting what is old enough; never the audit log.

use std::time::Duration;

use prophecy_core::Timestamp;

use crate::error::StoreError;
use crate::statement::Statement;
use crate::store::Store;

/// How long records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Lines of logs, and deliveries that are done.
    pub logs: Duration,
    /// Rollouts after their end, predictions, events, tokens that are no longer good.
    pub records: Duration,
    /// Answers to requests.
    pub idempotency_keys: Duration,
}

/// How many were deleted, each without what belonged to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Lines of logs.
    pub logs: u64,
    /// Deliveries that were delivered or dead.
    pub deliveries: u64,
    /// Rollouts, with their steps, verdicts and approvals.
    pub rollouts: u64,
    /// Predictions, with their claims, reports and outcomes.
    pub predictions: u64,
    /// Events.
    pub events: u64,
    /// Tokens that were revoked or had expired.
    pub tokens: u64,
    /// Idempotency keys.
    pub idempotency_keys: u64,
}

const DAY: Duration = Duration::from_hours(24);

// === impl Retention ===

impl Default for Retention {
    /// Logs for 30 days, records for 12 months, answers for a week.
    fn default() -> Self {
        Self { logs: DAY * 30, records: DAY * 365, idempotency_keys: DAY * 7 }
    }
}

// === impl Store ===

impl Store {
    /// Deletes what is older than it is kept for: rollouts only once they have ended, predictions
    /// only when no rollout that is kept was gated by them, events only when nobody waits for them.
    pub async fn retain(
        &self,
        now: Timestamp,
        retention: &Retention,
    ) -> Result<Retained, StoreError> {
        let logs = before(now, retention.logs);
        let records = before(now, retention.records);
        let keys = before(now, retention.idempotency_keys);
        Ok(Retained {
            logs: self.delete("logs WHERE at < $1", logs).await?,
            deliveries: self
                .delete("deliveries WHERE state <> 'pending' AND next_at < $1", logs)
                .await?,
            rollouts: self.delete("rollouts WHERE ended_at < $1", records).await?,
            predictions: self
                .delete(
                    "predictions WHERE created_at < $1 AND NOT EXISTS \
                     (SELECT 1 FROM rollouts r WHERE r.prediction_id = predictions.id)",
                    records,
                )
                .await?,
            events: self
                .delete(
                    "events WHERE at < $1 AND NOT EXISTS (SELECT 1 FROM deliveries d \
                     WHERE d.event_seq = events.seq AND d.state = 'pending')",
                    records,
                )
                .await?,
            tokens: self.delete("tokens WHERE revoked_at < $1 OR expires_at < $1", records).await?,
            idempotency_keys: self.delete("idempotency_keys WHERE created_at < $1", keys).await?,
        })
    }

    async fn delete(&self, which: &str, cutoff: Timestamp) -> Result<u64, StoreError> {
        let sql = format!("DELETE FROM {which}");
        self.execute(Statement::new("deleting old records", sql).bind(cutoff)).await
    }
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)))
}
