//! What is old goes, what is needed stays, the audit log stays whole.

use prophecy_core::Timestamp;
use prophecy_store::{Page, PredictionFilter, Retained, Retention, Store};

use crate::place::each;
use crate::sample::{DAY, START, fill, id, log_line, prediction, rollout, time};

async fn end(store: &Store, n: u64) {
    let mut ended = store.get_rollout(&id(n)).await.expect("stored");
    ended.ended_at = Some(time(n));
    store.update_rollout(&ended, ended.revision, &[]).await.expect("ended");
}

#[tokio::test]
async fn logs_go_after_a_month_and_records_after_a_year() {
    each(async |place| {
        let store = place.store().await;
        fill(&store, 3).await;
        end(&store, 0).await;
        end(&store, 1).await;
        let retention = Retention::default();
        let at_once = store.retain(Timestamp(START + DAY), &retention).await.unwrap();
        assert_eq!(at_once, Retained::default());
        let month = store.retain(Timestamp(START + 31 * DAY), &retention).await.unwrap();
        assert_eq!(month, Retained { logs: 6, idempotency_keys: 3, ..Retained::default() });
        let year = store.retain(Timestamp(START + 366 * DAY), &retention).await.unwrap();
        // The third rollout runs on, and its prediction is kept with it; the deliveries wait on,
        // and their events with them.
        assert_eq!(year, Retained { rollouts: 2, predictions: 2, ..Retained::default() });
        let left =
            store.list_predictions(&PredictionFilter::default(), &Page::oldest(9)).await.unwrap();
        assert_eq!(left, [prediction(2).prediction]);
        assert!(store.list_claims(&id(0)).await.unwrap().is_empty());
        assert!(store.get_report(&id(0)).await.is_err());
        assert!(store.get_outcome(&id(0)).await.unwrap().is_none());
        assert!(store.list_steps(&id(1)).await.unwrap().is_empty());
        assert_eq!(store.verify_audit().await.unwrap().entries, 3);
    })
    .await;
}

#[tokio::test]
async fn done_deliveries_go_and_free_their_events_whose_numbers_do_not_come_again() {
    each(async |place| {
        let store = place.store().await;
        fill(&store, 2).await;
        let lease = std::time::Duration::from_secs(1);
        for mut delivery in store.claim_due_deliveries(time(9), lease, 9).await.unwrap() {
            delivery.state = prophecy_store::DeliveryState::Dead;
            store.update_delivery(&delivery).await.unwrap();
        }
        let year = Timestamp(START + 400 * DAY);
        let retained = store.retain(year, &Retention::default()).await.unwrap();
        assert_eq!((retained.deliveries, retained.events), (2, 2));
        assert_eq!(store.insert_event(&crate::sample::event(8)).await.unwrap(), 3);
        store.create_rollout(&rollout(7)).await.unwrap();
        assert_eq!(store.append_logs(&id(7), &[log_line(1)]).await.unwrap(), 5);
    })
    .await;
}
