//! One request, from its head to the last byte of its answer.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;

use super::choice::{self, BUCKET_COOKIE, Choice};
use super::ledger::{self, Met};
use super::table::{Current, Edge, InFlight, Table};
use super::upload::{Progress, Upload};
use super::upstream::{self, Answer, Connection, NoAnswer, Sent};

/// Headers that concern one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::UPGRADE,
];

/// The largest body that is kept to be copied.
const COPIED_BYTES: usize = 64 << 10;

/// What callers get.
pub(super) type Out = Either<Told, Full<Bytes>>;

/// An answer on its way: when it ends, it is counted, and its connection is free.
pub(super) struct Told {
    body: Incoming,
    ending: Option<Ending>,
}

/// What happens when an answer ends.
struct Ending {
    edge: Arc<Edge>,
    table: Arc<Table>,
    current: Arc<Current>,
    arm: usize,
    route: String,
    started: Instant,
    failed: bool,
    upload: Option<Arc<Progress>>,
    connection: Option<(SocketAddr, Connection)>,
    _in_flight: InFlight,
}

/// Passes a request on, and its answer back.
pub(super) async fn forward(
    edge: Arc<Edge>,
    table: Arc<Table>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Out> {
    let started = Instant::now();
    let mut current = edge.now();
    if current.front.hold.is_some() {
        match wait(&edge).await {
            Some(released) => current = released,
            None => return refusal(StatusCode::SERVICE_UNAVAILABLE, "held for too long"),
        }
    }
    let choice = choice::choose(&current.front, &edge.counter, request.headers());
    let observed = current.front.observed;
    let route = if observed {
        ledger::route(request.method().as_str(), request.uri().path())
    } else {
        String::new()
    };
    let (request, upgrade) = match prepare(request, peer, &edge, &current).await {
        Ok(prepared) => prepared,
        Err(refused) => return refused,
    };
    let copied = copy(&current, &edge, &table, &request, &route);
    let upload = upstream::progress_of(&request);
    let asked = ask(&current, choice.arm, request).await;
    let mut ending = Ending {
        edge,
        table,
        arm: asked.arm,
        route,
        started,
        failed: true,
        upload,
        connection: None,
        _in_flight: asked.in_flight,
        current,
    };
    let Answer { mut response, connection } = match asked.answer {
        Ok(answer) => answer,
        Err(NoAnswer::Caller) => {
            // No instance is to blame, and none is given a request more.
            return refusal(StatusCode::REQUEST_TIMEOUT, "the request ended early");
        }
        Err(NoAnswer::Late) => {
            ending.end(true, None);
            return refusal(StatusCode::GATEWAY_TIMEOUT, "no instance answers in time");
        }
        Err(NoAnswer::Broken | NoAnswer::NotSent(_)) => {
            ending.end(true, None);
            return refusal(StatusCode::BAD_GATEWAY, "no instance answers");
        }
    };
    if let Some(statuses) = copied {
        // Whoever compares may have given up.
        let _ = statuses.send(response.status());
    }
    ending.failed = response.status().is_server_error();
    ending.connection = connection;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        if let Some(caller) = upgrade {
            tunnel(caller, &mut response, ending);
        }
        return response.map(|_| Either::Right(Full::default()));
    }
    strip(response.headers_mut());
    assign(&mut response, choice);
    response.map(|body| Either::Left(Told { body, ending: Some(ending) }))
}

