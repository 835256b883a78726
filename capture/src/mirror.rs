//! A proxy that relays the bytes of one edge between two services, and records what passes.
//!
//! Every client connection gets one upstream connection, opened when the client's is accepted and
//! closed when either side closes. What is read on one side is written to the other byte for byte:
//! there is nothing to normalize, reorder, buffer or retry, so a service behind the proxy sees the
//! connections, the pipelining, the half-closes and the resets that it would see without it.
//! A [`Conversation`](conversation::Conversation) reads along *after* the bytes were sent on, makes
//! exchanges of HTTP/1, and lets everything else (TLS, HTTP/2, WebSocket, databases) pass, counted.
//!
//! The one thing the proxy says itself is a 502 where the upstream does not accept connections.

mod conversation;
mod refusal;
mod relay;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::recorder::Recorder;

/// How long exchanges in flight may take to end when the proxy stops.
const GRACE: Duration = Duration::from_secs(1);

/// How long to wait when the process has no descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// One edge to stand in: where to listen, where to send, what to call the ends.
#[derive(Clone, Debug)]
pub struct MirrorOptions {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The instances of the service behind the proxy; connections go to them in turn.
    pub upstreams: Vec<SocketAddr>,
    /// The name of the calling service, or `client`.
    pub source: String,
    /// The name of the called service.
    pub destination: String,
    /// The most bytes kept of a body; all of it is relayed and counted.
    pub body_limit: usize,
}

/// A running proxy. Dropping it closes its connections at once; [`Mirror::stop`] does it gently.
#[derive(Debug)]
pub struct Mirror {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    accepting: JoinHandle<()>,
}

/// A proxy that has its address, and accepts nothing yet.
///
/// Clients can connect already; they wait until the proxy serves.
#[derive(Debug)]
pub struct BoundMirror {
    listener: TcpListener,
    address: SocketAddr,
    options: MirrorOptions,
}

/// Why a proxy did not start.
#[derive(Debug, Error)]
pub enum StartMirrorError {
    /// The address could not be listened on.
    #[error("cannot start the proxy for `{destination}`: cannot listen on {listen}")]
    Listen {
        /// The service behind the proxy.
        destination: String,
        /// The address asked for.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The proxy would talk to itself.
    #[error(
        "cannot start the proxy for `{destination}`: it listens on {listen}, which is also its upstream; expected the address of the service"
    )]
    Loop {
        /// The service that was meant to be behind the proxy.
        destination: String,
        /// The address on both sides.
        listen: SocketAddr,
    },
}

/// How a proxy treats its connections, in the order in which it goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Serve.
    Open,
    /// End each connection as soon as it has no exchange in flight.
    Draining,
    /// End each connection now.
    Cut,
}

/// What all connections of a proxy share.
#[derive(Debug)]
struct Edge {
    options: MirrorOptions,
    /// Connections accepted so far.
    turn: AtomicUsize,
    recorder: Recorder,
}

// === impl Mirror ===

impl Mirror {
    /// Listens, and relays every connection until it is stopped.
    ///
    /// # Errors
    ///
    /// [`StartMirrorError`] if the address is taken, or is that of an upstream.
    ///
    /// # Panics
    ///
    /// If there is no upstream.
    pub async fn start(
        options: MirrorOptions,
        recorder: Recorder,
    ) -> Result<Self, StartMirrorError> {
        Ok(Self::bind(options).await?.serve(recorder))
    }

    /// Takes the address, for a caller that must know it before it can record.
    ///
    /// # Errors
    ///
    /// As [`Mirror::start`].
    ///
    /// # Panics
    ///
    /// If there is no upstream.
    pub async fn bind(options: MirrorOptions) -> Result<BoundMirror, StartMirrorError> {
        let MirrorOptions { listen, ref upstreams, ref destination, .. } = options;
        assert!(!upstreams.is_empty(), "a proxy stands in front of something");
        let fail = |source| {
            let destination = destination.clone();
            StartMirrorError::Listen { destination, listen, source }
        };
        let listener = TcpListener::bind(listen).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        if upstreams.iter().any(|upstream| leads_back(address, *upstream)) {
            let destination = destination.clone();
            return Err(StartMirrorError::Loop { destination, listen: address });
        }
        Ok(BoundMirror { listener, address, options })
    }

    /// Returns the address the proxy listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets exchanges in flight end for at most a second, and cuts the rest.
    ///
    /// When it returns, everything that passed has been given to the recorder.
    pub async fn stop(mut self) {
        self.phase.send_replace(Phase::Draining);
        if tokio::time::timeout(GRACE, &mut self.accepting).await.is_err() {
            self.phase.send_replace(Phase::Cut);
            // A panic in a connection is its own loss; there is nothing left to stop.
            drop((&mut self.accepting).await);
        }
    }
}

// === impl BoundMirror ===

impl BoundMirror {
    /// Returns the address the proxy listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Relays every connection until the proxy is stopped.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn serve(self, recorder: Recorder) -> Mirror {
        let Self { listener, address, options } = self;
        let (phase, phases) = watch::channel(Phase::Open);
        let edge = Arc::new(Edge { options, turn: AtomicUsize::new(0), recorder });
        let accepting = tokio::spawn(accept_until_stopped(listener, edge, phases));
        Mirror { address, phase, accepting }
    }
}

// === impl Edge ===

impl Edge {
    /// Returns the instance whose turn it is.
    fn upstream(&self) -> SocketAddr {
        let upstreams = &self.options.upstreams;
        upstreams[self.turn.fetch_add(1, Ordering::SeqCst) % upstreams.len()]
    }
}

/// Says whether connecting to `upstream` would reach a listener on `address`.
fn leads_back(address: SocketAddr, upstream: SocketAddr) -> bool {
    let (ours, theirs) = (address.ip(), upstream.ip());
    let everywhere = ours.is_unspecified() && (theirs.is_loopback() || theirs.is_unspecified());
    address.port() == upstream.port() && (ours == theirs || everywhere)
}

async fn accept_until_stopped(
    listener: TcpListener,
    edge: Arc<Edge>,
    mut phases: watch::Receiver<Phase>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = reached(&mut phases, Phase::Draining) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, peer)) => {
                    let relaying = relay::relay(client, peer, Arc::clone(&edge), phases.clone());
                    connections.spawn(relaying);
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits until a phase is reached; a proxy that was dropped has reached all.
async fn reached(phases: &mut watch::Receiver<Phase>, phase: Phase) {
    // An error means that the sender is gone, and so is whoever could say more.
    drop(phases.wait_for(|current| *current >= phase).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_an_upstream_that_is_itself() {
        let check = |address: &str, upstream: &str, expected: bool| {
            let found = leads_back(address.parse().unwrap(), upstream.parse().unwrap());
            assert_eq!(found, expected, "{address} {upstream}");
        };
        check("127.0.0.1:80", "127.0.0.1:80", true);
        check("0.0.0.0:80", "127.0.0.1:80", true);
        check("[::]:80", "[::1]:80", true);
        check("127.0.0.1:80", "127.0.0.1:81", false);
        check("0.0.0.0:80", "192.0.2.1:80", false);
    }
}
