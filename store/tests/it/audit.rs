//! The audit log: it refuses to be changed, and shows it when it was changed all the same.

use prophecy_store::{Store, StoreError};

use crate::place::{Place, Raw, each};
use crate::sample::audit;

async fn log_of(place: &Place, count: u64) -> Store {
    let store = place.store().await;
    for n in 0..count {
        store.append_audit(&audit(n)).await.expect("written");
    }
    store
}

/// Opens the log past its triggers, as somebody with the database in hand can.
async fn unlocked(place: &Place) -> Raw {
    let mut raw = place.raw().await;
    let sql = if place.is_postgres() {
        "DROP TRIGGER audit_refuses_change ON audit"
    } else {
        "DROP TRIGGER audit_refuses_update; DROP TRIGGER audit_refuses_delete"
    };
    raw.run(sql).await.expect("dropped");
    raw
}

async fn found_broken(store: &Store, expected: &str) {
    match store.verify_audit().await {
        Err(StoreError::Corrupt { what, reason }) => {
            assert_eq!(format!("{what}: {reason}"), expected);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn entries_are_chained_and_listed_from_both_ends() {
    each(async |place| {
        let store = log_of(&place, 5).await;
        let chain = store.verify_audit().await.unwrap();
        let all = store.list_audit(0, 50).await.unwrap();
        assert_eq!(chain.entries, 5);
        assert_eq!(chain.head, all[4].hash);
        assert_eq!(all[0].previous_hash, "0".repeat(64));
        assert_eq!(all[3].entry, audit(3));
        assert_eq!(store.list_audit(3, 50).await.unwrap(), all[3..]);
        let newest = store.list_audit_newest(Some(4), 2).await.unwrap();
        assert_eq!(newest, [all[2].clone(), all[1].clone()]);
    })
    .await;
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_an_entry() {
    each(async |place| {
        let store = log_of(&place, 3).await;
        let mut raw = place.raw().await;
        let mut attempts = vec![
            "UPDATE audit SET actor = 'nobody' WHERE seq = 2",
            "UPDATE audit SET seq = 9 WHERE seq = 3",
            "DELETE FROM audit",
            "INSERT INTO audit SELECT * FROM audit WHERE seq = 2",
        ];
        if place.is_postgres() {
            attempts.push("TRUNCATE audit");
            attempts.push(
                "INSERT INTO audit SELECT * FROM audit WHERE seq = 2 \
                 ON CONFLICT (seq) DO UPDATE SET actor = 'nobody'",
            );
        } else {
            attempts.push(
                "INSERT OR REPLACE INTO audit SELECT seq, at, 'nobody', action, object, \
                 detail_json, previous_hash, hash FROM audit WHERE seq = 2",
            );
        }
        for attempt in attempts {
            assert!(raw.run(attempt).await.is_err(), "{attempt}");
        }
        assert_eq!(store.verify_audit().await.unwrap().entries, 3);
    })
    .await;
}

#[tokio::test]
async fn a_changed_entry_is_named_whichever_field_was_changed() {
    each(async |place| {
        let store = log_of(&place, 5).await;
        let mut raw = unlocked(&place).await;
        let changed = "audit entry 3: its content is not what its hash was made of";
        for field in ["actor", "action", "object", "detail_json"] {
            raw.run(&format!("UPDATE audit SET {field} = {field} || 'x' WHERE seq = 3"))
                .await
                .unwrap();
            found_broken(&store, changed).await;
            let back = format!(
                "UPDATE audit SET {field} = substr({field}, 1, length({field}) - 1) WHERE seq = 3"
            );
            raw.run(&back).await.unwrap();
            store.verify_audit().await.unwrap();
        }
        raw.run("UPDATE audit SET at = at + 1 WHERE seq = 3").await.unwrap();
        found_broken(&store, changed).await;
        raw.run("UPDATE audit SET at = at - 1 WHERE seq = 3").await.unwrap();
        raw.run("UPDATE audit SET actor = 'ad', action = 'a' || action WHERE seq = 3")
            .await
            .unwrap();
        found_broken(&store, changed).await;
    })
    .await;
}

#[tokio::test]
async fn a_removed_entry_is_named() {
    each(async |place| {
        let store = log_of(&place, 5).await;
        let mut raw = unlocked(&place).await;
        raw.run("DELETE FROM audit WHERE seq = 5").await.unwrap();
        found_broken(&store, "audit entry 5: it is absent, but 5 were written").await;
        let refused = store.append_audit(&audit(9)).await;
        assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
        raw.run("DELETE FROM audit WHERE seq = 2").await.unwrap();
        found_broken(&store, "audit entry 2: it is absent").await;
    })
    .await;
}

#[tokio::test]
async fn an_entry_that_was_hashed_anew_breaks_the_next_link() {
    each(async |place| {
        let store = log_of(&place, 3).await;
        let forged = {
            // The same entry as the first of another log: a right hash in the wrong place.
            let other = Place::sqlite();
            let other = other.store().await;
            other.append_audit(&audit(77)).await.unwrap()
        };
        let mut raw = unlocked(&place).await;
        let sql = format!(
            "UPDATE audit SET at = {}, object = '{}', detail_json = '{}', hash = '{}' WHERE seq = 1",
            forged.entry.at.0, forged.entry.object, forged.entry.detail_json, forged.hash
        );
        raw.run(&sql).await.unwrap();
        found_broken(&store, "audit entry 2: it does not continue the entry before it").await;
    })
    .await;
}
