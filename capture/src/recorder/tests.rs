//! The recorder with a writer that is slow, blocked, broken or gone.

use std::sync::mpsc::{Receiver, Sender, channel};

use prophecy_anonymizer::{Key, Policy, Sanitizer};
use prophecy_core::{Completeness, Ledger, Metric, Protocol, Timestamp};
use prophecy_datasets::DatasetOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::mirror::{Mirror, MirrorOptions};

/// Writes a row only when the test lets it, and as the test says.
struct GatedSink {
    inner: DatasetSink,
    gate: Receiver<Let>,
}

enum Let {
    Write,
    Fail,
    Panic,
}

impl Sink for GatedSink {
    fn write(&mut self, item: Item) -> Result<(), WriteDatasetError> {
        // A gate that is gone is open.
        match self.gate.recv().unwrap_or(Let::Write) {
            Let::Write => self.inner.write(item),
            Let::Fail => Err(impossible()),
            Let::Panic => panic!("the test asked for it"),
        }
    }

    fn checkpoint(&mut self, ledger: &Ledger) -> Result<(), WriteDatasetError> {
        self.inner.checkpoint(ledger)
    }

    fn finish(self, ledger: &Ledger) -> Result<Manifest, WriteDatasetError> {
        self.inner.finish(ledger)
    }
}

struct Gated {
    folder: tempfile::TempDir,
    recorder: Recorder,
    recording: Recording,
    gate: Sender<Let>,
}

fn gated(queue_capacity: usize) -> Gated {
    let folder = tempfile::tempdir().unwrap();
    let writer = DatasetWriter::create(&folder.path().join("dataset"), options()).unwrap();
    let sanitizer = Sanitizer::new(Policy::named("synthetic").unwrap(), Key::from_bytes([7; 32]));
    let (gate, gated) = channel();
    let sink = GatedSink { inner: DatasetSink::new(writer, sanitizer, None), gate: gated };
    let (recorder, recording) = Recording::start_with(sink, queue_capacity);
    Gated { folder, recorder, recording, gate }
}

fn options() -> DatasetOptions {
    let policy = Policy::named("synthetic").unwrap();
    DatasetOptions {
        sources: vec!["client->shop".to_owned()],
        policy_name: policy.name().to_owned(),
        policy_digest: policy.digest(),
        key_id: Key::from_bytes([7; 32]).id(),
        part_rows: 1_000,
    }
}

/// Returns an error of writing: a dataset cannot be made under a file.
fn impossible() -> WriteDatasetError {
    let file = tempfile::NamedTempFile::new().unwrap();
    DatasetWriter::create(&file.path().join("dataset"), options()).unwrap_err()
}

fn exchange(exchange_id: u64) -> Exchange {
    let at = Timestamp(1_700_000_000_000_000_000);
    Exchange {
        exchange_id,
        session_id: 0,
        connection_id: 0,
        trace_id: None,
        source: "client".to_owned(),
        destination: "shop".to_owned(),
        client: "127.0.0.1:40000".parse().unwrap(),
        server: "127.0.0.1:80".parse().unwrap(),
        protocol: Protocol::Http11,
        method: "GET".to_owned(),
        authority: "shop".to_owned(),
        path: "/".to_owned(),
        query: None,
        route: "GET /".to_owned(),
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        request_body: None,
        response_body: None,
        request_bytes: 0,
        response_bytes: 0,
        started_at: at,
        request_ended_at: at,
        response_started_at: Some(at),
        response_ended_at: Some(at),
        status: Some(200),
        completeness: Completeness::Complete,
    }
}

