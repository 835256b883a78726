//! Threads that accept and serve: each has its own sockets, connections and counts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::forward::forward;
use super::table::{Edge, Table};

/// How long a caller may take to send a request's head.
const HEAD: Duration = Duration::from_mins(1);

/// The most bytes of a request's head, and of what is read ahead of a body.
const HEAD_BYTES: usize = 64 << 10;

/// Connections that a thread serves at a time; others wait to be accepted.
const CONNECTIONS: usize = 8_192;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4_096;

/// How long to wait when the process has no descriptor left for a connection.
const PAUSE: Duration = Duration::from_millis(20);

/// How often a thread hands over what it has counted.
const FLUSH: Duration = Duration::from_millis(500);

/// How long requests in flight may take when the router stops.
const GRACE: Duration = Duration::from_secs(5);

/// Serves the edges of a table until told to stop.
pub(super) fn serve(table: &Arc<Table>, mut stopped: watch::Receiver<bool>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let mut accepting: BTreeMap<String, (SocketAddr, JoinHandle<()>)> = BTreeMap::new();
        let mut changes = table.changes();
        loop {
            accept_edges(table, &mut accepting);
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { break },
                _ = stopped.wait_for(|stop| *stop) => break,
                () = flushed(table) => {}
            }
        }
        accepting.into_values().for_each(|(_, task)| task.abort());
        let until = tokio::time::Instant::now() + GRACE;
        let busy = || {
            let arms = table.arms();
            arms.values().any(|it| it.in_flight.load(std::sync::atomic::Ordering::Acquire) > 0)
        };
        while busy() && tokio::time::Instant::now() < until {
            tokio::time::sleep(PAUSE).await;
        }
    });
}

#[expect(clippy::infinite_loop, reason = "it ends when whoever waits for it does")]
async fn flushed(table: &Table) {
    loop {
        tokio::time::sleep(FLUSH).await;
        table.ledger.flush();
    }
}

/// Begins to accept on edges that are new, and stops on those that are gone.
fn accept_edges(
    table: &Arc<Table>,
    accepting: &mut BTreeMap<String, (SocketAddr, JoinHandle<()>)>,
) {
    let edges = table.edges();
    accepting.retain(|name, (listen, task)| {
        let stays = edges.get(name).is_some_and(|edge| edge.now().front.listen == *listen);
        if !stays {
            task.abort();
        }
        stays
    });
    for (name, edge) in edges {
        let listen = edge.now().front.listen;
        if !accepting.contains_key(&name)
            && let Ok(listener) = bind(listen)
        {
            edge.listening.send_modify(|count| *count += 1);
            let task = tokio::spawn(accept(listener, edge, Arc::clone(table)));
            accepting.insert(name, (listen, task));
        }
    }
}

fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

#[expect(clippy::infinite_loop, reason = "it ends when its task is aborted")]
async fn accept(listener: TcpListener, edge: Arc<Edge>, table: Arc<Table>) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
    builder.http2().timer(TokioTimer::new());
    let builder = Arc::new(builder);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Without it a small answer could wait for the acknowledgment of the one before.
        drop(stream.set_nodelay(true));
        let (edge, table, builder) = (Arc::clone(&edge), Arc::clone(&table), Arc::clone(&builder));
        tokio::spawn(async move {
            let _place = place;
            // Until a first byte is there nobody knows which protocol it is, and no limit of a protocol applies.
            let first = timeout(HEAD, stream.peek(&mut [0])).await;
            if !matches!(first, Ok(Ok(1))) {
                return;
            }
            let service = service_fn(move |request| {
                let (edge, table) = (Arc::clone(&edge), Arc::clone(&table));
                async move { Ok::<_, Infallible>(forward(edge, table, peer, request).await) }
            });
            // A connection that its caller breaks is the caller's matter.
            drop(builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await);
        });
    }
}
