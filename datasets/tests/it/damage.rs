//! Damaged, foreign and unfinished datasets.

use std::fs;
use std::path::Path;

use prophecy_core::Ledger;
use prophecy_datasets::{Dataset, OpenDatasetError, WriteDatasetError, verify};

use crate::rows::{rows, write, write_exchanges, writer};

/// Damages a good dataset and returns the problems that are found.
fn problems(damage: impl Fn(&Path)) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), &rows(1, 200));
    damage(folder.path());
    verify(folder.path()).expect("there is a manifest").problems
}

#[test]
fn finds_every_kind_of_damage() {
    let part = "exchanges-00001.arrow";
    let missing = problems(|folder| fs::remove_file(folder.join(part)).expect("removes"));
    assert!(missing[0].contains(part) && missing[0].contains("cannot read"), "{missing:?}");
    let altered = problems(|folder| {
        let mut bytes = fs::read(folder.join(part)).expect("reads");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(folder.join(part), bytes).expect("writes");
    });
    assert!(altered[0].contains("BLAKE3"), "{altered:?}");
    let truncated = problems(|folder| {
        let bytes = fs::read(folder.join(part)).expect("reads");
        fs::write(folder.join(part), &bytes[..bytes.len() - 7]).expect("writes");
    });
    assert!(truncated[0].contains("bytes, the manifest says"), "{truncated:?}");
    let cooked = problems(|folder| {
        let path = folder.join("manifest.json");
        let text = fs::read_to_string(&path).expect("reads");
        fs::write(path, text.replace("\"seen\": 200", "\"seen\": 201")).expect("writes");
    });
    assert!(cooked[0].contains("the ledger does not add up"), "{cooked:?}");
}

#[test]
fn says_what_a_folder_is_instead_of_a_dataset() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let open = || Dataset::open(folder.path()).expect_err("not a dataset");
    assert!(matches!(open(), OpenDatasetError::NoManifest { .. }));
    let write = |text: &str| fs::write(folder.path().join("manifest.json"), text).expect("writes");
    write("{\"schema\": 7");
    assert!(matches!(open(), OpenDatasetError::Manifest { .. }));
    write("{\"schema\": \"prophecy.dataset/99\"}");
    assert!(
        matches!(open(), OpenDatasetError::Schema { found, .. } if found == "prophecy.dataset/99")
    );
    write("{\"schema\": \"prophecy.dataset/1\"}");
    assert!(matches!(open(), OpenDatasetError::Manifest { .. }));
    let nowhere = Dataset::open(&folder.path().join("nowhere")).expect_err("not there");
    assert!(matches!(nowhere, OpenDatasetError::Read { .. }));
}

#[test]
fn writes_only_into_an_empty_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("mine"), "do not touch").expect("writes");
    let options = prophecy_datasets::DatasetOptions {
        sources: Vec::new(),
        policy_name: String::new(),
        policy_digest: String::new(),
        key_id: String::new(),
        part_rows: 1,
    };
    let refused = prophecy_datasets::DatasetWriter::create(folder.path(), options);
    assert!(matches!(refused, Err(WriteDatasetError::Occupied { .. })));
    assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 1);
}

/// The writer disappears with 50 rows checkpointed, 20 written after that, and a file half-written.
#[test]
fn counts_what_a_crash_lost() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows = rows(1, 70);
    let (mut writer, sanitizer) = writer(folder.path());
    let mut ledger = Ledger::default();
    write_exchanges(&mut writer, &sanitizer, &rows.exchanges[..50], &mut ledger);
    writer.checkpoint(&ledger).expect("checkpoints");
    write_exchanges(&mut writer, &sanitizer, &rows.exchanges[50..], &mut ledger);
    drop(writer);
    fs::write(folder.path().join("exchanges-00001.arrow.tmp"), "half").expect("writes");
    let found = verify(folder.path()).expect("verifies");
    assert!(found.passed(), "{found:?}");
    assert!(found.notes.iter().any(|note| note.contains("lost: 20 exchanges")), "{found:?}");
    assert!(found.notes.iter().any(|note| note.contains(".tmp")), "{found:?}");
    let whole = Dataset::open(folder.path()).expect("opens").exchanges().expect("reads");
    assert_eq!(whole, rows.exchanges[..50]);
}
