//! Listening, and ending when asked to.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::service::Service;

/// How long requests may go on after the end was asked for.
const GRACE: Duration = Duration::from_secs(1);
/// The pause after the system could not accept a connection, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// The address is not to be had.
#[derive(Debug, Error)]
#[error("cannot listen on {address}")]
pub(crate) struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Takes an address; port 0 takes any free one.
///
/// # Errors
///
/// [`ListenError`], for one if the port is in use.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { address, source })
}

/// Serves until `end` is there; then takes nothing new and gives what runs a moment to end.
pub(crate) async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    end: impl Future<Output = ()>,
) {
    let (ending, is_ending) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut end = pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let service = Arc::clone(&service);
                    connections.spawn(connection(stream, service, is_ending.clone()));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            // Ended connections are let go as they end.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    ending.send_replace(true);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    // Whether all of them made it changes nothing: the process ends.
    tokio::time::timeout(GRACE, all_ended).await.ok();
}

async fn connection(
    stream: TcpStream,
    service: Arc<Service>,
    mut is_ending: watch::Receiver<bool>,
) {
    // A connection that has ended already shows at its first read.
    stream.set_nodelay(true).ok();
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    let was_asked_to_end = tokio::select! {
        // A client that breaks off is no concern of the service.
        _ = &mut connection => false,
        asked = is_ending.wait_for(|is_ending| *is_ending) => asked.is_ok(),
    };
    if was_asked_to_end {
        connection.as_mut().graceful_shutdown();
        connection.await.ok();
    }
}
