//! Predictions, their claims and reports, and the outcomes that settle them.

use prophecy_core::Timestamp;

use crate::error::StoreError;
use crate::page::Page;
use crate::record::{Claim, Outcome, OutcomeClaim, Prediction, Report, SettledClaim};
use crate::row::insertion;
use crate::statement::Statement;
use crate::store::Store;
use crate::table::{Record, SETTLED_CLAIMS, Table};

/// A prediction with all that is registered with it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPrediction {
    /// The prediction.
    pub prediction: Prediction,
    /// Its claims; each names the prediction.
    pub claims: Vec<Claim>,
    /// Its report, byte for byte.
    pub report_json: String,
}

/// Which predictions are wanted; what is absent does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PredictionFilter {
    /// Of this system.
    pub system: Option<String>,
    /// For this environment.
    pub environment: Option<String>,
    /// With this verdict.
    pub verdict: Option<String>,
    /// From this build.
    pub baseline_digest: Option<String>,
    /// To this build.
    pub candidate_digest: Option<String>,
    /// Made at this time or later.
    pub since: Option<Timestamp>,
    /// Made before this time.
    pub until: Option<Timestamp>,
    /// With an outcome, or without.
    pub settled: Option<bool>,
}

/// Which settled claims are wanted; what is absent does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettledFilter {
    /// Of this system.
    pub system: Option<String>,
    /// For this environment.
    pub environment: Option<String>,
    /// About this service.
    pub service: Option<String>,
    /// About this metric.
    pub metric: Option<String>,
    /// Predicted at this time or later.
    pub since: Option<Timestamp>,
    /// Predicted before this time.
    pub until: Option<Timestamp>,
}

// === impl Store ===

impl Store {
    /// Registers a prediction with its claims and its report.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if there is a prediction with its id.
    pub async fn insert_prediction(&self, new: &NewPrediction) -> Result<(), StoreError> {
        const DOING: &str = "registering a prediction";
        let mut transaction = self.begin(DOING).await?;
        transaction.execute(insertion(DOING, &new.prediction)?).await?;
        let report = Report {
            prediction_id: new.prediction.id.clone(),
            report_json: new.report_json.clone(),
        };
        transaction.execute(insertion(DOING, &report)?).await?;
        for claim in &new.claims {
            transaction.execute(insertion(DOING, claim)?).await?;
        }
        transaction.commit(DOING).await
    }

    /// Returns a prediction.
    pub async fn get_prediction(&self, id: &str) -> Result<Prediction, StoreError> {
        self.get("prediction", id).await
    }

    /// Returns the report of a prediction.
    pub async fn get_report(&self, prediction_id: &str) -> Result<String, StoreError> {
        let report: Report = self.get("report", prediction_id).await?;
        Ok(report.report_json)
    }

    /// Lists predictions.
    pub async fn list_predictions(
        &self,
        filter: &PredictionFilter,
        page: &Page,
    ) -> Result<Vec<Prediction>, StoreError> {
        let sql = format!("{} WHERE 1 = 1", Prediction::TABLE.select());
        let statement = filter.narrow(Statement::new("listing predictions", sql));
        self.all(page.end(statement, "id")).await
    }

