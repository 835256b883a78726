//! Connections to instances, kept by each thread for itself.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::upload::{Progress, Upload};

/// How long an instance may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// Idle connections that a thread keeps for each instance.
const IDLE: usize = 256;

/// What is sent: what the caller sends, as it comes, or what was kept of it to be sent twice.
pub(super) type Sent = Either<Upload, Full<Bytes>>;

/// A connection that is used for one request at a time.
pub(super) type Connection = http1::SendRequest<Sent>;

/// Why an instance gave no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// It was not asked: the request is whole, for somebody else.
    NotSent(Box<Request<Sent>>),
    /// It was asked, and the connection ended.
    Broken,
    /// It was asked, and did not begin to answer in time.
    Late,
    /// The caller broke the request off, or stopped sending it.
    Caller,
}

/// An answer, and the connection that may be used again when it has been read.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) connection: Option<(SocketAddr, Connection)>,
}

thread_local! {
    static IDLE_CONNECTIONS: RefCell<BTreeMap<SocketAddr, Vec<Connection>>> = RefCell::default();
    static SHARED_CONNECTIONS: RefCell<BTreeMap<SocketAddr, http2::SendRequest<Sent>>> = RefCell::default();
}

/// Asks an instance, over a connection that is there or a new one.
///
/// A request that may be sent twice (RFC 9110, section 9.2.2) and has no body is sent once more if a connection
/// that was there ends with the request on it: an instance that stops closes those without a word.
pub(super) async fn ask(
    address: SocketAddr,
    limit: Duration,
    request: Request<Sent>,
) -> Result<Answer, NoAnswer> {
    let progress = progress_of(&request);
    in_time(limit, progress.as_deref(), ask_unlimited(address, request)).await
}

async fn ask_unlimited(address: SocketAddr, request: Request<Sent>) -> Result<Answer, NoAnswer> {
    if request.version() == hyper::Version::HTTP_2 {
        return ask_h2(address, request).await;
    }
    let mut request = request;
    // An idle connection may have been closed meanwhile: what it did not take goes over another.
    while let Some(mut connection) = take_idle(address) {
        let again = repeated(&request);
        match connection.try_send_request(request).await {
            Ok(response) => {
                return Ok(Answer { response, connection: Some((address, connection)) });
            }
            Err(mut error) => {
                if let Some(unsent) = error.take_message() {
                    request = unsent;
                } else if let Some(again) = again.filter(|_| !error.error().is_parse()) {
                    request = again;
                    break;
                } else {
                    return Err(NoAnswer::Broken);
                }
            }
        }
    }
    let Ok(mut connection) = connect(address).await else {
        return Err(NoAnswer::NotSent(Box::new(request)));
    };
    match connection.try_send_request(request).await {
        Ok(response) => Ok(Answer { response, connection: Some((address, connection)) }),
        Err(mut error) => Err(match error.take_message() {
            Some(unsent) => NoAnswer::NotSent(Box::new(unsent)),
            None => NoAnswer::Broken,
        }),
    }
}

/// Returns a request once more, if it may be sent twice.
fn repeated(request: &Request<Sent>) -> Option<Request<Sent>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut again = Request::new(Either::Right(Full::default()));
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    *again.headers_mut() = request.headers().clone();
    Some(again)
}

/// Returns what can be known of a request's body while it is passed on.
pub(super) fn progress_of(request: &Request<Sent>) -> Option<Arc<Progress>> {
    match request.body() {
        Either::Left(upload) => upload.progress(),
        Either::Right(_) => None,
    }
}

/// Waits for an answer as long as the request makes progress, and for the limit when it does not.
async fn in_time(
    limit: Duration,
    progress: Option<&Progress>,
    asked: impl Future<Output = Result<Answer, NoAnswer>>,
) -> Result<Answer, NoAnswer> {
    let mut asked = pin!(asked);
    let mut frames = 0;
    loop {
        match timeout(limit, asked.as_mut()).await {
            Ok(Err(NoAnswer::Broken)) if progress.is_some_and(Progress::is_broken) => {
                return Err(NoAnswer::Caller);
            }
            Ok(result) => return result,
            Err(_) => match progress {
                Some(progress) if progress.frames() > frames => frames = progress.frames(),
                Some(progress) if !progress.has_ended() => return Err(NoAnswer::Caller),
                _ => return Err(NoAnswer::Late),
            },
        }
    }
}

/// Keeps a connection for the next request.
pub(super) fn keep(address: SocketAddr, connection: Connection) {
    if connection.is_closed() {
        return;
    }
    IDLE_CONNECTIONS.with_borrow_mut(|idle| {
        let of_instance = idle.entry(address).or_default();
        if of_instance.len() < IDLE {
            of_instance.push(connection);
        }
    });
}

fn take_idle(address: SocketAddr) -> Option<Connection> {
    IDLE_CONNECTIONS.with_borrow_mut(|idle| {
        let of_instance = idle.get_mut(&address)?;
        while let Some(connection) = of_instance.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    })
}

async fn connect(address: SocketAddr) -> io::Result<Connection> {
    let stream = open(address).await?;
    let handshake = http1::Builder::new().handshake(TokioIo::new(stream));
    let (connection, carrying) = handshake.await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        // How it ended is told to whoever waits for an answer.
        drop(carrying.with_upgrades().await);
    });
    Ok(connection)
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = timeout(CONNECT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn ask_h2(address: SocketAddr, request: Request<Sent>) -> Result<Answer, NoAnswer> {
    let known = SHARED_CONNECTIONS.with_borrow(|shared| shared.get(&address).cloned());
    let known = known.filter(|connection| !connection.is_closed());
    let mut connection = match known {
        Some(connection) => connection,
        None => match connect_h2(address).await {
            Ok(connection) => connection,
            Err(_) => return Err(NoAnswer::NotSent(Box::new(request))),
        },
    };
    match connection.try_send_request(request).await {
        Ok(response) => Ok(Answer { response, connection: None }),
        Err(mut error) => Err(match error.take_message() {
            Some(unsent) => NoAnswer::NotSent(Box::new(unsent)),
            None => NoAnswer::Broken,
        }),
    }
}

async fn connect_h2(address: SocketAddr) -> io::Result<http2::SendRequest<Sent>> {
    let stream = open(address).await?;
    let builder = http2::Builder::new(TokioExecutor::new());
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (connection, carrying) = handshake.map_err(io::Error::other)?;
    tokio::spawn(async move { drop(carrying.await) });
    SHARED_CONNECTIONS.with_borrow_mut(|shared| shared.insert(address, connection.clone()));
    Ok(connection)
}
