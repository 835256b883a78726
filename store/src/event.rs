//! Events in their one order, and the webhooks that want them.

use prophecy_core::Timestamp;

use crate::database::Transaction;
use crate::error::StoreError;
use crate::page::Page;
use crate::record::{Event, NewEvent, Webhook};
use crate::row::insertion;
use crate::statement::{Kind, Statement, Value};
use crate::store::{Store, take_numbers};
use crate::table::Record;

/// Which events are wanted; what is absent does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// After this number; zero is before the first.
    pub seq: u64,
    /// About this.
    pub subject: Option<String>,
    /// Of this type.
    pub event_type: Option<String>,
}

// === impl Store ===

impl Store {
    /// Adds an event, and returns its number.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if there is an event with its id.
    pub async fn insert_event(&self, event: &NewEvent) -> Result<u64, StoreError> {
        const DOING: &str = "adding an event";
        let mut transaction = self.begin(DOING).await?;
        let seq = append_events(&mut transaction, DOING, std::slice::from_ref(event)).await?;
        transaction.commit(DOING).await?;
        Ok(seq)
    }

    /// Lists events in their order. Nobody who goes on after the last number misses one: numbers
    /// become visible in their order.
    pub async fn events_since(
        &self,
        filter: &EventFilter,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        let sql = format!("{} WHERE seq > $1", Event::TABLE.select());
        let statement = Statement::new("listing events", sql)
            .bind(filter.seq)
            .filter("AND subject =", filter.subject.as_ref())
            .filter("AND event_type =", filter.event_type.as_ref())
            .push(" ORDER BY seq")
            .filter("LIMIT", Some(limit));
        self.all(statement).await
    }

    /// The number of the last event; zero before the first.
    pub async fn last_event_seq(&self) -> Result<u64, StoreError> {
        let sql = "SELECT value FROM counters WHERE name = 'events'";
        let statement = Statement::new("reading the number of the last event", sql);
        let rows = self.database.read(statement, &[Kind::Integer]).await?;
        match rows.first().map(Vec::as_slice) {
            Some([Value::Integer(Some(seq))]) => Ok(u64::try_from(*seq).unwrap_or(0)),
            _ => Err(StoreError::corrupt("counters", "`events` is absent")),
        }
    }

    /// Registers a webhook.
    pub async fn insert_webhook(&self, webhook: &Webhook) -> Result<(), StoreError> {
        self.insert("registering a webhook", webhook).await
    }

    /// Returns a webhook.
    pub async fn get_webhook(&self, id: &str) -> Result<Webhook, StoreError> {
        self.get("webhook", id).await
    }

    /// Lists webhooks, switched off ones too.
    pub async fn list_webhooks(&self, page: &Page) -> Result<Vec<Webhook>, StoreError> {
        let sql = format!("{} WHERE 1 = 1", Webhook::TABLE.select());
        self.all(page.end(Statement::new("listing webhooks", sql), "id")).await
    }

    /// Switches a webhook off; the time of the first switch stays.
    pub async fn disable_webhook(&self, id: &str, at: Timestamp) -> Result<Webhook, StoreError> {
        let sql = "UPDATE webhooks SET disabled_at = COALESCE(disabled_at, $2) WHERE id = $1";
        self.execute(Statement::new("disabling a webhook", sql).bind(id).bind(at)).await?;
        self.get_webhook(id).await
    }
}

/// Adds events within a transaction, and returns the number of the last.
pub(crate) async fn append_events(
    transaction: &mut Transaction,
    doing: &'static str,
    events: &[NewEvent],
) -> Result<u64, StoreError> {
    if events.is_empty() {
        return Ok(0);
    }
    let count = events.len() as u64;
    let last = take_numbers(transaction, doing, "events", count).await?;
    for (event, seq) in events.iter().zip(last - count + 1..) {
        let event = Event { seq, event: event.clone() };
        transaction.execute(insertion(doing, &event)?).await?;
    }
    Ok(last)
}
