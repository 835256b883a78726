use std::sync::Mutex;
use std::time::Instant;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::{HookKind, ReplayGuard, Secret, verify};
use super::*;

const SECRET: &str = "correct-horse-battery";
const BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(5), most: Duration::from_millis(20) };

/// What the server does with one connection.
#[derive(Clone, Copy)]
enum Turn {
    Status(u16),
    Redirect(SocketAddr),
    Late,
    Never,
    Garbage,
    Close,
}

/// A server that takes one turn after the other, the last one again and again.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(turns: &[Turn]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, turns) = (Arc::clone(&seen), turns.to_vec());
        let task = tokio::spawn(async move {
            let mut connections = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let turn = turns[connections.min(turns.len() - 1)];
                connections += 1;
                tokio::spawn(serve(stream, turn, Arc::clone(&log)));
            }
        });
        Self { address, seen, task }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn hook(&self, kind: HookKind, more: &str) -> Hook {
        hook(&format!("http://{}/gate?a=b", self.address), kind, more)
    }
}

async fn serve(mut stream: TcpStream, turn: Turn, log: Arc<Mutex<Vec<String>>>) {
    let request = read_request(&mut stream).await;
    log.lock().unwrap().push(request);
    let answer = match turn {
        Turn::Status(status) => format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok"),
        Turn::Redirect(to) => {
            format!("HTTP/1.1 307 X\r\nlocation: http://{to}/\r\ncontent-length: 0\r\n\r\n")
        }
        Turn::Late => {
            tokio::time::sleep(Duration::from_millis(600)).await;
            "HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n".to_owned()
        }
        Turn::Never => std::future::pending().await,
        Turn::Garbage => "220 mail.example ready\r\n\r\n".to_owned(),
        Turn::Close => return,
    };
    // The client may be gone, which is what some of the tests are about.
    drop(stream.write_all(answer.as_bytes()).await);
    drop(stream.shutdown().await);
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4_096];
        let count = stream.read(&mut piece).await.unwrap_or(0);
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if count == 0 {
                return text;
            }
            continue;
        };
        let length = header(head, "content-length").parse().unwrap_or(0);
        if count == 0 || body.len() >= length {
            return text;
        }
    }
}

fn header(request: &str, name: &str) -> String {
    let found = request.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    });
    found.unwrap_or_default()
}

