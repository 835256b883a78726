//! Backups: taken while the store is used, restored into either database.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prophecy_store::{Page, PredictionFilter, Store, StoreError};

use crate::place::{Place, each};
use crate::sample::{audit, fill, id, prediction, rollout};

#[tokio::test]
async fn any_backup_is_restored_into_either_database() {
    each(async |place| {
        let store = place.store().await;
        fill(&store, 5).await;
        let content = store.content().await.unwrap();
        assert_eq!(content.counts["claims"], 10);
        let (backup, dump) = (place.folder.path().join("backup"), place.folder.path().join("dump"));
        assert_eq!(store.backup(&backup).await.unwrap(), content);
        assert_eq!(store.dump(&dump).await.unwrap(), content);
        for path in [&backup, &dump] {
            each(async |target| {
                assert_eq!(Store::restore(path, &target.url).await.unwrap(), content);
                let restored = target.store().await;
                assert_eq!(restored.content().await.unwrap(), content);
                let found = restored.get_prediction(&id(3)).await.unwrap();
                assert_eq!(found, prediction(3).prediction);
                assert_eq!(restored.verify_audit().await.unwrap().entries, 5);
                // It goes on where the other left off.
                assert_eq!(restored.insert_event(&crate::sample::event(50)).await.unwrap(), 6);
                assert_eq!(restored.append_audit(&audit(50)).await.unwrap().seq, 6);
            })
            .await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_taken_under_writes_is_one_moment_of_the_store() {
    each(async |place| {
        let store = place.store().await;
        fill(&store, 20).await;
        let stop = Arc::new(AtomicBool::new(false));
        let (writer, stopped) = (store.clone(), stop.clone());
        let writing = tokio::spawn(async move {
            let mut n = 1_000;
            while !stopped.load(Ordering::Relaxed) {
                writer.insert_prediction(&prediction(n)).await.unwrap();
                writer.create_rollout(&rollout(n)).await.unwrap();
                writer.append_audit(&audit(n)).await.unwrap();
                n += 1;
            }
            n - 1_000
        });
        let all = PredictionFilter::default();
        while store.count_predictions(&all).await.unwrap() < 30 {
            tokio::task::yield_now().await;
        }
        let path = place.folder.path().join("backup");
        let content = store.backup(&path).await.unwrap();
        stop.store(true, Ordering::Relaxed);
        let written = writing.await.unwrap();
        assert!(written > 0);
        each(async |target| {
            assert_eq!(Store::restore(&path, &target.url).await.unwrap(), content);
            let restored = target.store().await;
            // Every prediction is whole, and no audit entry is without the one before it.
            let newest = restored.list_predictions(&all, &Page::newest(1)).await.unwrap();
            assert_eq!(restored.list_claims(&newest[0].id).await.unwrap().len(), 2);
            let audited = restored.verify_audit().await.unwrap().entries;
            let predicted = restored.count_predictions(&all).await.unwrap();
            assert!(predicted - audited <= 1, "{predicted} predictions, {audited} audit entries");
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_store_of_an_older_schema_is_backed_up_and_restored() {
    each(async |place| {
        let old = Store::open_at_schema(&place.url, 1).await.unwrap();
        old.insert_prediction(&prediction(1)).await.unwrap();
        let path = place.folder.path().join("backup");
        let content = old.backup(&path).await.unwrap();
        each(async |target| {
            assert_eq!(Store::restore(&path, &target.url).await.unwrap(), content);
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_damaged_dump_is_refused_and_leaves_the_store_empty() {
    let place = Place::sqlite();
    let store = place.store().await;
    fill(&store, 3).await;
    let path = place.folder.path().join("dump");
    store.dump(&path).await.unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let without = |index: usize| {
        let mut lines = lines.clone();
        lines.remove(index);
        lines.join("\n")
    };
    let twice = [&lines[..lines.len()], &lines[lines.len() - 1..]].concat().join("\n");
    let damaged = [
        whole.replacen("storefront", "storefronts", 1),
        whole.replacen("\"risk\":0.0", "\"risk\":0.25", 1),
        whole.replacen("prophecy.store/1", "prophecy.store/9", 1),
        whole.replacen("\"table\":\"claims\"", "\"table\":\"clams\"", 1),
        whole.replacen("\"metric\"", "\"metrics\"", 1),
        without(lines.len() - 1),
        without(5),
        without(0),
        twice,
        whole[..whole.len() / 2].to_owned(),
        String::new(),
    ];
    each(async |target| {
        for (case, text) in damaged.iter().enumerate() {
            assert_ne!(*text, whole, "case {case} is damaged");
            let path = target.folder.path().join("damaged");
            fs::write(&path, text).unwrap();
            let refused = Store::restore(&path, &target.url).await;
            assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{case}: {refused:?}");
        }
        let newer = whole.replacen("\"schema\":3", "\"schema\":4", 1);
        let path = target.folder.path().join("newer");
        fs::write(&path, newer).unwrap();
        let refused = Store::restore(&path, &target.url).await;
        assert!(matches!(refused, Err(StoreError::Schema { found: 4, .. })), "{refused:?}");
        let counts = target.store().await.content().await.unwrap().counts;
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("counters".to_owned(), 3)]);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_overwritten_by_a_backup_or_a_restore() {
    each(async |place| {
        let store = place.store().await;
        fill(&store, 1).await;
        let path = place.folder.path().join("backup");
        fs::write(&path, "precious").unwrap();
        for refused in [store.backup(&path).await, store.dump(&path).await] {
            assert!(matches!(refused, Err(StoreError::File { .. })), "{refused:?}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let other = place.folder.path().join("other");
        store.dump(&other).await.unwrap();
        let refused = Store::restore(&other, &place.url).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
        let left: Vec<_> = fs::read_dir(place.folder.path()).unwrap().flatten().collect();
        assert!(left.iter().all(|entry| entry.path().extension().is_none_or(|e| e != "part")));
    })
    .await;
}
