//! The delivery of events to webhooks: at least once, with backoff, until they are given up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prophecy_core::Timestamp;
use prophecy_store::{Delivery, DeliveryState, EventFilter, Page, StoreError, Webhook};
use tokio::task::JoinSet;

use super::{post, webhook};
use crate::clock;
use crate::gateway::App;

const BATCH: u32 = 100;
const PAUSE: Duration = Duration::from_millis(200);
/// How long a claimed delivery is ours; longer than an attempt may take.
const LEASE: Duration = Duration::from_secs(30);
/// The longest wait between attempts.
const LONGEST: Duration = Duration::from_hours(1);

/// Delivers until the server ends.
pub(crate) async fn run(app: Arc<App>) {
    let mut reached = BTreeMap::new();
    while !app.is_ending() {
        // A store that fails now is asked again after the pause.
        let _spread = spread(&app, &mut reached).await.is_ok();
        let busy = attempt_due(&app).await.unwrap_or(false);
        if !busy {
            app.nap(PAUSE).await;
        }
    }
}

/// Makes a delivery of each new event for each webhook that wants it. Its id is made from the two,
/// so that an event spread twice after a crash is refused by the store the second time.
async fn spread(app: &App, reached: &mut BTreeMap<String, u64>) -> Result<(), StoreError> {
    for webhook in app.store.list_webhooks(&Page::newest(1_000)).await? {
        if webhook.disabled_at.is_some() {
            continue;
        }
        let mut seq = match reached.get(&webhook.id) {
            Some(seq) => *seq,
            None => resume(app, &webhook).await?,
        };
        loop {
            let filter = EventFilter { seq, ..EventFilter::default() };
            let events = app.store.events_since(&filter, BATCH).await?;
            for event in &events {
                let event_at = event.event.at;
                if event_at >= webhook.created_at
                    && webhook::wants(&webhook, &event.event.event_type)
                {
                    insert(app, &webhook, event.seq).await?;
                }
                seq = event.seq;
            }
            reached.insert(webhook.id.clone(), seq);
            if events.len() < BATCH as usize {
                break;
            }
        }
    }
    Ok(())
}

/// Returns the last event that was spread to a webhook.
async fn resume(app: &App, webhook: &Webhook) -> Result<u64, StoreError> {
    let last = app.store.list_deliveries(Some(&webhook.id), None, &Page::newest(1_000)).await?;
    Ok(last.iter().map(|delivery| delivery.event_seq).max().unwrap_or(0).saturating_sub(1))
}

async fn insert(app: &App, webhook: &Webhook, event_seq: u64) -> Result<(), StoreError> {
    let delivery = Delivery {
        id: format!("{event_seq:016x}{}", webhook.id),
        webhook_id: webhook.id.clone(),
        event_seq,
        attempt: 0,
        next_at: clock::now(),
        state: DeliveryState::Pending,
        last_status: None,
        last_error: None,
    };
    match app.store.insert_delivery(&delivery).await {
        Ok(()) | Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Tries what is due, side by side, and returns whether anything was.
async fn attempt_due(app: &Arc<App>) -> Result<bool, StoreError> {
    let due = app.store.claim_due_deliveries(clock::now(), LEASE, 16).await?;
    let busy = !due.is_empty();
    let mut attempts = JoinSet::new();
    for delivery in due {
        let app = Arc::clone(app);
        attempts.spawn(async move { attempt(&app, delivery).await });
    }
    while let Some(attempted) = attempts.join_next().await {
        // Whatever could not be written is due again when the lease ends.
        let _written = attempted.is_ok_and(|written| written.is_ok());
    }
    Ok(busy)
}

async fn attempt(app: &App, mut delivery: Delivery) -> Result<(), StoreError> {
    let webhook = app.store.get_webhook(&delivery.webhook_id).await?;
    let filter =
        EventFilter { seq: delivery.event_seq.saturating_sub(1), ..EventFilter::default() };
    let events = app.store.events_since(&filter, 1).await?;
    let event = events.first().filter(|event| event.seq == delivery.event_seq);
    let now = clock::now();
    let answered = match (event, webhook.disabled_at, webhook::resolve(app, &webhook.url).await) {
        (None, ..) => Err("the event is no longer kept"),
        (_, Some(_), _) => Err("the webhook is switched off"),
        (_, _, None) => Err("the address is not allowed"),
        (Some(event), None, Some(to)) => {
            let secret = webhook::secret(app, &webhook.id);
            post::post(&to, event, &delivery.id, &secret, now.0 / 1_000_000_000).await
        }
    };
    delivery.last_status = answered.ok();
    delivery.last_error = match answered {
        Ok(200..=299) => None,
        Ok(_) => Some("the receiver refused".to_owned()),
        Err(why) => Some(why.to_owned()),
    };
    if delivery.last_error.is_none() {
        delivery.state = DeliveryState::Delivered;
    } else if delivery.attempt >= app.limits.delivery_attempts || webhook.disabled_at.is_some() {
        delivery.state = DeliveryState::Dead;
    } else {
        delivery.state = DeliveryState::Pending;
        delivery.next_at = next(clock::now(), delivery.attempt, app.limits.delivery_backoff);
    }
    app.store.update_delivery(&delivery).await?;
    Ok(())
}

/// Doubles the wait with each attempt, and spreads it over half to all of that.
fn next(now: Timestamp, attempt: u64, first: Duration) -> Timestamp {
    let doubled = first.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(LONGEST);
    let mut byte = [0; 1];
    // Without randomness the wait is the longest of the range.
    let share = getrandom::fill(&mut byte).map_or(1.0, |()| 0.5 + f64::from(byte[0]) / 512.0);
    now.plus_nanos(doubled.mul_f64(share).as_nanos() as u64)
}

/// Returns how many deliveries wait for an attempt, counted to the 10,000 newest of each webhook.
pub(crate) async fn pending(app: &App) -> Result<u64, StoreError> {
    let mut count = 0;
    for webhook in app.store.list_webhooks(&Page::newest(1_000)).await? {
        let state = Some(DeliveryState::Pending);
        let page = Page::newest(Page::LIMIT);
        count += app.store.list_deliveries(Some(&webhook.id), state, &page).await?.len() as u64;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_within_its_spread_and_has_an_end() {
        for (attempt, least, most) in [(1, 2.5, 5.0), (2, 5.0, 10.0), (40, 1_800.0, 3_600.0)] {
            let at = next(Timestamp(0), attempt, Duration::from_secs(5));
            let seconds = at.0 as f64 / 1e9;
            assert!((least..=most).contains(&seconds), "{attempt}: {seconds}");
        }
    }
}
