//! A proxy between a scripted client and a scripted upstream, and what it recorded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use prophecy_anonymizer::{Key, Policy, Sanitizer};
use prophecy_capture::mirror::{Mirror, MirrorOptions};
use prophecy_capture::recorder::{Recorder, Recording, RecordingOptions};
use prophecy_core::{Exchange, Ledger};
use prophecy_datasets::{DatasetOptions, DatasetWriter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The most bytes of a body that the proxies of these tests keep.
pub(crate) const BODY_LIMIT: usize = 1_000;

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A scripted service.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    connection_count: Arc<AtomicU32>,
    accepting: JoinHandle<()>,
}

/// A running proxy in front of an upstream.
pub(crate) struct Rig {
    pub(crate) mirror: Mirror,
    recording: Recording,
    heard: Receiver<Exchange>,
    folder: tempfile::TempDir,
}

/// What a rig recorded.
pub(crate) struct Recorded {
    /// In the order in which they ended.
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) ledger: Ledger,
}

// === impl Upstream ===

impl Upstream {
    /// Runs `script` on every connection.
    pub(crate) async fn start<F, S>(script: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(TcpStream) -> F + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connection_count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&connection_count);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(stream));
            }
        });
        Self { address, connection_count, accepting }
    }

    /// Answers each request (a head without a body) with the same bytes.
    pub(crate) async fn answering(answer: &'static str) -> Self {
        Self::start(move |mut stream| async move {
            while read_head(&mut stream).await.is_some() {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
        .await
    }

    pub(crate) fn connection_count(&self) -> u32 {
        self.connection_count.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

// === impl Rig ===

impl Rig {
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let (tap, heard) = std::sync::mpsc::channel();
        let options = RecordingOptions { tap: Some(tap), ..RecordingOptions::default() };
        let (folder, recorder, recording) = recording(options);
        let mirror = Mirror::start(mirror_options(upstream), recorder).await.unwrap();
        Self { mirror, recording, heard, folder }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.mirror.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Stops the proxy and returns what it recorded.
    pub(crate) async fn stop(self) -> Recorded {
        within(self.mirror.stop()).await;
        let manifest = self.recording.finish().unwrap();
        let ledger = manifest.ledger;
        assert_eq!(ledger.imbalance(), None);
        drop(self.folder);
        Recorded { exchanges: self.heard.try_iter().collect(), ledger }
    }
}

// === impl Recorded ===

impl Recorded {
    /// Returns the one exchange there is.
    pub(crate) fn only(mut self) -> Exchange {
        assert_eq!(self.exchanges.len(), 1, "{:#?}", self.exchanges);
        self.exchanges.remove(0)
    }
}

pub(crate) fn mirror_options(upstream: SocketAddr) -> MirrorOptions {
    MirrorOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        upstreams: vec![upstream],
        source: "client".to_owned(),
        destination: "shop".to_owned(),
        body_limit: BODY_LIMIT,
    }
}

/// Starts a recording into a fresh folder.
pub(crate) fn recording(options: RecordingOptions) -> (tempfile::TempDir, Recorder, Recording) {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy::named("synthetic").unwrap();
    let sanitizer = Sanitizer::new(policy, Key::from_bytes([7; 32]));
    let dataset = DatasetOptions {
        sources: vec!["client->shop".to_owned()],
        policy_name: sanitizer.policy().name().to_owned(),
        policy_digest: sanitizer.policy().digest(),
        key_id: sanitizer.key_id(),
        part_rows: 1_000,
    };
    let writer = DatasetWriter::create(&folder.path().join("dataset"), dataset).unwrap();
    let (recorder, recording) = Recording::start(writer, sanitizer, options);
    (folder, recorder, recording)
}

/// Fails a test that would wait forever.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("the proxy is not stuck")
}

/// Reads up to the empty line after a head; `None` if the connection ends first.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Reads exactly this many bytes.
pub(crate) async fn read_exactly(stream: &mut TcpStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    within(stream.read_exact(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Reads until the other side closes.
pub(crate) async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    within(stream.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}
