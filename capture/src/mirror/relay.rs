//! Carries one client connection to its upstream connection and back.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prophecy_core::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{Notify, watch};

use super::conversation::Conversation;
use super::{Edge, Phase, reached, refusal};
use crate::clock;

/// How much is read at once, at first and at most. One buffer per direction is all that is held.
const BUFFER_BYTES: usize = 16 << 10;
const BUFFER_BYTES_LIMIT: usize = 256 << 10;

/// How long a client may go on after the upstream has closed.
const LINGER: Duration = Duration::from_secs(2);

/// The conversation of a connection, shared by its two directions.
#[derive(Debug)]
pub(super) struct Witness {
    conversation: Mutex<Conversation>,
    /// Woken when the conversation may have become idle.
    quiet: Notify,
}

/// Why a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The sender closed in an orderly way, and the receiver was told.
    Closed,
    /// The sender reset the connection.
    Reset,
    /// The receiver takes no more.
    Refused,
}

/// Serves a client until one side ends the connection, or the proxy does.
pub(super) async fn relay(
    mut client: TcpStream,
    peer: SocketAddr,
    edge: Arc<Edge>,
    mut phases: watch::Receiver<Phase>,
) {
    let upstream = edge.upstream();
    let conversation = Conversation::new(edge, [peer, upstream], clock::now());
    let witness = Witness { conversation: Mutex::new(conversation), quiet: Notify::new() };
    {
        let serving = async {
            // Without it a small response could wait for the acknowledgment of the one before.
            drop(client.set_nodelay(true));
            let (connected, first_at) = connect(&client, upstream).await;
            match connected {
                Ok(upstream) => carry(&mut client, upstream, first_at, &witness).await,
                Err(_) => refusal::refuse(&mut client, first_at, &witness).await,
            }
        };
        tokio::select! {
            biased;
            () = serving => {}
            () = until_told_to_end(&mut phases, &witness) => {}
        }
    }
    let conversation = witness.conversation.into_inner().unwrap_or_else(PoisonError::into_inner);
    conversation.end(clock::now());
}

/// Connects to the upstream, and notes when the client's first bytes came meanwhile.
///
/// A service that accepts late makes its client wait; that wait is part of the latency, so the
/// request started when it arrived here and not when somebody took it.
async fn connect(
    client: &TcpStream,
    upstream: SocketAddr,
) -> (io::Result<TcpStream>, Option<Timestamp>) {
    let connecting = async {
        let stream = TcpStream::connect(upstream).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    tokio::pin!(connecting);
    tokio::select! {
        biased;
        connected = &mut connecting => (connected, None),
        _ = client.readable() => {
            let first_at = clock::now();
            (connecting.await, Some(first_at))
        }
    }
}

/// Carries bytes both ways until both directions have ended, and passes on how they ended.
async fn carry(
    client: &mut TcpStream,
    mut upstream: TcpStream,
    first_at: Option<Timestamp>,
    witness: &Witness,
) {
    let (client_ended, upstream_ended) = {
        let (client_read, client_write) = client.split();
        let (upstream_read, upstream_write) = upstream.split();
        let requests = carry_requests(client_read, upstream_write, first_at, witness);
        let responses = carry_responses(upstream_read, client_write, witness);
        tokio::pin!(requests, responses);
        // ORDER: requests first. A response can then never be read before the request it answers
        // has been given to the conversation, because both happen in this one task.
        tokio::select! {
            biased;
            ended = &mut requests => match ended {
                Ended::Reset => (Some(ended), None),
                Ended::Closed | Ended::Refused => (Some(ended), Some(responses.await)),
            },
            ended = &mut responses => match ended {
                Ended::Closed => {
                    (tokio::time::timeout(LINGER, requests).await.ok(), Some(ended))
                }
                Ended::Reset | Ended::Refused => (None, Some(ended)),
            },
        }
    };
    // A side that was reset, or that stopped taking what it had asked for, is a failure that the
    // other side would have seen as a reset without the proxy.
    if client_ended == Some(Ended::Reset) || upstream_ended == Some(Ended::Refused) {
        drop(upstream.set_zero_linger());
    }
    if upstream_ended == Some(Ended::Reset) {
        drop(client.set_zero_linger());
    }
}

async fn carry_requests(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut first_at: Option<Timestamp>,
    witness: &Witness,
) -> Ended {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = match from.read(&mut buffer).await {
            Ok(0) => {
                // The upstream may have closed already, and then knows.
                drop(to.shutdown().await);
                return Ended::Closed;
            }
            Ok(length) => length,
            Err(_) => return Ended::Reset,
        };
        let at = first_at.take().unwrap_or_else(clock::now);
        let piece = &buffer[..length];
        // The bytes go out before anybody looks at them; what does not fit waits until after.
        let sent = to.try_write(piece).unwrap_or(0);
        witness.lock().client_bytes(piece, at);
        if sent < length && to.write_all(&piece[sent..]).await.is_err() {
            return Ended::Refused;
        }
        grow(&mut buffer, length);
    }
}

async fn carry_responses(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    witness: &Witness,
) -> Ended {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = match from.read(&mut buffer).await {
            Ok(0) => {
                witness.lock().server_closed(clock::now());
                drop(to.shutdown().await);
                return Ended::Closed;
            }
            Ok(length) => length,
            Err(_) => return Ended::Reset,
        };
        let read_at = clock::now();
        let piece = &buffer[..length];
        if to.write_all(piece).await.is_err() {
            witness.lock().undelivered_bytes(piece, read_at);
            return Ended::Refused;
        }
        witness.server_bytes(piece, read_at);
        grow(&mut buffer, length);
    }
}

/// Reads more at once where reads come back full.
fn grow(buffer: &mut Vec<u8>, length: usize) {
    if length == buffer.len() && length < BUFFER_BYTES_LIMIT {
        buffer.resize(length * 2, 0);
    }
}

/// Waits until the proxy is cut, or drains and the conversation has nothing under way.
async fn until_told_to_end(phases: &mut watch::Receiver<Phase>, witness: &Witness) {
    reached(phases, Phase::Draining).await;
    let idle = async {
        loop {
            // Registered before the look, so that no wake-up falls in between.
            let quiet = witness.quiet.notified();
            if witness.lock().is_idle() {
                return;
            }
            quiet.await;
        }
    };
    tokio::select! {
        () = idle => {}
        () = reached(phases, Phase::Cut) => {}
    }
}

// === impl Witness ===

impl Witness {
    pub(super) fn lock(&self) -> MutexGuard<'_, Conversation> {
        self.conversation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes bytes that were read from the upstream at `read_at` and have been written.
    pub(super) fn server_bytes(&self, bytes: &[u8], read_at: Timestamp) {
        let is_idle = {
            let mut conversation = self.lock();
            conversation.server_bytes(bytes, read_at, clock::now());
            conversation.is_idle()
        };
        if is_idle {
            self.quiet.notify_one();
        }
    }
}
