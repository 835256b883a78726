//! Plans from captured exchanges, and their replay into servers on loopback.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use prophecy_core::{Exchange, Seed};
use prophecy_twin::AllowList;
use prophecy_twin::replay::{PlannedRequest, ReplayError, Reply, Target, drive, plan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::traffic::{MILLI, exchange};

fn captured(id: u64) -> Exchange {
    exchange(id, ("client", "web"), id as i64 * 10 * MILLI, (id as i64 + 1) * 10 * MILLI)
}

#[test]
fn plans_only_what_can_be_sent_again() {
    let whole = Exchange {
        query: Some("page=2".to_owned()),
        request_body: Some(b"abc".to_vec()),
        request_bytes: 3,
        ..captured(3)
    };
    let cut = Exchange { request_bytes: 4, ..Exchange { exchange_id: 4, ..whole.clone() } };
    let tunnel = Exchange { method: "CONNECT".to_owned(), ..captured(5) };
    let inner = exchange(6, ("web", "db"), 0, 1);
    let exchanges = [captured(1), whole, cut, tunnel, inner];
    let (planned, left_out) = plan(&exchanges, "web", 2.0, 1.0, Seed(1));
    let told: Vec<_> = planned.iter().map(|p| (p.exchange_id, &*p.path_and_query)).collect();
    assert_eq!(told, [(1, "/web"), (3, "/web?page=2")]);
    assert_eq!(left_out, 2);
    // Twice as fast: 20 ms of capture are 10 ms of replay.
    assert_eq!((planned[0].offset_nanos, planned[1].offset_nanos), (0, 10_000_000));
    assert_eq!(planned[1].body, b"abc");
}

#[test]
fn keeps_whole_sessions_of_a_share() {
    let exchanges: Vec<Exchange> =
        (0..8_000).map(|id| Exchange { session_id: id % 2_000, ..captured(id) }).collect();
    let (planned, left_out) = plan(&exchanges, "web", 1.0, 0.25, Seed(1));
    let mut sessions: Vec<u64> = planned.iter().map(|planned| planned.session).collect();
    sessions.sort_unstable();
    sessions.dedup();
    assert_eq!((planned.len(), left_out), (4 * sessions.len(), 0));
    assert!((400..600).contains(&sessions.len()), "{} of 2000 sessions", sessions.len());
    let (other, _) = plan(&exchanges, "web", 1.0, 0.25, Seed(2));
    assert_ne!(planned, other);
}

/// What a server saw: the target of each request with the number of its connection.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Vec<(String, usize)>>>);

impl Seen {
    fn sorted(&self) -> Vec<(String, usize)> {
        let mut seen = self.0.lock().unwrap().clone();
        seen.sort();
        seen
    }
}

/// Starts a server that holds `/stall` until `gate` opens, and hangs up on `/hangup`.
async fn server(gate: Arc<Semaphore>) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let log = seen.clone();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, number, log.clone(), Arc::clone(&gate)));
        }
    });
    (address, seen)
}

async fn serve(mut stream: TcpStream, number: usize, seen: Seen, gate: Arc<Semaphore>) {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(bytes.drain(..end).collect()).unwrap();
        let target = head.split(' ').nth(1).unwrap().to_owned();
        seen.0.lock().unwrap().push((target.clone(), number));
        match target.as_str() {
            "/stall" => gate.acquire().await.unwrap().forget(),
            "/hangup" => return,
            "/open" => gate.add_permits(1),
            _ => {}
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}", target.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn planned(index: u64, connection: u64, path: &str) -> PlannedRequest {
    PlannedRequest {
        exchange_id: index,
        offset_nanos: index * 20_000_000,
        session: connection,
        connection,
        method: "GET".to_owned(),
        path_and_query: path.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    }
}