fn body(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

fn hook(url: &str, kind: HookKind, more: &str) -> Hook {
    let kind = kind.name();
    let yaml = format!("hooks: [{{name: gate, kind: {kind}, url: '{url}', timeout: 300ms{more}}}]");
    let mut hook = super::super::parse(&yaml).unwrap().remove(0).open().unwrap();
    hook.secret = Some(Secret::new(SECRET).unwrap());
    hook
}

fn sender() -> HookSender {
    HookSender::new(AddressList::default(), BACKOFF)
}

fn request() -> HookRequest {
    HookRequest {
        rollout: "r1".to_owned(),
        service: "cart".to_owned(),
        environment: "prod".to_owned(),
        revision: 7,
        stage: "canary-10".to_owned(),
        weight_millipercent: 10_000,
        candidate_digest: "build-a".to_owned(),
        message: None,
    }
}

async fn deliver(turns: &[Turn], kind: HookKind, more: &str) -> (Delivery, Vec<String>) {
    let server = Server::start(turns).await;
    let hook = server.hook(kind, more);
    let began = Instant::now();
    let delivery = sender().deliver(&hook, &request()).await;
    // Half a second is for a machine that has other things to do.
    let most = hook.longest(BACKOFF) + Duration::from_millis(500);
    assert!(began.elapsed() <= most, "{:?}", began.elapsed());
    (delivery, server.seen())
}

fn missing(delivery: Delivery, why: NoAnswer, effect: Effect, attempt_count: u32) {
    let answer = Answer::Missing(why);
    assert_eq!(delivery, Delivery { answer, effect, attempt_count });
}

#[tokio::test]
async fn a_hook_gets_a_signed_call_that_it_can_verify() {
    let (delivery, seen) = deliver(&[Turn::Status(204)], HookKind::PreRollout, "").await;
    let expected =
        Delivery { answer: Answer::Status(204), effect: Effect::Proceed, attempt_count: 1 };
    assert_eq!(delivery, expected);
    let call = &seen[0];
    assert!(call.starts_with("POST /gate?a=b HTTP/1.1\r\n"), "{call}");
    assert!(!call.contains(SECRET));
    let secret = Secret::new(SECRET).unwrap();
    let now = u64::try_from(system_clock().0 / 1_000_000_000).unwrap();
    let signature = header(call, SIGNATURE_HEADER);
    let mut guard = ReplayGuard::new(60, 10);
    let found = verify(&[secret], &signature, body(call).as_bytes(), now, &mut guard);
    assert_eq!(found, Ok(()));
    let sent: Value = serde_json::from_str(body(call)).unwrap();
    assert_eq!(sent["checksum"], "build-a");
    assert_eq!(header(call, "idempotency-key"), sent["idempotency_key"].as_str().unwrap());
}

#[tokio::test]
async fn a_retry_is_the_same_call_and_no_replay() {
    let turns = [Turn::Status(503), Turn::Status(429), Turn::Status(200)];
    let (delivery, seen) = deliver(&turns, HookKind::Rollout, ", retries: 5").await;
    assert_eq!((delivery.answer, delivery.attempt_count), (Answer::Status(200), 3));
    let keys: BTreeSet<String> = seen.iter().map(|call| header(call, "idempotency-key")).collect();
    assert_eq!(keys.len(), 1);
    let secret = [Secret::new(SECRET).unwrap()];
    let now = u64::try_from(system_clock().0 / 1_000_000_000).unwrap();
    let mut guard = ReplayGuard::new(60, 10);
    for call in &seen {
        let signature = header(call, SIGNATURE_HEADER);
        let found = verify(&secret, &signature, body(call).as_bytes(), now, &mut guard);
        assert_eq!(found, Ok(()), "{call}");
    }
}

#[tokio::test]
async fn retries_end_and_the_last_answer_counts() {
    let (delivery, seen) = deliver(&[Turn::Status(500)], HookKind::Rollout, ", retries: 2").await;
    assert_eq!((delivery.effect, delivery.attempt_count, seen.len()), (Effect::Fail, 3, 3));
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_not_retried() {
    let (delivery, _) = deliver(&[Turn::Status(403)], HookKind::PreRollout, ", retries: 5").await;
    assert_eq!((delivery.effect, delivery.attempt_count), (Effect::Fail, 1));
    let turns = [Turn::Status(500)];
    let (delivery, _) = deliver(&turns, HookKind::ConfirmPromotion, ", retries: 5").await;
    assert_eq!((delivery.effect, delivery.attempt_count), (Effect::Wait, 1));
}

#[tokio::test]
async fn a_hook_that_never_answers_ends_in_time_and_means_what_its_kind_says() {
    let check = async |kind, effect| {
        let (delivery, _) = deliver(&[Turn::Never], kind, ", retries: 1").await;
        missing(delivery, NoAnswer::TimedOut, effect, 2);
    };
    check(HookKind::ConfirmTrafficIncrease, Effect::Wait).await;
    check(HookKind::PreRollout, Effect::Fail).await;
    check(HookKind::Rollback, Effect::Proceed).await;
    check(HookKind::Event, Effect::Proceed).await;
}

#[tokio::test]
async fn a_late_answer_does_not_count_but_the_next_one_does() {
    let turns = [Turn::Late, Turn::Status(200)];
    let (delivery, _) = deliver(&turns, HookKind::PreRollout, ", retries: 1").await;
    assert_eq!((delivery.answer, delivery.attempt_count), (Answer::Status(200), 2));
    let (delivery, _) = deliver(&[Turn::Late], HookKind::PreRollout, "").await;
    missing(delivery, NoAnswer::TimedOut, Effect::Fail, 1);
}

#[tokio::test]
async fn what_is_not_http_or_stops_short_is_broken() {
    for turn in [Turn::Garbage, Turn::Close] {
        let (delivery, _) = deliver(&[turn], HookKind::Rollout, "").await;
        missing(delivery, NoAnswer::Broken, Effect::Fail, 1);
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let delivery = sender().deliver(&hook(&url, HookKind::Rollout, ""), &request()).await;
    missing(delivery, NoAnswer::Unreachable, Effect::Fail, 1);
}

#[tokio::test]
async fn an_address_that_is_not_listed_is_never_called() {
    for url in ["http://192.0.2.1/", "http://[2001:db8::1]:80/", "http://0.0.0.0:80/"] {
        let hook = hook(url, HookKind::PreRollout, ", retries: 5");
        let delivery = sender().deliver(&hook, &request()).await;
        missing(delivery, NoAnswer::NotAllowed, Effect::Fail, 1);
    }
    let list = AddressList::with(["192.0.2.1".parse().unwrap()]);
    assert!(list.allows("::ffff:192.0.2.1".parse().unwrap()));
    assert!(list.allows("127.8.9.10".parse().unwrap()));
    assert!(!list.allows("192.0.2.2".parse().unwrap()));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::start(&[Turn::Status(200)]).await;
    let turns = [Turn::Redirect(other.address)];
    let (delivery, _) = deliver(&turns, HookKind::ConfirmRollout, "").await;
    assert_eq!((delivery.answer, delivery.effect), (Answer::Status(307), Effect::Wait));
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn events_are_sent_without_waiting_and_only_so_many_at_once() {
    let server = Server::start(&[Turn::Never]).await;
    let (hook, sender) = (server.hook(HookKind::Event, ""), sender());
    let calls: Vec<_> = (0..EVENTS_UNDER_WAY_LIMIT)
        .map(|_| sender.notify(&hook, &request()).expect("there is room"))
        .collect();
    assert!(sender.notify(&hook, &request()).is_none());
    for call in calls {
        assert_eq!(call.await.unwrap().effect, Effect::Proceed);
    }
    assert!(sender.notify(&hook, &request()).is_some(), "what has ended makes room");
}