/// Waits until the writer has taken everything that is queued or stands at the gate.
fn settle(recording: &Recording, done: impl Fn(RecordingCounts) -> bool) -> RecordingCounts {
    for _ in 0..3_000 {
        let counts = recording.counts();
        assert_eq!(counts.seen, counts.recorded + counts.shed + counts.queued);
        if done(counts) {
            return counts;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the writer is stuck: {:?}", recording.counts());
}

#[test]
fn writes_everything_that_fits() {
    let Gated { recorder, recording, gate, folder: _folder } = gated(1_000);
    drop(gate);
    (0..500).for_each(|id| recorder.exchange(exchange(id)));
    recorder.unparsed(17);
    let ledger = recording.finish().unwrap().ledger;
    assert_eq!((ledger.exchanges.recorded, ledger.exchanges.shed), (500, 0));
    assert_eq!(ledger.segments.unparsed_bytes, 17);
    assert_eq!(ledger.imbalance(), None);
}

#[test]
fn sheds_what_does_not_fit_and_counts_it() {
    let Gated { recorder, recording, gate, folder: _folder } = gated(10);
    (0..100).for_each(|id| recorder.exchange(exchange(id)));
    let before = recording.counts();
    // Ten wait; the writer may hold an eleventh in its hands.
    assert!((10..=11).contains(&before.queued), "{before:?}");
    assert_eq!((before.seen, before.recorded), (100, 0));
    drop(gate);
    let ledger = recording.finish().unwrap().ledger;
    assert_eq!(ledger.exchanges.seen, 100);
    assert_eq!(ledger.exchanges.recorded, before.queued);
    assert_eq!(ledger.exchanges.shed, 100 - before.queued);
    assert_eq!(ledger.imbalance(), None);
}

#[test]
fn bounds_the_bytes_that_wait() {
    let Gated { recorder, recording, gate, folder: _folder } = gated(usize::MAX);
    let body = vec![b'x'; QUEUED_BYTES_LIMIT / 4];
    for id in 0..8 {
        recorder.exchange(Exchange { response_body: Some(body.clone()), ..exchange(id) });
    }
    let before = recording.counts();
    // Four bodies would fill the limit, and leave no room for what is around them.
    assert!((3..=4).contains(&before.queued), "{before:?}");
    drop(gate);
    let ledger = recording.finish().unwrap().ledger;
    assert_eq!(ledger.exchanges.recorded, before.queued);
    assert_eq!(ledger.imbalance(), None);
}

#[test]
fn sheds_and_counts_everything_after_a_failure() {
    let Gated { recorder, recording, gate, folder: _folder } = gated(100);
    gate.send(Let::Write).unwrap();
    (0..10).for_each(|id| recorder.exchange(exchange(id)));
    recorder.metric(metric());
    settle(&recording, |counts| counts.recorded == 1);
    assert!(!recording.failed());
    gate.send(Let::Fail).unwrap();
    settle(&recording, |counts| counts.failed);
    (10..20).for_each(|id| recorder.exchange(exchange(id)));
    let counts = recording.counts();
    assert_eq!((counts.seen, counts.recorded, counts.shed, counts.queued), (20, 1, 19, 0));
    assert_eq!(counts.other_rows_shed, 1);
    assert!(recording.failed());
    assert!(matches!(recording.finish(), Err(RecordError::Write(_))));
}

#[test]
fn survives_a_panic_of_its_writer() {
    let Gated { recorder, recording, gate, folder: _folder } = gated(100);
    recorder.exchange(exchange(0));
    gate.send(Let::Panic).unwrap();
    let counts = settle(&recording, |counts| counts.failed);
    assert_eq!((counts.seen, counts.shed), (1, 1));
    assert!(matches!(recording.finish(), Err(RecordError::Panicked)));
}

#[test]
fn takes_nothing_after_it_is_finished() {
    let Gated { recorder, recording, gate, folder: _folder } = gated(100);
    drop(gate);
    recorder.exchange(exchange(0));
    let ledger = recording.finish().unwrap().ledger;
    recorder.exchange(exchange(1));
    assert_eq!(ledger.exchanges.seen, 1);
}

#[test]
fn counts_exactly_under_many_recorders() {
    let Gated { recorder, recording, gate, folder: _folder } = gated(50);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1_000).for_each(|id| recorder.exchange(exchange(id))));
        }
        for _ in 0..500 {
            gate.send(Let::Write).unwrap();
        }
    });
    drop(gate);
    let ledger = recording.finish().unwrap().ledger;
    assert_eq!(ledger.exchanges.seen, 4_000);
    assert!(ledger.exchanges.shed > 0);
    assert_eq!(ledger.imbalance(), None);
}

#[tokio::test]
async fn a_stalled_writer_delays_no_response() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let Gated { recorder, recording, gate, folder: _folder } = gated(8);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 18];
        while stream.read_exact(&mut head).await.is_ok() {
            stream.write_all(ANSWER).await.unwrap();
        }
    });
    let options = MirrorOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        upstreams: vec![upstream],
        source: "client".to_owned(),
        destination: "shop".to_owned(),
        body_limit: 100,
    };
    let mirror = Mirror::start(options, recorder).await.unwrap();
    let mut client = TcpStream::connect(mirror.address()).await.unwrap();
    let mut answer = [0; ANSWER.len()];
    for _ in 0..100 {
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, ANSWER);
    }
    mirror.stop().await;
    // Not one row has been written, and every request has been answered.
    let before = recording.counts();
    assert_eq!((before.seen, before.recorded), (100, 0));
    assert_eq!(before.shed, 100 - before.queued);
    drop(gate);
    let ledger = recording.finish().unwrap().ledger;
    assert_eq!(ledger.exchanges.seen, 100);
    assert_eq!(ledger.exchanges.recorded, before.queued);
    assert_eq!(ledger.imbalance(), None);
}

fn metric() -> Metric {
    Metric {
        name: "process_open_fds".to_owned(),
        labels: std::collections::BTreeMap::new(),
        at: Timestamp(1_700_000_000_000_000_000),
        value: 3.0,
    }
}

#[test]
fn grants_memory_for_open_exchanges_up_to_a_limit() {
    let Gated { recorder, recording: _recording, gate: _gate, folder: _folder } = gated(10);
    assert!(recorder.reserve(OPEN_BYTES_LIMIT - 1));
    assert!(!recorder.reserve(2));
    assert!(recorder.reserve(1));
    assert!(!recorder.reserve(1));
    recorder.release(OPEN_BYTES_LIMIT);
    assert!(recorder.reserve(OPEN_BYTES_LIMIT));
}
