//! Rollouts and what belongs to them: steps, verdicts, approvals, the log.

use crate::error::StoreError;
use crate::event::append_events;
use crate::page::Page;
use crate::record::{
    Approval, LogLine, NewEvent, NewLogLine, PublicStatus, Rollout, Step, Verdict,
};
use crate::row::{insertion, row_of};
use crate::statement::Statement;
use crate::store::{Store, take_numbers};
use crate::table::Record;

/// Whether a rollout was created, or had been created before under the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is new.
    New(Rollout),
    /// There was one with its idempotency key: this one, as it is now.
    Existing(Rollout),
}

/// Which rollouts are wanted; what is absent does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutFilter {
    /// Of this system.
    pub system: Option<String>,
    /// To this environment.
    pub environment: Option<String>,
    /// Of this build.
    pub candidate_digest: Option<String>,
    /// Gated by this prediction.
    pub prediction_id: Option<String>,
    /// Standing so.
    pub public_status: Option<PublicStatus>,
    /// Not ended, or ended.
    pub active: Option<bool>,
}

// === impl Store ===

impl Store {
    /// Creates a rollout, unless there is one with its idempotency key.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if there is a rollout with its id.
    pub async fn create_rollout(&self, rollout: &Rollout) -> Result<Created, StoreError> {
        const DOING: &str = "creating a rollout";
        let insert = insertion(DOING, rollout)?.push(" ON CONFLICT (idempotency_key) DO NOTHING");
        if self.execute(insert).await? == 1 {
            return Ok(Created::New(rollout.clone()));
        }
        let key = rollout.idempotency_key.as_deref().unwrap_or_default();
        let sql = format!("{} WHERE idempotency_key = $1", Rollout::TABLE.select());
        let found = self.first(Statement::new(DOING, sql).bind(key)).await?;
        found.map(Created::Existing).ok_or_else(|| StoreError::not_found("rollout of key", key))
    }

    /// Returns a rollout.
    pub async fn get_rollout(&self, id: &str) -> Result<Rollout, StoreError> {
        self.get("rollout", id).await
    }

    /// Lists rollouts.
    pub async fn list_rollouts(
        &self,
        filter: &RolloutFilter,
        page: &Page,
    ) -> Result<Vec<Rollout>, StoreError> {
        let sql = format!("{} WHERE 1 = 1", Rollout::TABLE.select());
        let status = filter.public_status.map(PublicStatus::as_str);
        let statement = Statement::new("listing rollouts", sql)
            .filter("AND system =", filter.system.as_ref())
            .filter("AND environment =", filter.environment.as_ref())
            .filter("AND candidate_digest =", filter.candidate_digest.as_ref())
            .filter("AND prediction_id =", filter.prediction_id.as_ref())
            .filter("AND public_status =", status);
        let statement = match filter.active {
            None => statement,
            Some(true) => statement.push(" AND ended_at IS NULL"),
            Some(false) => statement.push(" AND ended_at IS NOT NULL"),
        };
        self.all(page.end(statement, "id")).await
    }

    /// Replaces a rollout that is still at `expected_revision`, together with the events that tell
    /// of it, and returns it with its next revision.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if it is at another revision; nothing is written then.
    pub async fn update_rollout(
        &self,
        rollout: &Rollout,
        expected_revision: u64,
        events: &[NewEvent],
    ) -> Result<Rollout, StoreError> {
        const DOING: &str = "updating a rollout";
        let next = Rollout { revision: expected_revision + 1, ..rollout.clone() };
        let values = row_of(DOING, &next)?;
        let update = Statement { doing: DOING, sql: Rollout::TABLE.update().into(), values };
        let mut transaction = self.begin(DOING).await?;
        let changed =
            transaction.execute(update.filter("AND revision =", Some(expected_revision))).await?;
        if changed == 0 {
            let sql = "SELECT revision FROM rollouts WHERE id = $1";
            let found = transaction.number(Statement::new(DOING, sql).bind(&next.id)).await?;
            let found = found.ok_or_else(|| StoreError::not_found("rollout", &next.id))?;
            return Err(StoreError::Conflict {
                what: format!("rollout `{}`", next.id),
                found: format!("revision {found}"),
                expected: format!("revision {expected_revision}"),
            });
        }
        append_events(&mut transaction, DOING, events).await?;
        transaction.commit(DOING).await?;
        Ok(next)
    }

