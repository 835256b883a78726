//! A capture through proxies.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use prophecy_datasets::WriteDatasetError;
use thiserror::Error;

use super::upstream::{ResolveUpstreamError, resolve};
use super::{BODY_LIMIT, CaptureSummary, Output};
use crate::mirror::{Mirror, MirrorOptions, StartMirrorError};
use crate::recorder::{RecordError, Recording, RecordingCounts, RecordingOptions};

/// How often the progress of a capture is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// A capture through proxies.
#[expect(missing_debug_implementations, reason = "a callback has nothing to show")]
pub struct AgentOptions<'a> {
    /// The edges to stand in; at least one.
    pub edges: Vec<EdgeOptions>,
    /// Where to write.
    pub output: Output,
    /// The most bytes kept of a body.
    pub body_limit: usize,
    /// How much may wait for the writer. The tap is for comparisons and is usually `None`.
    pub recording: RecordingOptions,
    /// Told what happens: each address as soon as it listens, and then the counts.
    pub progress: &'a dyn Fn(ProxyProgress),
}

/// One edge between two services.
#[derive(Clone, Debug)]
pub struct EdgeOptions {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The service behind: `http://host:port`.
    pub upstream: String,
    /// The name of the calling service; `client` at the entry.
    pub source: String,
    /// The name of the called service.
    pub destination: String,
}

/// What a capture tells while it runs.
#[derive(Clone, Debug)]
pub enum ProxyProgress {
    /// An edge accepts connections.
    Listening {
        /// The service behind it.
        destination: String,
        /// Where it listens.
        address: SocketAddr,
        /// Where it sends.
        upstream: SocketAddr,
    },
    /// What has been seen so far, a few times a second. Look at `failed`: the proxies go on
    /// serving when the dataset cannot be written any more.
    Counts(RecordingCounts),
}

/// Why a capture through proxies failed.
#[derive(Debug, Error)]
pub enum CaptureProxyError {
    /// There is nothing to do.
    #[error("cannot capture: found no edge to stand in, expected at least one")]
    NoEdge,
    /// An upstream cannot be used.
    #[error("cannot capture")]
    Upstream(#[from] ResolveUpstreamError),
    /// A proxy did not start.
    #[error("cannot capture")]
    Start(#[from] StartMirrorError),
    /// The dataset could not be created.
    #[error("cannot capture: its dataset was not created")]
    Create(#[source] WriteDatasetError),
    /// The dataset could not be completed.
    #[error("cannot complete the capture")]
    Record(#[from] RecordError),
}

/// Relays and records until `stop` is ready, and completes the dataset.
///
/// Nothing is created before every edge has its address, so that a typing error leaves no dataset
/// behind.
///
/// # Errors
///
/// [`CaptureProxyError`]; after [`CaptureProxyError::Record`] the dataset has what was
/// checkpointed.
pub async fn capture_proxy(
    options: AgentOptions<'_>,
    stop: impl Future<Output = ()>,
) -> Result<CaptureSummary, CaptureProxyError> {
    let AgentOptions { edges, output, body_limit, recording, progress } = options;
    if edges.is_empty() {
        return Err(CaptureProxyError::NoEdge);
    }
    let sources = edges.iter().map(|edge| format!("{} -> {}", edge.source, edge.destination));
    let sources = sources.collect();
    let mut bound = Vec::new();
    for edge in edges {
        let upstream = resolve(&edge.upstream).await?;
        let EdgeOptions { listen, source, destination, .. } = edge;
        let options = MirrorOptions {
            listen,
            upstreams: vec![upstream],
            source,
            destination: destination.clone(),
            body_limit,
        };
        let mirror = Mirror::bind(options).await?;
        bound.push((mirror, destination, upstream));
    }
    let (writer, sanitizer) = output.open(sources).map_err(CaptureProxyError::Create)?;
    let (recorder, recording) = Recording::start(writer, sanitizer, recording);
    let mut mirrors = Vec::new();
    for (mirror, destination, upstream) in bound {
        let address = mirror.address();
        mirrors.push(mirror.serve(recorder.clone()));
        progress(ProxyProgress::Listening { destination, address, upstream });
    }
    tell_until(stop, &recording, progress).await;
    // All at once: each may take its second of grace.
    let stopping: Vec<_> = mirrors.into_iter().map(|mirror| tokio::spawn(mirror.stop())).collect();
    for stopped in stopping {
        stopped.await.expect("stopping a proxy does not panic");
    }
    let counts = recording.counts();
    progress(ProxyProgress::Counts(counts));
    let manifest = recording.finish()?;
    Ok(CaptureSummary {
        manifest,
        other_rows_shed: counts.other_rows_shed,
        oddities: BTreeMap::new(),
        interrupted: false,
    })
}

async fn tell_until(
    stop: impl Future<Output = ()>,
    recording: &Recording,
    progress: &dyn Fn(ProxyProgress),
) {
    tokio::pin!(stop);
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return,
            _ = ticks.tick() => progress(ProxyProgress::Counts(recording.counts())),
        }
    }
}

// === impl EdgeOptions ===

impl EdgeOptions {
    /// Returns the edge from the outside into a service.
    pub fn entry(listen: SocketAddr, upstream: &str, service: &str) -> Self {
        Self {
            listen,
            upstream: upstream.to_owned(),
            source: "client".to_owned(),
            destination: service.to_owned(),
        }
    }
}

// === impl AgentOptions ===

impl<'a> AgentOptions<'a> {
    /// Returns a capture of some edges with the usual limits.
    pub fn new(
        edges: Vec<EdgeOptions>,
        output: Output,
        progress: &'a dyn Fn(ProxyProgress),
    ) -> Self {
        let recording = RecordingOptions::default();
        Self { edges, output, body_limit: BODY_LIMIT, recording, progress }
    }
}
