//! What a caller is told when the store is locked, gone, full, damaged or misaddressed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prophecy_store::{PredictionFilter, Store, StoreError, StoreOptions};

use crate::place::{Place, each};
use crate::sample::{event, fill, id, prediction};
use crate::server::Server;

#[tokio::test]
async fn a_locked_store_says_so_within_its_wait_and_can_still_be_read() {
    each(async |place| {
        let store = place.impatient_store().await;
        store.insert_prediction(&prediction(1)).await.unwrap();
        let mut holder = place.raw().await;
        let lock = if place.is_postgres() {
            "BEGIN; LOCK TABLE predictions, counters IN EXCLUSIVE MODE"
        } else {
            "BEGIN IMMEDIATE"
        };
        holder.run(lock).await.unwrap();
        let started = Instant::now();
        let locked = store.insert_prediction(&prediction(2)).await;
        assert!(matches!(locked, Err(StoreError::Locked { .. })), "{locked:?}");
        let waited = started.elapsed();
        assert!(waited >= Duration::from_millis(250), "{waited:?}");
        let locked = store.insert_event(&event(2)).await;
        assert!(matches!(locked, Err(StoreError::Locked { .. })), "{locked:?}");
        store.get_prediction(&id(1)).await.unwrap();
        // It also opens, since nothing has to be migrated.
        place.impatient_store().await.check().await.unwrap();
        holder.run("ROLLBACK").await.unwrap();
        store.insert_prediction(&prediction(2)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_file_that_was_removed_or_replaced_is_gone() {
    let place = Place::sqlite();
    let store = place.store().await;
    store.insert_prediction(&prediction(1)).await.unwrap();
    let path = place.folder.path().join("store.db");
    let moved = place.folder.path().join("moved.db");
    fs::rename(&path, &moved).unwrap();
    let absent = store.insert_prediction(&prediction(2)).await;
    assert!(matches!(absent, Err(StoreError::Gone { .. })), "{absent:?}");
    fs::write(&path, "").unwrap();
    let replaced = store.check().await;
    assert!(matches!(replaced, Err(StoreError::Gone { .. })), "{replaced:?}");
    fs::rename(&moved, &path).unwrap();
    store.insert_prediction(&prediction(2)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_stopped_is_gone() {
    let Some(server) = Server::start() else { return };
    let options = StoreOptions { wait: Duration::from_millis(800), ..StoreOptions::default() };
    let url = server.database().await;
    let store = Store::open_with(&url, options).await.unwrap();
    store.check().await.unwrap();
    server.stop();
    for result in [store.check().await, store.insert_prediction(&prediction(1)).await] {
        assert!(matches!(result, Err(StoreError::Gone { .. })), "{result:?}");
    }
    let result = Store::open_with(&url, options).await;
    assert!(matches!(result, Err(StoreError::Gone { .. })), "{result:?}");
}

#[tokio::test]
async fn a_folder_that_is_absent_is_gone_and_not_made() {
    let place = Place::sqlite();
    let folder = place.folder.path().join("absent");
    let result = Store::open(&format!("sqlite:{}", folder.join("store.db").display())).await;
    assert!(matches!(result, Err(StoreError::Gone { .. })), "{result:?}");
    assert!(!folder.exists());
}

/// A small file system of our own.
struct SmallDisk(PathBuf);

impl SmallDisk {
    #[expect(clippy::print_stdout, reason = "a test says why it was skipped")]
    fn mount(path: &Path, size: &str) -> Option<Self> {
        fs::create_dir(path).expect("a folder");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", size, "tmpfs"])
            .arg(path)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(path.to_owned())),
            _ => {
                println!("skipped: a small file system cannot be mounted here");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg("-l").arg(&self.0).output());
    }
}

#[tokio::test]
async fn a_full_disk_is_told_from_a_lock_and_loses_nothing_that_was_stored() {
    let place = Place::sqlite();
    let Some(disk) = SmallDisk::mount(&place.folder.path().join("disk"), "size=2m") else { return };
    let url = format!("sqlite:{}", disk.0.join("store.db").display());
    let store = Store::open(&url).await.unwrap();
    let mut stored = 0;
    let refused = loop {
        let mut new = prediction(stored);
        new.report_json = "x".repeat(50_000);
        match store.insert_prediction(&new).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Full { .. }), "{refused:?}");
    assert!(stored > 3, "{stored}");
    let found = store.count_predictions(&PredictionFilter::default()).await.unwrap();
    assert_eq!(found, stored);
    store.get_report(&id(stored - 1)).await.unwrap();
    let dump = store.dump(&disk.0.join("dump")).await;
    assert!(matches!(dump, Err(StoreError::Full { .. })), "{dump:?}");
    let backup = store.backup(&disk.0.join("backup")).await;
    assert!(matches!(backup, Err(StoreError::Full { .. })), "{backup:?}");
    assert!(!disk.0.join("dump.part").exists() && !disk.0.join("backup.part").exists());
    // What was half written by those is gone again, so that there is room for the work itself.
    store.close().await;
    let store = Store::open(&url).await.unwrap();
    assert_eq!(store.count_predictions(&PredictionFilter::default()).await.unwrap(), stored);
}

#[tokio::test]
async fn a_file_that_is_no_store_is_corrupt_and_left_alone() {
    let place = Place::sqlite();
    let path = place.folder.path().join("store.db");
    let text = "not a database\n".repeat(500);
    fs::write(&path, &text).unwrap();
    let result = Store::open(&place.url).await;
    assert!(matches!(result, Err(StoreError::Corrupt { .. })), "{result:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_damaged_page_is_corrupt() {
    let place = Place::sqlite();
    let store = place.store().await;
    fill(&store, 60).await;
    store.close().await;
    let path = place.folder.path().join("store.db");
    let mut bytes = fs::read(&path).unwrap();
    for page in bytes.chunks_mut(4096).skip(5) {
        page[..64].fill(0xa5);
    }
    fs::write(&path, bytes).unwrap();
    let result = match Store::open(&place.url).await {
        Ok(store) => store.content().await.map(drop),
        Err(error) => Err(error),
    };
    assert!(matches!(result, Err(StoreError::Corrupt { .. })), "{result:?}");
}

#[tokio::test]
async fn an_address_is_never_repeated() {
    for url in [
        "mysql://u:hunter2@h/d",
        "postgres://u:hunter2@[bad",
        "sqlite:",
        "hunter2",
        "sqlite::memory:",
    ] {
        let error = Store::open(url).await.unwrap_err();
        assert!(matches!(error, StoreError::Address { .. }), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
    }
    let store = Place::sqlite().store().await;
    assert_eq!(format!("{store:?}"), "Store(SQLite)");
}

#[tokio::test]
async fn only_the_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::sqlite();
    let store = place.store().await;
    fill(&store, 1).await;
    for file in fs::read_dir(place.folder.path()).unwrap().flatten() {
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", file.path().display());
    }
    let dump = place.folder.path().join("dump");
    let backup = place.folder.path().join("backup");
    store.dump(&dump).await.unwrap();
    store.backup(&backup).await.unwrap();
    for path in [dump, backup] {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
}