async fn replay(
    plan: Vec<PlannedRequest>,
    addresses: &[SocketAddr],
    stop: &Arc<AtomicBool>,
) -> Result<Vec<Reply>, ReplayError> {
    let targets: Vec<Target> = addresses
        .iter()
        .map(|address| Target { name: address.to_string(), address: *address })
        .collect();
    let allow = AllowList::default();
    drive(Arc::new(plan), &targets, &allow, Seed(3), stop, &|_| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_answered_by_every_target() {
    let gate = Arc::new(Semaphore::new(0));
    let (first, seen) = server(Arc::clone(&gate)).await;
    let (second, also_seen) = server(gate).await;
    let plan: Vec<_> = (0..40).map(|i| planned(i, i % 7, &format!("/item/{i}"))).collect();
    let replies = replay(plan, &[first, second], &Arc::default()).await.unwrap();
    let order: Vec<_> = replies.iter().map(|reply| (reply.request, reply.target)).collect();
    let expected: Vec<_> = (0..40).flat_map(|request| [(request, 0), (request, 1)]).collect();
    assert_eq!(order, expected);
    for reply in &replies {
        let answer = reply.answer.as_ref().unwrap();
        assert_eq!(answer.body, format!("/item/{}", reply.request));
        assert_eq!((answer.status, answer.bytes), (200, answer.body.len() as u64));
        assert!(reply.sent_at.unwrap() >= reply.intended_at);
    }
    assert_eq!((seen.sorted().len(), also_seen.sorted().len()), (40, 40));
}

/// The answer that the first request waits for is released by the last one: were a request held
/// back by an earlier one, none would ever be answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_answer_delays_nothing() {
    let (address, seen) = server(Arc::new(Semaphore::new(0))).await;
    let plan = vec![
        planned(0, 1, "/stall"),
        planned(1, 1, "/b"),
        planned(2, 2, "/c"),
        planned(3, 1, "/open"),
    ];
    let replies = replay(plan, &[address], &Arc::default()).await.unwrap();
    assert!(replies.iter().all(|reply| reply.answer.is_ok()), "{replies:?}");
    let on = |path: &str| {
        seen.sorted().into_iter().find(|(target, _)| target == path).map(|(_, socket)| socket)
    };
    assert_ne!(on("/b"), on("/stall"));
}

/// Each request is sent once the one before was answered, so connections are idle when needed.
#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_connection_share_a_socket() {
    let (address, seen) = server(Arc::new(Semaphore::new(0))).await;
    // So far apart that even a busy machine has answered in between.
    let apart = |request: PlannedRequest| PlannedRequest {
        offset_nanos: request.exchange_id * 300_000_000,
        ..request
    };
    let plan: Vec<_> = [("/a1", 1), ("/b1", 2), ("/a2", 1), ("/b2", 2), ("/a3", 1)]
        .into_iter()
        .enumerate()
        .map(|(index, (path, connection))| apart(planned(index as u64, connection, path)))
        .collect();
    replay(plan, &[address], &Arc::default()).await.unwrap();
    let sockets: Vec<usize> = seen.sorted().into_iter().map(|(_, socket)| socket).collect();
    let [a1, a2, a3, b1, b2] = sockets.try_into().unwrap();
    assert_eq!((a1, b1), (a2, b2));
    assert_eq!(a1, a3);
    assert_ne!(a1, b1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_breaks_its_new_connection_is_made_once() {
    let (address, seen) = server(Arc::new(Semaphore::new(0))).await;
    let plan = vec![planned(0, 1, "/hangup"), planned(1, 1, "/after")];
    let replies = replay(plan, &[address], &Arc::default()).await.unwrap();
    assert!(replies[0].answer.is_err());
    assert!(replies[1].answer.is_ok());
    let targets: Vec<String> = seen.sorted().into_iter().map(|(target, _)| target).collect();
    assert_eq!(targets, ["/after", "/hangup"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_elsewhere_gets_nothing() {
    let elsewhere: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let error = replay(vec![planned(0, 1, "/")], &[elsewhere], &Arc::default()).await.unwrap_err();
    assert!(matches!(error, ReplayError::TargetNotAllowed { .. }), "{error}");
}

/// The plan lasts for hours, and its first answer never comes.
#[tokio::test(flavor = "multi_thread")]
async fn ends_when_told_to_stop() {
    let (address, seen) = server(Arc::new(Semaphore::new(0))).await;
    let stop = Arc::new(AtomicBool::new(false));
    let plan = vec![planned(0, 1, "/stall"), planned(1_000_000, 1, "/late")];
    let (flag, watched) = (Arc::clone(&stop), seen.clone());
    tokio::spawn(async move {
        while watched.sorted().is_empty() {
            tokio::task::yield_now().await;
        }
        flag.store(true, Ordering::SeqCst);
    });
    let replies = replay(plan, &[address], &stop).await.unwrap();
    assert_eq!(replies.len(), 0);
    assert_eq!(seen.sorted(), [("/stall".to_owned(), 0)]);
}
