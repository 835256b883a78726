//! Every record comes back as it was given, and what does not fit is refused.

use prophecy_store::{PredictionFilter, Reservation, SettledFilter, StoreError, sortable_id};

use crate::place::each;
use crate::sample::{self, id, idempotency_key, outcome, prediction, time, token};

#[tokio::test]
async fn predictions_come_back_to_the_last_bit() {
    each(async |place| {
        let store = place.store().await;
        let new = prediction(4);
        store.insert_prediction(&new).await.unwrap();
        assert_eq!(store.get_prediction(&id(4)).await.unwrap(), new.prediction);
        assert_eq!(store.get_report(&id(4)).await.unwrap(), new.report_json);
        let claims = store.list_claims(&id(4)).await.unwrap();
        assert_eq!(claims, new.claims);
        let bits = |claim: &prophecy_store::Claim| {
            [claim.p5, claim.p25, claim.p50, claim.p75, claim.p90, claim.caused].map(f64::to_bits)
        };
        assert_eq!(bits(&claims[0]), bits(&new.claims[0]));
        assert!(new.claims[0].p10.is_sign_negative(), "a zero with a sign is given");
        assert!(claims[0].p10.is_sign_positive(), "and has none in either database");
    })
    .await;
}

#[tokio::test]
async fn outcomes_stand_beside_their_claims() {
    each(async |place| {
        let store = place.store().await;
        for n in 0..4 {
            store.insert_prediction(&prediction(n)).await.unwrap();
        }
        for n in [1, 2] {
            let (outcome, claims) = outcome(n);
            store.insert_outcome(&outcome, &claims).await.unwrap();
            assert_eq!(store.get_outcome(&id(n)).await.unwrap(), Some(outcome));
            assert_eq!(store.list_outcome_claims(&id(n)).await.unwrap(), claims);
        }
        assert_eq!(store.get_outcome(&id(3)).await.unwrap(), None);
        let settled = store.list_settled_claims(&SettledFilter::default(), 10).await.unwrap();
        let seen: Vec<_> = settled.iter().map(|s| (&s.claim.prediction_id, s.breached)).collect();
        let [one, two] = [id(1), id(2)];
        assert_eq!(seen, [(&two, true), (&two, false), (&one, true), (&one, false)]);
        assert_eq!(settled[0].claim, prediction(2).claims[0]);
        assert_eq!((settled[0].exchanges, settled[0].settled_at), (1_002, time(3_602)));
        let bank = SettledFilter {
            system: Some("Bank".to_owned()),
            metric: Some("error_rate".to_owned()),
            since: Some(time(1)),
            until: Some(time(2)),
            ..SettledFilter::default()
        };
        let found = store.list_settled_claims(&bank, 10).await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].claim.claim_id, "claim-1");
        for (settled, expected) in [(true, 2), (false, 2)] {
            let filter = PredictionFilter { settled: Some(settled), ..Default::default() };
            assert_eq!(store.count_predictions(&filter).await.unwrap(), expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_record_of_one_name_conflicts_and_leaves_the_first() {
    each(async |place| {
        let store = place.store().await;
        sample::fill(&store, 1).await;
        let before = store.content().await.unwrap();
        let mut other = prediction(0);
        other.prediction.system = "other".to_owned();
        let (outcome, claims) = outcome(0);
        let results = [
            store.insert_prediction(&other).await,
            store.insert_outcome(&outcome, &claims).await,
            store.insert_token(&token(0)).await,
            store.insert_event(&sample::event(0)).await.map(drop),
            store.insert_delivery(&sample::delivery(0, 0, 1)).await,
        ];
        for result in results {
            assert!(matches!(result, Err(StoreError::Conflict { .. })), "{result:?}");
        }
        assert_eq!(store.content().await.unwrap(), before);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_whole() {
    each(async |place| {
        let store = place.store().await;
        let mut not_a_number = prediction(0);
        not_a_number.prediction.risk = f64::NAN;
        let mut unlikely = prediction(0);
        unlikely.claims[1].probability = 1.5;
        let mut unknown = prediction(0);
        unknown.prediction.verdict = "maybe".to_owned();
        let mut long = prediction(0);
        long.prediction.window_seconds = u64::MAX;
        for new in [not_a_number, unlikely, unknown, long] {
            let result = store.insert_prediction(&new).await;
            assert!(matches!(result, Err(StoreError::Invalid { .. })), "{result:?}");
        }
        let (outcome, claims) = outcome(9);
        let result = store.insert_outcome(&outcome, &claims).await;
        assert!(matches!(result, Err(StoreError::Invalid { .. })), "{result:?}");
        let found = store.count_predictions(&PredictionFilter::default()).await.unwrap();
        assert_eq!(found, 0, "nothing of a refused prediction stays");
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    each(async |place| {
        let store = place.store().await;
        let result = store.get_prediction("nobody").await;
        assert_eq!(result.unwrap_err().to_string(), "there is no prediction `nobody`");
        let result = store.revoke_token("'; DROP TABLE tokens; --", time(1)).await;
        assert!(matches!(result, Err(StoreError::NotFound { .. })), "{result:?}");
        assert_eq!(store.find_token("nothing").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_prediction_is_revoked_once() {
    each(async |place| {
        let store = place.store().await;
        store.insert_prediction(&prediction(1)).await.unwrap();
        assert_eq!(
            store.revoke_prediction(&id(1), time(5)).await.unwrap().revoked_at,
            Some(time(5))
        );
        let again = store.revoke_prediction(&id(1), time(9)).await.unwrap();
        assert_eq!(again.revoked_at, Some(time(5)));
    })
    .await;
}

#[tokio::test]
async fn tokens_are_found_by_hash_used_and_revoked() {
    each(async |place| {
        let store = place.store().await;
        for n in 0..4 {
            store.insert_token(&token(n)).await.unwrap();
            assert_eq!(store.find_token(&format!("hash-{n}")).await.unwrap(), Some(token(n)));
        }
        store.touch_token(&id(2), time(50)).await.unwrap();
        store.touch_token(&id(2), time(40)).await.unwrap();
        let revoked = store.revoke_token(&id(2), time(60)).await.unwrap();
        assert_eq!(revoked.last_used_at, Some(time(50)));
        assert_eq!(revoked.revoked_at, Some(time(60)));
        assert_eq!(store.get_token(&id(3)).await.unwrap().revoked_at, None);
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_key_is_taken_answered_and_given_back() {
    each(async |place| {
        let store = place.store().await;
        let key = idempotency_key(1);
        assert_eq!(store.reserve_idempotency_key(&key).await.unwrap(), Reservation::New);
        let other = prophecy_store::IdempotencyKey {
            request_digest: "another".to_owned(),
            ..idempotency_key(1)
        };
        let found = store.reserve_idempotency_key(&other).await.unwrap();
        assert_eq!(found, Reservation::Existing(key.clone()));
        store.release_idempotency_key("ada", "key-1").await.unwrap();
        assert_eq!(store.reserve_idempotency_key(&key).await.unwrap(), Reservation::New);
        store.complete_idempotency_key("ada", "key-1", 201, "{}").await.unwrap();
        let again = store.complete_idempotency_key("ada", "key-1", 500, "").await;
        assert!(matches!(again, Err(StoreError::NotFound { .. })), "{again:?}");
        store.release_idempotency_key("ada", "key-1").await.unwrap();
        let Reservation::Existing(answered) = store.reserve_idempotency_key(&key).await.unwrap()
        else {
            panic!("an answered key is not given back")
        };
        assert_eq!(
            (answered.response_status, answered.response_body.as_deref()),
            (Some(201), Some("{}"))
        );
    })
    .await;
}

#[tokio::test]
async fn texts_of_any_language_and_length_come_back() {
    each(async |place| {
        let store = place.store().await;
        let text: String = "ß€𝄞\u{7f}\\'\";--\r\n".repeat(100_000);
        let mut new = prediction(0);
        new.prediction.id = sortable_id(time(0), [255; 10]);
        new.claims.clear();
        new.report_json.clone_from(&text);
        store.insert_prediction(&new).await.unwrap();
        assert!(store.get_report(&new.prediction.id).await.unwrap() == text);
    })
    .await;
}