/// Waits until an edge is not held any more.
async fn wait(edge: &Edge) -> Option<Arc<Current>> {
    let mut until = None;
    loop {
        let released = edge.released.notified();
        let current = edge.now();
        let Some(hold) = current.front.hold else { return Some(current) };
        let until = *until.get_or_insert_with(|| {
            tokio::time::Instant::now() + Duration::from_millis(hold.limit_ms)
        });
        if edge.waiting.fetch_add(1, Ordering::AcqRel) >= hold.limit_count {
            edge.waiting.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let in_time = tokio::time::timeout_at(until, released).await.is_ok();
        edge.waiting.fetch_sub(1, Ordering::AcqRel);
        if !in_time {
            return None;
        }
    }
}

type Upgrade = hyper::upgrade::OnUpgrade;

/// Makes the request that an instance is to get.
async fn prepare(
    mut request: Request<Incoming>,
    peer: SocketAddr,
    edge: &Edge,
    current: &Current,
) -> Result<(Request<Sent>, Option<Upgrade>), Response<Out>> {
    let upgrades =
        request.headers().contains_key(header::UPGRADE) && request.version() == Version::HTTP_11;
    let upgrade = upgrades.then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    let wanted = parts.headers.get(header::UPGRADE).filter(|_| upgrades).cloned();
    strip(&mut parts.headers);
    if let Some(protocol) = wanted {
        parts.headers.insert(header::UPGRADE, protocol);
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if current.front.source == "client" {
        forwarded(&mut parts.headers, peer, &parts.uri);
    }
    if parts.version != Version::HTTP_2 {
        parts.version = Version::HTTP_11;
        // An instance is asked for the path; whom it is asked of is in `host`.
        let path = parts.uri.path_and_query().map_or("/", |it| it.as_str());
        parts.uri = path.parse::<Uri>().unwrap_or_default();
    }
    let share = current.front.shadow.as_ref().map_or(0, |shadow| shadow.share);
    let small = body.size_hint().upper().is_some_and(|most| most <= COPIED_BYTES as u64);
    if share > 0 && small && choice::is_copied(share, &edge.copy_counter) {
        let Ok(kept) = Limited::new(body, COPIED_BYTES).collect().await else {
            return Err(refusal(StatusCode::BAD_REQUEST, "the request ended early"));
        };
        // A mark for `copy`: what was kept can be sent twice.
        return Ok((
            Request::from_parts(parts, Either::Right(Full::new(kept.to_bytes()))),
            upgrade,
        ));
    }
    Ok((Request::from_parts(parts, Either::Left(Upload::new(body))), upgrade))
}

/// Sends a copy to the shadow's arm if the request was kept; the answer's status is compared and dropped.
fn copy(
    current: &Arc<Current>,
    edge: &Arc<Edge>,
    table: &Arc<Table>,
    request: &Request<Sent>,
    route: &str,
) -> Option<tokio::sync::oneshot::Sender<StatusCode>> {
    let (Some(shadow), Either::Right(body)) = (&current.front.shadow, request.body()) else {
        return None;
    };
    let arm = current.front.arms.iter().position(|arm| arm.name == shadow.arm)?;
    let mut copied = Request::new(Either::Right(body.clone()));
    *copied.method_mut() = request.method().clone();
    *copied.uri_mut() = request.uri().clone();
    *copied.version_mut() = request.version();
    *copied.headers_mut() = request.headers().clone();
    let (sender, expected) = tokio::sync::oneshot::channel();
    let (current, edge, table) = (Arc::clone(current), Arc::clone(edge), Arc::clone(table));
    let route = route.to_owned();
    tokio::spawn(async move {
        let started = Instant::now();
        let asked = ask_arm(&current, arm, copied).await;
        let Ok(Answer { response, connection }) = asked else {
            edge.copies.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let status = response.status();
        let whole = response.into_body().collect().await.is_ok();
        if let (true, Some((address, connection))) = (whole, connection) {
            upstream::keep(address, connection);
        }
        edge.copies.sent.fetch_add(1, Ordering::Relaxed);
        if expected.await.is_ok_and(|expected| expected != status) {
            edge.copies.differing.fetch_add(1, Ordering::Relaxed);
        }
        table.ledger.count(Met {
            front: &edge.name,
            arm: &current.arms[arm].name,
            route,
            failed: status.is_server_error() || !whole,
            latency: whole.then(|| started.elapsed()),
        });
    });
    Some(sender)
}

/// What came of asking.
struct Asked {
    arm: usize,
    in_flight: InFlight,
    answer: Result<Answer, NoAnswer>,
}

/// Asks the chosen arm, and the last one if no instance of the chosen takes the request.
async fn ask(current: &Current, chosen: usize, request: Request<Sent>) -> Asked {
    let in_flight = InFlight::new(&current.arms[chosen].counts);
    let unsent = match ask_arm(current, chosen, request).await {
        Err(NoAnswer::NotSent(request)) => request,
        answer => return Asked { arm: chosen, in_flight, answer },
    };
    current.arms[chosen].counts.refused.fetch_add(1, Ordering::Relaxed);
    let others = (0..current.arms.len()).rev();
    let Some(last) = others
        .into_iter()
        .find(|arm| *arm != chosen && !current.front.arms[*arm].backends.is_empty())
    else {
        let answer = Err(NoAnswer::NotSent(unsent));
        return Asked { arm: chosen, in_flight, answer };
    };
    let in_flight = InFlight::new(&current.arms[last].counts);
    let answer = ask_arm(current, last, *unsent).await;
    Asked { arm: last, in_flight, answer }
}

async fn ask_arm(
    current: &Current,
    arm: usize,
    request: Request<Sent>,
) -> Result<Answer, NoAnswer> {
    let backends = &current.front.arms[arm].backends;
    let first = current.arms[arm].turn();
    let limit = Duration::from_millis(current.front.answer_limit_ms);
    let mut request = request;
    for attempt in 0..backends.len() {
        let address = backends[(first + attempt) % backends.len()];
        match upstream::ask(address, limit, request).await {
            Err(NoAnswer::NotSent(unsent)) => request = *unsent,
            result => return result,
        }
    }
    Err(NoAnswer::NotSent(Box::new(request)))
}

/// Removes what concerns one connection only.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Says who asks, as proxies do.
fn forwarded(headers: &mut HeaderMap, peer: SocketAddr, uri: &Uri) {
    const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
    const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    let before = headers.get(FOR).and_then(|value| value.to_str().ok());
    let address = peer.ip().to_canonical();
    let all = before.map_or(address.to_string(), |before| format!("{before}, {address}"));
    if let Ok(value) = all.parse() {
        headers.insert(FOR, value);
    }
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.entry(HOST).or_insert(host);
    } else if let Some(host) = uri.authority().and_then(|it| it.as_str().parse().ok()) {
        headers.entry(HOST).or_insert(host);
    }
    headers.entry(PROTO).or_insert(HeaderValue::from_static("http"));
}

/// Tells a client the place at which it stays.
fn assign(response: &mut Response<Incoming>, choice: Choice) {
    let Some(place) = choice.assigned else { return };
    let cookie = format!("{BUCKET_COOKIE}={place}; Path=/; HttpOnly; SameSite=Lax");
    if let Ok(value) = cookie.parse() {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// Joins both sides of a connection that speaks another protocol from here on.
fn tunnel(caller: Upgrade, response: &mut Response<Incoming>, mut ending: Ending) {
    let instance = hyper::upgrade::on(response);
    tokio::spawn(async move {
        if let (Ok(caller), Ok(instance)) = tokio::join!(caller, instance) {
            let (mut caller, mut instance) = (TokioIo::new(caller), TokioIo::new(instance));
            drop(tokio::io::copy_bidirectional(&mut caller, &mut instance).await);
        }
        ending.connection = None;
        ending.end(false, None);
    });
}

fn refusal(status: StatusCode, words: &'static str) -> Response<Out> {
    let mut response =
        Response::new(Either::Right(Full::new(Bytes::from_static(words.as_bytes()))));
    *response.status_mut() = status;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

// === impl Ending ===

impl Ending {
    /// Counts a request that has ended.
    fn end(self, failed: bool, latency: Option<Duration>) {
        let arm = &self.current.arms[self.arm];
        arm.counts.requests.fetch_add(1, Ordering::Relaxed);
        let failed = failed || self.failed;
        if failed {
            arm.counts.failures.fetch_add(1, Ordering::Relaxed);
        }
        if let Some((address, connection)) = self.connection {
            upstream::keep(address, connection);
        }
        if self.current.front.observed {
            let (front, arm) = (&self.edge.name, &arm.name);
            self.table.ledger.count(Met { front, arm, route: self.route, failed, latency });
        }
    }
}

// === impl Told ===

impl Told {
    fn over(&mut self) {
        if let Some(ending) = self.ending.take() {
            let latency = ending.started.elapsed();
            ending.end(false, Some(latency));
        }
    }
}

impl Body for Told {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.over(),
            Poll::Ready(Some(Ok(_))) if self.body.is_end_stream() => self.over(),
            Poll::Ready(Some(Err(_))) => {
                if let Some(mut ending) = self.ending.take() {
                    ending.connection = None;
                    // An instance cannot finish what its caller does not.
                    let is_callers = ending.upload.as_ref().is_some_and(|it| it.is_broken());
                    ending.end(!is_callers, None);
                }
            }
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // An answer without a body is never asked for one; one that is dropped before its end was broken by its caller,
        // and is not held against the arm.
        if self.body.is_end_stream() {
            self.over();
        } else if let Some(mut ending) = self.ending.take() {
            ending.connection = None;
            ending.end(false, None);
        }
    }
}