    /// Counts predictions.
    pub async fn count_predictions(&self, filter: &PredictionFilter) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) FROM predictions WHERE 1 = 1";
        let statement = filter.narrow(Statement::new("counting predictions", sql));
        let mut snapshot = self.database.snapshot("counting predictions").await?;
        Ok(snapshot.number(statement).await?.unwrap_or(0))
    }

    /// Lists the claims of a prediction in the order of their ids.
    pub async fn list_claims(&self, prediction_id: &str) -> Result<Vec<Claim>, StoreError> {
        let sql = format!("{} WHERE prediction_id = $1 ORDER BY claim_id", Claim::TABLE.select());
        self.all(Statement::new("listing claims", sql).bind(prediction_id)).await
    }

    /// Withdraws a prediction; the time of the first withdrawal stays.
    pub async fn revoke_prediction(
        &self,
        id: &str,
        at: Timestamp,
    ) -> Result<Prediction, StoreError> {
        let sql = "UPDATE predictions SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1";
        self.execute(Statement::new("revoking a prediction", sql).bind(id).bind(at)).await?;
        self.get_prediction(id).await
    }

    /// Settles a prediction.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if it is settled already, [`StoreError::Invalid`] if there is no
    /// such prediction or no such claim.
    pub async fn insert_outcome(
        &self,
        outcome: &Outcome,
        claims: &[OutcomeClaim],
    ) -> Result<(), StoreError> {
        const DOING: &str = "recording an outcome";
        let mut transaction = self.begin(DOING).await?;
        transaction.execute(insertion(DOING, outcome)?).await?;
        for claim in claims {
            transaction.execute(insertion(DOING, claim)?).await?;
        }
        transaction.commit(DOING).await
    }

    /// Returns the outcome of a prediction, if it is settled.
    pub async fn get_outcome(&self, prediction_id: &str) -> Result<Option<Outcome>, StoreError> {
        let sql = format!("{} WHERE prediction_id = $1", Outcome::TABLE.select());
        self.first(Statement::new("reading an outcome", sql).bind(prediction_id)).await
    }

    /// Lists what was measured for the claims of a prediction.
    pub async fn list_outcome_claims(
        &self,
        prediction_id: &str,
    ) -> Result<Vec<OutcomeClaim>, StoreError> {
        let select = OutcomeClaim::TABLE.select();
        let sql = format!("{select} WHERE prediction_id = $1 ORDER BY claim_id");
        self.all(Statement::new("listing an outcome", sql).bind(prediction_id)).await
    }

    /// Lists outcomes in the order of their predictions; [`Page::after`] takes the prediction's id.
    pub async fn list_outcomes(&self, page: &Page) -> Result<Vec<Outcome>, StoreError> {
        let sql = format!("{} WHERE 1 = 1", Outcome::TABLE.select());
        self.all(page.end(Statement::new("listing outcomes", sql), "prediction_id")).await
    }

    /// Lists claims beside what was measured for them, those of the newest prediction first.
    pub async fn list_settled_claims(
        &self,
        filter: &SettledFilter,
        limit: u32,
    ) -> Result<Vec<SettledClaim>, StoreError> {
        let from = "FROM outcome_claims oc \
                    JOIN outcomes o ON o.prediction_id = oc.prediction_id \
                    JOIN claims c ON c.prediction_id = oc.prediction_id AND c.claim_id = oc.claim_id \
                    JOIN predictions p ON p.id = oc.prediction_id WHERE 1 = 1";
        let sql = format!("SELECT {} {from}", settled_columns(&SETTLED_CLAIMS));
        let statement = Statement::new("listing settled claims", sql)
            .filter("AND p.system =", filter.system.as_ref())
            .filter("AND p.environment =", filter.environment.as_ref())
            .filter("AND c.service =", filter.service.as_ref())
            .filter("AND c.metric =", filter.metric.as_ref())
            .filter("AND p.created_at >=", filter.since)
            .filter("AND p.created_at <", filter.until)
            .push(" ORDER BY oc.prediction_id DESC, oc.claim_id")
            .filter("LIMIT", Some(limit));
        self.all(statement).await
    }
}

// === impl PredictionFilter ===

impl PredictionFilter {
    fn narrow(&self, statement: Statement) -> Statement {
        let statement = statement
            .filter("AND system =", self.system.as_ref())
            .filter("AND environment =", self.environment.as_ref())
            .filter("AND verdict =", self.verdict.as_ref())
            .filter("AND baseline_digest =", self.baseline_digest.as_ref())
            .filter("AND candidate_digest =", self.candidate_digest.as_ref())
            .filter("AND created_at >=", self.since)
            .filter("AND created_at <", self.until);
        let settled = "EXISTS (SELECT 1 FROM outcomes o WHERE o.prediction_id = predictions.id)";
        match self.settled {
            None => statement,
            Some(true) => statement.push(&format!(" AND {settled}")),
            Some(false) => statement.push(&format!(" AND NOT {settled}")),
        }
    }
}

/// The columns of the join, each with the table it is from.
fn settled_columns(join: &Table) -> String {
    let source = |name| match name {
        "measured" | "breached" | "exchanges" => "oc",
        "system" | "environment" | "verdict" | "created_at" => "p",
        "settled_at" => "o",
        _ => "c",
    };
    let qualified =
        |column: &crate::table::Column| format!("{}.{}", source(column.name), column.name);
    join.columns.iter().map(qualified).collect::<Vec<_>>().join(", ")
}
