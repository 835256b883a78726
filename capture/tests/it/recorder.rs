//! What is on the disk while a recording runs, and after.

use std::path::Path;
use std::time::Duration;

use prophecy_capture::mirror::Mirror;
use prophecy_capture::recorder::RecordingOptions;
use prophecy_core::{Completeness, Exchange};
use prophecy_datasets::manifest::State;
use prophecy_datasets::{Dataset, verify};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::mirror::rig::{Upstream, mirror_options, read_exactly, recording};

const REQUEST: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Waits until a dataset that is being recorded shows this many exchanges.
fn wait_for(dataset: &Path, count: usize) -> Vec<Exchange> {
    for _ in 0..3_000 {
        let found = Dataset::open(dataset).map(|dataset| dataset.exchanges().unwrap());
        if let Ok(exchanges) = found
            && exchanges.len() == count
        {
            return exchanges;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{count} exchanges were not checkpointed in half a minute");
}

#[tokio::test]
async fn checkpoints_while_it_records_so_that_a_crash_keeps_them() {
    let upstream = Upstream::answering(OK).await;
    let (folder, recorder, recording) = recording(RecordingOptions::default());
    let dataset = folder.path().join("dataset");
    let mirror = Mirror::start(mirror_options(upstream.address), recorder).await.unwrap();
    let mut client = TcpStream::connect(mirror.address()).await.unwrap();
    for count in [1, 2] {
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        read_exactly(&mut client, OK.len()).await;
        // Nothing is finished; this is what would be left if the process were killed now.
        let reader = dataset.clone();
        let exchanges = tokio::task::spawn_blocking(move || wait_for(&reader, count));
        assert_eq!(exchanges.await.unwrap()[count - 1].completeness, Completeness::Complete);
    }
    assert_eq!(Dataset::open(&dataset).unwrap().manifest().state, State::Recording);
    let verification = verify(&dataset).unwrap();
    assert!(verification.passed(), "{verification:#?}");
    mirror.stop().await;
    drop(recording);
}

#[tokio::test]
async fn completes_a_dataset_that_verifies() {
    let upstream = Upstream::answering(OK).await;
    let (folder, recorder, recording) = recording(RecordingOptions::default());
    let dataset = folder.path().join("dataset");
    let mirror = Mirror::start(mirror_options(upstream.address), recorder).await.unwrap();
    for _ in 0..20 {
        let mut client = TcpStream::connect(mirror.address()).await.unwrap();
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        read_exactly(&mut client, OK.len()).await;
    }
    mirror.stop().await;
    let manifest = recording.finish().unwrap();
    assert_eq!((manifest.state, manifest.rows("exchanges")), (State::Complete, 20));
    let verification = verify(&dataset).unwrap();
    assert!(verification.passed(), "{verification:#?}");
    let dataset = Dataset::open(&dataset).unwrap();
    let connections = dataset.connections().unwrap();
    assert_eq!(connections.len(), 20);
    for connection in connections {
        assert_eq!(
            (connection.client_bytes, connection.server_bytes),
            (REQUEST.len() as u64, OK.len() as u64)
        );
        assert!(connection.opened_at <= connection.closed_at.unwrap());
    }
    assert!(dataset.exchanges().unwrap().is_sorted_by_key(|e| (e.started_at, e.exchange_id)));
}
