//! Stores of earlier and later schemas.

use prophecy_store::{Store, StoreError};

use crate::place::{Place, each};
use crate::sample::{audit, event, id, outcome, prediction, rollout};

#[tokio::test]
async fn an_empty_place_becomes_a_store_however_many_open_it() {
    each(async |place| {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let url = place.url.clone();
            tasks.spawn(async move { Store::open(&url).await.map(drop) });
        }
        for opened in tasks.join_all().await {
            opened.unwrap();
        }
        let store = place.store().await;
        assert_eq!(store.schema_version().await.unwrap(), 3);
        store.check().await.unwrap();
        assert_eq!(store.append_audit(&audit(1)).await.unwrap().seq, 1);
    })
    .await;
}

#[tokio::test]
async fn an_older_store_is_brought_up_to_date_with_all_it_holds() {
    for version in [1, 2] {
        each(async |place| {
            let old = Store::open_at_schema(&place.url, version).await.unwrap();
            assert_eq!(old.schema_version().await.unwrap(), version);
            old.insert_prediction(&prediction(1)).await.unwrap();
            let (outcome, claims) = outcome(1);
            old.insert_outcome(&outcome, &claims).await.unwrap();
            if version == 2 {
                old.create_rollout(&rollout(1)).await.unwrap();
                old.insert_event(&event(1)).await.unwrap();
            }
            let before = old.content().await.unwrap();
            old.close().await;
            let store = place.store().await;
            assert_eq!(store.schema_version().await.unwrap(), 3);
            assert_eq!(store.content().await.unwrap(), before);
            assert_eq!(store.get_prediction(&id(1)).await.unwrap(), prediction(1).prediction);
            store.append_audit(&audit(1)).await.unwrap();
            assert_eq!(store.insert_event(&event(2)).await.unwrap(), version);
        })
        .await;
    }
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_refused() {
    each(async |place| {
        place.store().await.close().await;
        let mut raw = place.raw().await;
        raw.run("INSERT INTO schema_versions VALUES (4, '0004_future', 'digest')").await.unwrap();
        raw.close().await;
        let refused = Store::open(&place.url).await.unwrap_err();
        assert!(matches!(refused, StoreError::Schema { found: 4, expected: 3 }), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn a_store_made_by_other_migrations_is_refused() {
    each(async |place| {
        place.store().await.close().await;
        let mut raw = place.raw().await;
        raw.run("UPDATE schema_versions SET digest = 'another' WHERE version = 2").await.unwrap();
        raw.close().await;
        let refused = Store::open(&place.url).await.unwrap_err();
        assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_older_store() {
    let place = Place::sqlite();
    Store::open_at_schema(&place.url, 1).await.unwrap().close().await;
    let mut raw = place.raw().await;
    raw.run("CREATE TABLE webhooks (in_the_way TEXT)").await.unwrap();
    Store::open(&place.url).await.unwrap_err();
    raw.run("DROP TABLE webhooks").await.unwrap();
    raw.close().await;
    let store = Store::open(&place.url).await.unwrap();
    assert_eq!(store.schema_version().await.unwrap(), 3);
}
