//! Lists that are longer than a page.

use prophecy_store::{Order, Page, PredictionFilter, Store};

use crate::place::each;
use crate::sample::{id, prediction};

async fn walk(store: &Store, filter: &PredictionFilter, mut page: Page) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let found = store.list_predictions(filter, &page).await.expect("read");
        let Some(last) = found.last() else { return seen };
        page = page.after(&last.id);
        seen.extend(found.into_iter().map(|prediction| prediction.id));
    }
}

#[tokio::test]
async fn ten_thousand_predictions_are_listed_page_by_page_in_order() {
    each(async |place| {
        let store = place.store().await;
        // Not in their order, so that the order of the list is no accident.
        let mut tasks = tokio::task::JoinSet::new();
        for part in 0..4 {
            let store = store.clone();
            tasks.spawn(async move {
                for n in (0..2_500).rev() {
                    let mut new = prediction(4 * n + part);
                    new.claims.clear();
                    store.insert_prediction(&new).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        let mut expected: Vec<String> = (0..10_000).map(id).collect();
        let all = PredictionFilter::default();
        assert!(walk(&store, &all, Page::oldest(997)).await == expected);
        expected.reverse();
        assert!(walk(&store, &all, Page::newest(500)).await == expected);
        let bank = PredictionFilter { system: Some("Bank".to_owned()), ..all.clone() };
        let expected: Vec<String> = (0..5_000).rev().map(|n| id(2 * n + 1)).collect();
        assert!(walk(&store, &bank, Page::newest(333)).await == expected);
        assert_eq!(store.count_predictions(&bank).await.unwrap(), 5_000);
    })
    .await;
}

#[tokio::test]
async fn what_is_added_meanwhile_neither_repeats_nor_hides() {
    each(async |place| {
        let store = place.store().await;
        for n in 10..20 {
            store.insert_prediction(&prediction(n)).await.unwrap();
        }
        let all = PredictionFilter::default();
        let first = store.list_predictions(&all, &Page::newest(4)).await.unwrap();
        store.insert_prediction(&prediction(30)).await.unwrap();
        store.insert_prediction(&prediction(2)).await.unwrap();
        let rest = walk(&store, &all, Page::newest(4).after(&first[3].id)).await;
        assert_eq!(rest, [15, 14, 13, 12, 11, 10, 2].map(id));
    })
    .await;
}

#[tokio::test]
async fn texts_are_ordered_by_their_bytes_in_either_database() {
    each(async |place| {
        let store = place.store().await;
        for name in ["b", "B", "a", "_", "á", "Z"] {
            let mut new = prediction(0);
            new.claims.clear();
            new.prediction.id = name.to_owned();
            store.insert_prediction(&new).await.unwrap();
        }
        let page = Page { after: None, limit: 2, order: Order::OldestFirst };
        let seen = walk(&store, &PredictionFilter::default(), page).await;
        assert_eq!(seen, ["B", "Z", "_", "a", "b", "á"]);
    })
    .await;
}
