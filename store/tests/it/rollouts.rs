//! Rollouts: created once, changed only by who saw the last change, told to whom it concerns.

use std::time::Duration;

use prophecy_store::{
    Created, DeliveryState, EventFilter, Page, PublicStatus, RolloutFilter, StoreError,
};

use crate::place::each;
use crate::sample::{
    self, approval, delivery, event, id, log_line, rollout, step, time, verdict, webhook,
};

#[tokio::test]
async fn one_key_creates_one_rollout_however_many_ask() {
    each(async |place| {
        let store = place.store().await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..12 {
            let (store, mut asked) = (store.clone(), rollout(n));
            asked.idempotency_key = Some("release-7".to_owned());
            tasks.spawn(async move { store.create_rollout(&asked).await.unwrap() });
        }
        let created = tasks.join_all().await;
        let new: Vec<_> = created.iter().filter(|c| matches!(c, Created::New(_))).collect();
        let [Created::New(first)] = new.as_slice() else { panic!("{new:?}") };
        for existing in &created {
            let (Created::New(found) | Created::Existing(found)) = existing;
            assert_eq!(found, first);
        }
        let all = store.list_rollouts(&RolloutFilter::default(), &Page::newest(50)).await.unwrap();
        assert_eq!(all.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_stale_revision_changes_nothing_and_tells_nobody() {
    each(async |place| {
        let store = place.store().await;
        store.create_rollout(&rollout(1)).await.unwrap();
        let mut changed = rollout(1);
        changed.weight = 50_000;
        let first = store.update_rollout(&changed, 0, &[event(1)]).await.unwrap();
        assert_eq!((first.revision, first.weight), (1, 50_000));
        changed.weight = 0;
        let stale = store.update_rollout(&changed, 0, &[event(2)]).await.unwrap_err();
        let expected = format!("rollout `{}`: found revision 1, expected revision 0", id(1));
        assert_eq!(stale.to_string(), expected);
        assert_eq!(store.get_rollout(&id(1)).await.unwrap(), first);
        assert_eq!(store.last_event_seq().await.unwrap(), 1);
        let absent = store.update_rollout(&rollout(3), 0, &[]).await;
        assert!(matches!(absent, Err(StoreError::NotFound { .. })), "{absent:?}");
    })
    .await;
}

#[tokio::test]
async fn of_many_that_saw_one_revision_one_changes_it() {
    each(async |place| {
        let store = place.store().await;
        store.create_rollout(&rollout(1)).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..10 {
            let (store, mut changed) = (store.clone(), rollout(1));
            changed.weight = n;
            tasks.spawn(async move { store.update_rollout(&changed, 0, &[event(n)]).await });
        }
        let results = tasks.join_all().await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        let conflicts = results.iter().filter(|r| matches!(r, Err(StoreError::Conflict { .. })));
        assert_eq!(conflicts.count(), 9, "{results:?}");
        assert_eq!(store.events_since(&EventFilter::default(), 50).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn rollouts_are_found_by_place_build_status_and_end() {
    each(async |place| {
        let store = place.store().await;
        for n in 0..6 {
            store.create_rollout(&rollout(n)).await.unwrap();
        }
        let mut done = rollout(3);
        (done.public_status, done.ended_at) = (PublicStatus::RolledBack, Some(time(99)));
        done.reason = Some("errors".to_owned());
        let done = store.update_rollout(&done, 0, &[]).await.unwrap();
        let cases = [
            (RolloutFilter { system: Some("Bank".into()), ..Default::default() }, vec![5, 3, 1]),
            (RolloutFilter { active: Some(false), ..Default::default() }, vec![3]),
            (RolloutFilter { active: Some(true), ..Default::default() }, vec![5, 4, 2, 1, 0]),
            (
                RolloutFilter {
                    public_status: Some(PublicStatus::RolledBack),
                    prediction_id: Some(id(3)),
                    candidate_digest: Some("candidate-3".into()),
                    environment: Some("production".into()),
                    ..Default::default()
                },
                vec![3],
            ),
        ];
        for (filter, expected) in cases {
            let found = store.list_rollouts(&filter, &Page::newest(50)).await.unwrap();
            let found: Vec<String> = found.into_iter().map(|rollout| rollout.id).collect();
            assert_eq!(found, expected.into_iter().map(id).collect::<Vec<_>>(), "{filter:?}");
        }
        assert_eq!(store.get_rollout(&id(3)).await.unwrap(), done);
    })
    .await;
}

#[tokio::test]
async fn what_belongs_to_a_rollout_comes_back_in_order() {
    each(async |place| {
        let store = place.store().await;
        store.create_rollout(&rollout(1)).await.unwrap();
        store.put_step(&step(1, 1)).await.unwrap();
        store.put_step(&step(1, 0)).await.unwrap();
        let mut ended = step(1, 0);
        (ended.ended_at, ended.verdict) = (Some(time(9)), Some("pass".to_owned()));
        store.put_step(&ended).await.unwrap();
        assert_eq!(store.list_steps(&id(1)).await.unwrap(), [ended, step(1, 1)]);
        for at in [5, 3, 4] {
            store.insert_verdict(&verdict(1, at)).await.unwrap();
        }
        let verdicts = store.list_verdicts(&id(1)).await.unwrap();
        assert_eq!(verdicts, [verdict(1, 3), verdict(1, 4), verdict(1, 5)]);
        store.insert_approval(&approval(1)).await.unwrap();
        assert_eq!(store.list_approvals(&id(1)).await.unwrap(), [approval(1)]);
        let orphan = store.insert_verdict(&verdict(2, 1)).await;
        assert!(matches!(orphan, Err(StoreError::Invalid { .. })), "{orphan:?}");
    })
    .await;
}

#[tokio::test]
async fn a_log_is_followed_from_any_line() {
    each(async |place| {
        let store = place.store().await;
        store.create_rollout(&rollout(1)).await.unwrap();
        store.create_rollout(&rollout(2)).await.unwrap();
        let last = store.append_logs(&id(1), &[log_line(0), log_line(1)]).await.unwrap();
        store.append_logs(&id(2), &[log_line(7)]).await.unwrap();
        store.append_logs(&id(1), &[log_line(2)]).await.unwrap();
        let all = store.list_logs(&id(1), 0, 50).await.unwrap();
        let texts: Vec<&str> = all.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["line 0", "line 1", "line 2"]);
        assert_eq!(store.list_logs(&id(1), last, 50).await.unwrap(), all[2..]);
        assert_eq!(store.tail_logs(&id(1), 2).await.unwrap(), all[1..]);
        let orphan = store.append_logs(&id(9), &[log_line(0)]).await;
        assert!(matches!(orphan, Err(StoreError::Invalid { .. })), "{orphan:?}");
    })
    .await;
}

#[tokio::test]
async fn events_are_narrowed_by_subject_and_type() {
    each(async |place| {
        let store = place.store().await;
        for n in 0..6 {
            assert_eq!(store.insert_event(&event(n)).await.unwrap(), n + 1);
        }
        let filter = EventFilter { subject: Some(id(1)), ..Default::default() };
        let found = store.events_since(&filter, 50).await.unwrap();
        assert_eq!(found.iter().map(|event| event.seq).collect::<Vec<_>>(), [2, 5]);
        assert_eq!(found[0].event, event(1));
        let filter = EventFilter {
            seq: 2,
            event_type: Some("deployment.failed".into()),
            ..Default::default()
        };
        let found = store.events_since(&filter, 1).await.unwrap();
        assert_eq!(found.iter().map(|event| event.seq).collect::<Vec<_>>(), [4]);
    })
    .await;
}

#[tokio::test]
async fn a_due_delivery_is_given_to_one_carrier_at_a_time() {
    each(async |place| {
        let store = place.store().await;
        store.insert_webhook(&webhook(0)).await.unwrap();
        for n in 0..40 {
            let seq = store.insert_event(&event(n)).await.unwrap();
            store.insert_delivery(&delivery(n, 0, seq)).await.unwrap();
        }
        let lease = Duration::from_mins(1);
        assert_eq!(store.claim_due_deliveries(time(4), lease, 50).await.unwrap().len(), 5);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..7 {
            let store = place.store().await;
            tasks.spawn(
                async move { store.claim_due_deliveries(time(39), lease, 5).await.unwrap() },
            );
        }
        let mut claimed: Vec<u64> =
            tasks.join_all().await.into_iter().flatten().map(|d| d.event_seq).collect();
        claimed.sort_unstable();
        assert_eq!(claimed, (6..=40).collect::<Vec<u64>>());
        assert!(store.claim_due_deliveries(time(63), lease, 50).await.unwrap().is_empty());
        let again = store.claim_due_deliveries(time(64), lease, 50).await.unwrap();
        assert_eq!(again.iter().map(|d| d.event_seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(again.iter().all(|delivery| delivery.attempt == 2));
    })
    .await;
}

#[tokio::test]
async fn a_carrier_that_came_too_late_is_not_heard() {
    each(async |place| {
        let store = place.store().await;
        sample::fill(&store, 1).await;
        let lease = Duration::from_secs(10);
        let late = store.claim_due_deliveries(time(1), lease, 1).await.unwrap().remove(0);
        let mut prompt = store.claim_due_deliveries(time(11), lease, 1).await.unwrap().remove(0);
        (prompt.state, prompt.last_status) = (DeliveryState::Delivered, Some(204));
        store.update_delivery(&prompt).await.unwrap();
        let result = store.update_delivery(&late).await;
        assert!(matches!(result, Err(StoreError::Conflict { .. })), "{result:?}");
        assert_eq!(store.get_delivery(&prompt.id).await.unwrap(), prompt);
        let delivered = Some(DeliveryState::Delivered);
        let listed =
            store.list_deliveries(Some(&id(0)), delivered, &Page::newest(9)).await.unwrap();
        assert_eq!(listed, [prompt]);
        assert!(store.claim_due_deliveries(time(999), lease, 9).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_webhook_is_switched_off_and_stays_listed() {
    each(async |place| {
        let store = place.store().await;
        store.insert_webhook(&webhook(1)).await.unwrap();
        let off = store.disable_webhook(&id(1), time(5)).await.unwrap();
        assert_eq!(off.disabled_at, Some(time(5)));
        assert_eq!(store.list_webhooks(&Page::oldest(9)).await.unwrap(), [off]);
    })
    .await;
}