    /// Writes a step, new or changed.
    pub async fn put_step(&self, step: &Step) -> Result<(), StoreError> {
        let values = row_of("writing a step", step)?;
        let sql = Step::TABLE.upsert().into();
        self.execute(Statement { doing: "writing a step", sql, values }).await.map(drop)
    }

    /// Lists the steps of a rollout in their order.
    pub async fn list_steps(&self, rollout_id: &str) -> Result<Vec<Step>, StoreError> {
        let sql = format!("{} WHERE rollout_id = $1 ORDER BY step_index", Step::TABLE.select());
        self.all(Statement::new("listing steps", sql).bind(rollout_id)).await
    }

    /// Records a judgement.
    pub async fn insert_verdict(&self, verdict: &Verdict) -> Result<(), StoreError> {
        self.insert("recording a verdict", verdict).await
    }

    /// Lists the judgements of a rollout in the order in which they were made.
    pub async fn list_verdicts(&self, rollout_id: &str) -> Result<Vec<Verdict>, StoreError> {
        let sql = format!("{} WHERE rollout_id = $1 ORDER BY at, stage", Verdict::TABLE.select());
        self.all(Statement::new("listing verdicts", sql).bind(rollout_id)).await
    }

    /// Records an approval.
    pub async fn insert_approval(&self, approval: &Approval) -> Result<(), StoreError> {
        self.insert("recording an approval", approval).await
    }

    /// Lists the approvals of a rollout in the order of their ids.
    pub async fn list_approvals(&self, rollout_id: &str) -> Result<Vec<Approval>, StoreError> {
        let sql = format!("{} WHERE rollout_id = $1 ORDER BY id", Approval::TABLE.select());
        self.all(Statement::new("listing approvals", sql).bind(rollout_id)).await
    }

    /// Adds lines to the log of a rollout, and returns the number of the last.
    pub async fn append_logs(
        &self,
        rollout_id: &str,
        lines: &[NewLogLine],
    ) -> Result<u64, StoreError> {
        const DOING: &str = "writing a log";
        let mut transaction = self.begin(DOING).await?;
        let count = lines.len() as u64;
        let last = take_numbers(&mut transaction, DOING, "logs", count).await?;
        for (line, seq) in lines.iter().zip(last - count + 1..) {
            let NewLogLine { at, level, text } = line.clone();
            let line = LogLine { rollout_id: rollout_id.to_owned(), seq, at, level, text };
            transaction.execute(insertion(DOING, &line)?).await?;
        }
        transaction.commit(DOING).await?;
        Ok(last)
    }

    /// Lists the log of a rollout after a line; zero is before the first.
    pub async fn list_logs(
        &self,
        rollout_id: &str,
        after_seq: u64,
        limit: u32,
    ) -> Result<Vec<LogLine>, StoreError> {
        let select = LogLine::TABLE.select();
        let sql = format!("{select} WHERE rollout_id = $1 AND seq > $2 ORDER BY seq LIMIT $3");
        let statement = Statement::new("listing a log", sql);
        self.all(statement.bind(rollout_id).bind(after_seq).bind(limit)).await
    }

    /// Returns the last lines of the log of a rollout, the oldest of them first.
    pub async fn tail_logs(
        &self,
        rollout_id: &str,
        limit: u32,
    ) -> Result<Vec<LogLine>, StoreError> {
        let select = LogLine::TABLE.select();
        let sql = format!("{select} WHERE rollout_id = $1 ORDER BY seq DESC LIMIT $2");
        let statement = Statement::new("listing a log", sql).bind(rollout_id).bind(limit);
        let mut lines: Vec<LogLine> = self.all(statement).await?;
        lines.reverse();
        Ok(lines)
    }
}

// === impl PublicStatus ===

impl PublicStatus {
    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Building => "building",
            Self::Deploying => "deploying",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::RolledBack => "rolled_back",
        }
    }
}
