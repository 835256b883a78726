//! Events on their way to webhooks: who tries next, and how it went.

use std::time::Duration;

use prophecy_core::Timestamp;

use crate::error::StoreError;
use crate::page::Page;
use crate::record::{Delivery, DeliveryState};
use crate::row::{record_of, row_of};
use crate::statement::Statement;
use crate::store::{Store, kinds};
use crate::table::Record;

// === impl Store ===

impl Store {
    /// Registers that an event is to be delivered.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if it is already on its way to this webhook.
    pub async fn insert_delivery(&self, delivery: &Delivery) -> Result<(), StoreError> {
        self.insert("registering a delivery", delivery).await
    }

    /// Returns a delivery.
    pub async fn get_delivery(&self, id: &str) -> Result<Delivery, StoreError> {
        self.get("delivery", id).await
    }

    /// Claims deliveries that are due, the longest due first: each is given to one caller only, and
    /// is due again after `lease` unless [`Store::update_delivery`] says how it went.
    ///
    /// Claiming counts as an attempt, so that one which kills its carrier is given up one day.
    pub async fn claim_due_deliveries(
        &self,
        now: Timestamp,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        const DOING: &str = "claiming deliveries";
        let due = "SELECT id FROM deliveries WHERE state = 'pending' AND next_at <= $2 \
                   ORDER BY next_at, id LIMIT $3";
        // An array is computed once; what others hold is skipped, not waited for.
        let chosen = if self.database.is_postgres() {
            format!("id = ANY(ARRAY({due} FOR UPDATE SKIP LOCKED))")
        } else {
            format!("id IN ({due})")
        };
        let columns = Delivery::TABLE.column_list();
        let sql = format!(
            "UPDATE deliveries SET attempt = attempt + 1, next_at = $1 WHERE {chosen} \
             RETURNING {columns}"
        );
        let again_at = now.plus_nanos(u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX));
        let statement = Statement::new(DOING, sql).bind(again_at).bind(now).bind(limit);
        let mut transaction = self.begin(DOING).await?;
        let rows = transaction.rows(statement, &kinds(Delivery::TABLE)).await?;
        transaction.commit(DOING).await?;
        let mut claimed: Vec<Delivery> =
            rows.into_iter().map(record_of).collect::<Result<_, _>>()?;
        claimed.sort_by(|a, b| (a.event_seq, &a.id).cmp(&(b.event_seq, &b.id)));
        Ok(claimed)
    }

    /// Records how a claimed delivery went.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if somebody else claimed it since: its `attempt` has gone on.
    pub async fn update_delivery(&self, delivery: &Delivery) -> Result<(), StoreError> {
        const DOING: &str = "recording a delivery";
        let values = row_of(DOING, delivery)?;
        let update = Statement { doing: DOING, sql: Delivery::TABLE.update().into(), values };
        let update = update.filter("AND attempt =", Some(delivery.attempt));
        if self.execute(update).await? == 1 {
            return Ok(());
        }
        let found = self.get_delivery(&delivery.id).await?;
        Err(StoreError::Conflict {
            what: format!("delivery `{}`", delivery.id),
            found: format!("attempt {}", found.attempt),
            expected: format!("attempt {}", delivery.attempt),
        })
    }

    /// Lists deliveries, of one webhook or in one state if that is given.
    pub async fn list_deliveries(
        &self,
        webhook_id: Option<&str>,
        state: Option<DeliveryState>,
        page: &Page,
    ) -> Result<Vec<Delivery>, StoreError> {
        let sql = format!("{} WHERE 1 = 1", Delivery::TABLE.select());
        let statement = Statement::new("listing deliveries", sql)
            .filter("AND webhook_id =", webhook_id)
            .filter("AND state =", state.map(DeliveryState::as_str));
        self.all(page.end(statement, "id")).await
    }
}

// === impl DeliveryState ===

impl DeliveryState {
    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}
