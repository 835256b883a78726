//! Many writers at one time, within a program and from several.

use prophecy_store::{EventFilter, Page, PredictionFilter};

use crate::place::each;
use crate::sample::{audit, event, prediction};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_follower_of_events_misses_none_of_many_writers() {
    each(async |place| {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..6 {
            // A store of its own is what another program would have.
            let store = place.store().await;
            writers.spawn(async move {
                for n in 0..40 {
                    store.insert_event(&event(100 * writer + n)).await.unwrap();
                }
            });
        }
        let store = place.store().await;
        let mut seen = Vec::new();
        while seen.len() < 240 {
            let filter =
                EventFilter { seq: seen.last().copied().unwrap_or(0), ..Default::default() };
            let found = store.events_since(&filter, 50).await.unwrap();
            seen.extend(found.into_iter().map(|event| event.seq));
            let is_over = writers.is_empty() && seen.len() < 240;
            assert!(
                !is_over || store.last_event_seq().await.unwrap() == 240,
                "writers ended early"
            );
            while writers.try_join_next().is_some() {}
        }
        assert_eq!(seen, (1..=240).collect::<Vec<u64>>());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_audit_log_of_many_writers_is_one_chain() {
    each(async |place| {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..6 {
            let store = place.store().await;
            writers.spawn(async move {
                for n in 0..25 {
                    store.append_audit(&audit(100 * writer + n)).await.unwrap();
                }
            });
        }
        writers.join_all().await;
        let chain = place.store().await.verify_audit().await.unwrap();
        assert_eq!(chain.entries, 150);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_whole_predictions_while_they_are_written() {
    each(async |place| {
        let store = place.store().await;
        let writer = store.clone();
        let writing = tokio::spawn(async move {
            for n in 0..150 {
                writer.insert_prediction(&prediction(n)).await.unwrap();
            }
        });
        let all = PredictionFilter::default();
        while !writing.is_finished() {
            if let [newest] =
                store.list_predictions(&all, &Page::newest(1)).await.unwrap().as_slice()
            {
                assert_eq!(store.list_claims(&newest.id).await.unwrap().len(), 2);
                store.get_report(&newest.id).await.unwrap();
            }
        }
        writing.await.unwrap();
        assert_eq!(store.count_predictions(&all).await.unwrap(), 150);
    })
    .await;
}
