//! Rollouts of real processes behind the real router, under load that counts what it loses.

mod faults;
mod haproxy;
mod measured;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::prophecy::{Finished, Running, command, free_address, machine, run};

const SYSTEM: &str = r#"
apiVersion: prophecy/v1
kind: System
name: pair
entry: front
services:
  front:
    run:
      command: [mesh, --config, front.yaml]
      env: { PORT: "{port}", BACK_URL: "{back.url}", WAIT: 2ms, FAIL: "0" }
      ready: { http: /healthz }
  back:
    run:
      command: [mesh, --config, back.yaml]
      env: { PORT: "{port}" }
      ready: { http: /healthz }
slo:
  - { service: front, route: "GET /", latency_p99: 1s, error_rate: 20% }
"#;

const FRONT: &str = r#"
name: front
port: ${PORT:-0}
workers: 64
clients:
  back: { url: "${BACK_URL:-http://127.0.0.1:1}", pool: 32, timeout: 5s }
routes:
  - method: GET
    path: /
    steps:
      - fail: { share: ${FAIL} }
      - wait: { mean: "${WAIT}" }
      - call: { client: back, path: "/back" }
      - respond: { json: { by: "${NAME:-first}" } }
"#;

const BACK: &str = r#"
name: back
port: ${PORT:-0}
workers: 64
routes:
  - method: GET
    path: /back
    steps:
      - wait: { mean: 1ms }
      - respond: { json: { ok: true } }
"#;

/// Fast enough for a test; the tolerances are those of a machine that is busy with other tests.
const SETTINGS: &str = "
settle: 1s
soak: 2s
observe: 6s
analysis: { errors: 10%, latency: 100%, minimum_requests: 50, undecided: roll_back }
";

/// An environment whose processes end with the test.
#[derive(Debug)]
pub(crate) struct Site {
    folder: tempfile::TempDir,
    pub(crate) listen: SocketAddr,
}

impl Site {
    /// Writes the builds, and deploys the first.
    pub(crate) fn start() -> Self {
        Self::behind(&[])
    }

    /// The same, with more words to say about the router.
    fn behind(router: &[&str]) -> Self {
        let mut site = Self::written();
        let mut first = site.first(router);
        // Something else on the machine may have taken the port meanwhile.
        for _ in 0..2 {
            if first.code != 0 && (first.stderr.clone() + &first.stdout).contains("ddress") {
                site.listen = free_address();
                first = site.first(router);
            }
        }
        assert_eq!(first.code, 0, "{}{}", first.stdout, first.stderr);
        site
    }

    /// Writes the builds, and starts nothing.
    fn written() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write =
            |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
        write("system.yaml", SYSTEM);
        write("front.yaml", FRONT);
        write("back.yaml", BACK);
        write("settings.yaml", SETTINGS);
        for (name, changed) in [
            ("good", "NAME: second"),
            ("better", "NAME: third"),
            ("failing", "FAIL: \"0.5\""),
            ("slow", "WAIT: 80ms"),
            ("broken", "BACK_URL: \"no url\""),
        ] {
            let text = format!(
                "extends: system.yaml\nservices: {{ front: {{ run: {{ env: {{ {changed} }} }} }} }}\n"
            );
            write(&format!("{name}.yaml"), &text);
        }
        Self { listen: free_address(), folder }
    }

    fn first(&self, router: &[&str]) -> Finished {
        let listen = self.listen.to_string();
        let words = [&["--listen", &listen, "--soak", "0s"], router].concat();
        self.rollout("system", &words)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments(&self, build: &str, more: &[&str]) -> Vec<String> {
        let settings = self.path("settings.yaml").display().to_string();
        let candidate = self.path(&format!("{build}.yaml")).display().to_string();
        let environment = self.path("env").display().to_string();
        let words = [
            "rollout",
            "start",
            "--environment",
            &environment,
            "--candidate",
            &candidate,
            "--settings",
            &settings,
        ];
        words.iter().chain(more).map(|it| (*it).to_owned()).collect()
    }

    fn rollout(&self, build: &str, more: &[&str]) -> Finished {
        run(&self.arguments(build, more))
    }

    fn say(&self, words: &[&str]) -> Finished {
        let environment = self.path("env").display().to_string();
        let mut all = vec!["rollout"];
        all.extend(words);
        all.extend(["--environment", &environment]);
        run(&all)
    }

    /// The plan of bringing a build in, as JSON.
    pub(crate) fn plan_of(&self, build: &str) -> String {
        let mut words = self.arguments(build, &["--format", "json"]);
        "plan".clone_into(&mut words[1]);
        run(&words).stdout
    }

    /// Who answers clients now.
    fn serving(&self) -> String {
        let mut stream = TcpStream::connect(self.listen).expect("the router listens");
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n")
            .expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answered");
        text.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
    }

    pub(crate) fn newest(&self) -> PathBuf {
        let folder = self.path("env/rollouts");
        let entries = fs::read_dir(folder).expect("there are rollouts");
        entries.map(|entry| entry.expect("readable").path()).max().expect("at least one")
    }

    pub(crate) fn journal(&self) -> String {
        fs::read_to_string(self.newest().join("journal.ndjson")).unwrap_or_default()
    }

    /// When the newest rollout came to a state [ns since 1970].
    fn state_at(&self, state: &str) -> i64 {
        let wanted = format!("\"state\":\"{state}\"");
        let journal = self.journal();
        let line = journal.lines().find(|line| line.contains(&wanted)).expect("it came to it");
        let entry: serde_json::Value = serde_json::from_str(line).expect("JSON");
        entry["at"].as_i64().expect("a time")
    }

    /// Waits until the newest rollout's journal has a state.
    pub(crate) fn wait_for(&self, state: &str, limit: Duration) {
        let wanted = format!("\"state\":\"{state}\"");
        let until = Instant::now() + limit;
        while !self.journal().contains(&wanted) {
            assert!(Instant::now() < until, "never {state}: {}", self.journal());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A test that failed may have left a rollout under way, which holds the environment.
        if std::thread::panicking() {
            drop(self.say(&["abort"]));
        }
        drop(self.say(&["down"]));
    }
}

/// Clients that go on asking, and count what is not a whole answer.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    lost: Arc<Mutex<Vec<String>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicU64::new(0));
        let lost = Arc::new(Mutex::new(Vec::new()));
        let clients = (0..8).map(|_| {
            let (stop, asked, lost) = (Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&lost));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = ask_often(address, &stop, &asked) {
                        lost.lock().expect("no panic").push(error.to_string());
                    }
                }
            })
        });
        Self { clients: clients.collect(), stop, asked, lost }
    }

    /// Ends the load: requests asked, and those that were lost.
    pub(crate) fn end(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("no panic");
        }
        let lost = self.lost.lock().expect("no panic").clone();
        (self.asked.load(Ordering::Relaxed), lost)
    }
}

/// Asks over one connection until told to stop; an answer of any status counts if it is whole, but for 502 and 503.
fn ask_often(address: SocketAddr, stop: &AtomicBool, asked: &AtomicU64) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while !stop.load(Ordering::Relaxed) {
        asked.fetch_add(1, Ordering::Relaxed);
        stream.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")?;
        let (mut line, mut length, mut status) = (String::new(), 0, String::new());
        let mut is_last = false;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Err(std::io::Error::other("the connection was closed"));
            }
            if status.is_empty() {
                status.clone_from(&line);
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
            is_last |= line.eq_ignore_ascii_case("connection: close\r\n");
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if status.contains(" 502") || status.contains(" 503") {
            return Err(std::io::Error::other(status.trim().to_owned()));
        }
        if is_last {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(15));
    }
    Ok(())
}

fn no_process_of(folder: &Path) -> bool {
    let name = folder.display().to_string();
    let entries = fs::read_dir("/proc").expect("Linux");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let commands = pids.filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).ok());
    !commands.into_iter().any(|text| text.contains(&name))
}

#[test]
fn promotes_what_is_harmless_and_stops_what_is_not_without_losing_a_request() {
    let _machine = machine();
    let site = Site::start();
    let load = Load::start(site.listen);
    let good = site.rollout("good", &["--steps", "20%,50%"]);
    assert_eq!(good.code, 0, "{}{}", good.stdout, good.stderr);
    assert!(site.serving().contains("second"), "{}", site.serving());

    let failing = site.rollout("failing", &["--steps", "20%,50%"]);
    assert_eq!(failing.code, 6, "{}{}", failing.stdout, failing.stderr);
    assert!(failing.stdout.contains("errors: "), "{}", failing.stdout);
    let slow = site.rollout("slow", &["--steps", "50%"]);
    assert_eq!(slow.code, 6, "{}{}", slow.stdout, slow.stderr);
    assert!(site.serving().contains("second"), "{}", site.serving());

    // What was rolled back is not tried again by mistake.
    let again = site.rollout("failing", &["--steps", "20%"]);
    assert_eq!(again.code, 5, "{}{}", again.stdout, again.stderr);
    assert!(again.stdout.contains("marked as rejected"), "{}", again.stdout);

    let back = site.say(&["rollback"]);
    assert_eq!(back.code, 2, "the newest is over: {}{}", back.stdout, back.stderr);
    let (asked, lost) = load.end();
    assert!(asked > 2_000, "{asked}");
    assert!(lost.is_empty(), "{} of {asked}: {:?}", lost.len(), &lost[..lost.len().min(5)]);

    let list = site.say(&["list"]).stdout;
    assert_eq!(list.matches("rolled_back").count(), 3, "{list}");
    let down = site.say(&["down"]);
    assert_eq!(down.code, 0, "{}", down.stderr);
    assert!(no_process_of(site.folder.path()), "something runs on");
}

#[test]
fn goes_on_after_a_kill_at_any_state() {
    const STATES: [&str; 9] = [
        "queued",
        "gated",
        "provisioning",
        "shifting",
        "settling",
        "observing",
        "promoting",
        "soaking",
        "aborting",
    ];
    let _machine = machine();
    let site = Site::start();
    let load = Load::start(site.listen);
    let builds = ["good", "better"];
    for (index, state) in STATES.into_iter().enumerate() {
        let build = if state == "aborting" { "failing" } else { builds[index % 2] };
        let mut child = command(&site.arguments(build, &["--steps", "50%"]));
        let before = fs::read_dir(site.path("env/rollouts")).expect("readable").count();
        let child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let running = Running(child);
        while fs::read_dir(site.path("env/rollouts")).expect("readable").count() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        site.wait_for(state, Duration::from_mins(1));
        drop(running);
        // What came after the state counts as not having happened: a superset of what a kill leaves.
        let text = site.journal();
        let wanted = format!("\"state\":\"{state}\"");
        let end = text.find(&wanted).and_then(|at| Some(at + text[at..].find('\n')? + 1));
        let over =
            text.contains("\"state\":\"succeeded\"") || text.contains("\"state\":\"rolled_back\"");
        if !over {
            fs::write(site.newest().join("journal.ndjson"), &text[..end.expect("a line")])
                .expect("written");
        }
        let resumed = site.say(&["resume"]);
        let expected = if state == "aborting" { 6 } else { 0 };
        assert_eq!(resumed.code, expected, "{state}: {}{}", resumed.stdout, resumed.stderr);
        let serving = site.serving();
        let name =
            ["second", "third"][if state == "aborting" { (index + 1) % 2 } else { index % 2 }];
        assert!(serving.contains(name), "{state}: {serving}");
    }
    let (asked, lost) = load.end();
    assert!(lost.is_empty(), "{} of {asked}: {:?}", lost.len(), &lost[..lost.len().min(5)]);
}

#[test]
fn hears_people_and_refuses_who_saw_something_else() {
    let _machine = machine();
    let site = Site::start();
    let load = Load::start(site.listen);
    let detached = site.rollout("good", &["--steps", "20%,50%", "--observe", "60s", "--detach"]);
    assert_eq!(detached.code, 0, "{}", detached.stderr);
    site.wait_for("observing", Duration::from_secs(30));
    let stale = site.say(&["promote", "--revision", "2"]);
    assert_eq!(stale.code, 2, "{}", stale.stdout);
    assert!(stale.stdout.contains("it names revision 2"), "{}", stale.stdout);
    assert_eq!(site.say(&["pause"]).code, 0);
    site.wait_for("paused", Duration::from_secs(5));
    assert_eq!(site.say(&["resume"]).code, 0);
    assert_eq!(site.say(&["promote", "--reason", "looks fine"]).code, 0);
    site.wait_for("shifting", Duration::from_secs(5));
    let other = site.rollout("better", &["--steps", "20%"]);
    assert_eq!(other.code, 3, "one at a time: {}", other.stderr);
    // The router is gone: it comes back with what it was told, and giving up works all the same.
    let state =
        fs::read_to_string(site.path("env/router/routing.json")).expect("it keeps its state");
    assert!(state.contains("\"revision\""), "{state}");
    let aborted = site.say(&["abort", "--reason", "enough seen"]);
    assert_eq!(aborted.code, 6, "{}{}", aborted.stdout, aborted.stderr);
    assert!(site.serving().contains("first"), "{}", site.serving());
    let (asked, lost) = load.end();
    assert!(lost.is_empty(), "{} of {asked}: {:?}", lost.len(), &lost[..lost.len().min(5)]);
}

#[test]
fn gives_up_although_the_router_was_killed_and_the_executor_too() {
    let _machine = machine();
    let site = Site::start();
    let detached = site.rollout("good", &["--steps", "50%", "--observe", "60s", "--detach"]);
    assert_eq!(detached.code, 0, "{}", detached.stderr);
    site.wait_for("observing", Duration::from_secs(30));
    for part in ["rollout\0resume", "router\0--home"] {
        for pid in processes(&site.path("env"), part) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("ours");
        }
    }
    let aborted = site.say(&["abort"]);
    assert_eq!(aborted.code, 6, "{}{}", aborted.stdout, aborted.stderr);
    assert!(site.serving().contains("first"), "{}", site.serving());
}

fn processes(folder: &Path, part: &str) -> Vec<rustix::process::Pid> {
    let name = folder.display().to_string();
    let entries = fs::read_dir("/proc").expect("Linux");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let ours = pids.filter(|pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        text.contains(part) && text.contains(&name)
    });
    ours.filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?)).collect()
}

#[test]
fn says_what_is_wrong_before_anything_is_touched() {
    let site = Site::start();
    let environment = site.path("env").display().to_string();
    let nowhere = site.path("nowhere").display().to_string();
    let candidate = site.path("good.yaml").display().to_string();
    let same = site.path("system.yaml").display().to_string();
    let cases: [(&[&str], i32, &str); 7] = [
        (
            &["--environment", &nowhere, "--candidate", &candidate],
            2,
            "needs an address for clients",
        ),
        (&["--environment", &environment, "--candidate", &same], 2, "nothing differs"),
        (&["--environment", &environment, "--candidate", "absent.yaml"], 3, "cannot read manifest"),
        (
            &["--environment", &environment, "--candidate", &candidate, "--steps", "50%,20%"],
            2,
            "not more than",
        ),
        (
            &["--environment", &environment, "--candidate", &candidate, "--steps", "120%"],
            2,
            "is not a share",
        ),
        (
            &[
                "--environment",
                &environment,
                "--candidate",
                &candidate,
                "--select",
                "me",
                "--strategy",
                "ab",
            ],
            2,
            "does not say who",
        ),
        (
            &[
                "--environment",
                &environment,
                "--candidate",
                &candidate,
                "--settings",
                "absent.yaml",
            ],
            3,
            "cannot use settings",
        ),
    ];
    for (words, code, part) in cases {
        let mut all = vec!["rollout", "start"];
        all.extend(words);
        let finished = run(&all);
        assert_eq!(finished.code, code, "{words:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(part), "{words:?}: {}", finished.stderr);
    }
    let broken = site.rollout("broken", &["--steps", "50%"]);
    assert_eq!(broken.code, 6, "{}{}", broken.stdout, broken.stderr);
    assert!(broken.stdout.contains("ended before it was ready"), "{}", broken.stdout);
    assert!(site.serving().contains("first"));
    let plan = run(&["rollout", "plan", "--environment", &environment, "--candidate", &candidate]);
    assert_eq!(plan.code, 0, "{}", plan.stderr);
    for part in ["# Deployment plan: pair to production", "services", "Rollback trigger", "| 5 "] {
        assert!(plan.stdout.contains(part) || part == "services", "{part}: {}", plan.stdout);
    }
}

/// A hook: answers with the status that the test wants, and keeps what it was sent.
#[derive(Debug)]
struct HookServer {
    address: SocketAddr,
    status: Arc<AtomicU64>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl HookServer {
    fn start(status: u64) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let status = Arc::new(AtomicU64::new(status));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (answer, kept) = (Arc::clone(&status), Arc::clone(&heard));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let (mut length, mut line) = (0, String::new());
                while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap_or(0);
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_ok() {
                    kept.lock()
                        .expect("no panic")
                        .push(String::from_utf8_lossy(&body).into_owned());
                }
                let status = answer.load(Ordering::Relaxed);
                let text = format!(
                    "HTTP/1.1 {status} said\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                drop(reader.into_inner().write_all(text.as_bytes()));
            }
        });
        Self { address, status, heard }
    }

    fn heard(&self, part: &str) -> usize {
        self.heard.lock().expect("no panic").iter().filter(|body| body.contains(part)).count()
    }
}

impl Site {
    /// Rolls out all at once, with more settings.
    pub(crate) fn at_once(&self, build: &str, settings: &str, more: &[&str]) -> Finished {
        fs::write(self.path("settings.yaml"), format!("{SETTINGS}{settings}")).expect("written");
        let mut words = vec!["--strategy", "blue-green"];
        words.extend(more);
        self.rollout(build, &words)
    }
}

#[test]
fn begins_only_when_windows_people_and_hooks_agree() {
    let _machine = machine();
    let site = Site::start();
    let frozen = "windows: [{ name: winter, kind: deny, start: 2020-01-01T00:00:00, rrule: FREQ=DAILY, duration: 24h, time_zone: Europe/Berlin, reason: stocktaking }]\n";
    let closed = site.at_once("good", frozen, &[]);
    assert_eq!(closed.code, 5, "{}{}", closed.stdout, closed.stderr);
    assert!(
        closed.stdout.contains("the freeze `winter` holds: stocktaking; it opens again"),
        "{}",
        closed.stdout
    );
    let passed = site.at_once("good", frozen, &["--pass-over", "a fire"]);
    assert_eq!(passed.code, 0, "{}{}", passed.stdout, passed.stderr);
    assert!(site.journal().contains("passed the freeze `winter`"), "{}", site.journal());

    let (key, ring) = (site.path("ada.key"), site.path("ring.yaml"));
    let key = key.display().to_string();
    let made = run(&["rollout", "key", "--out", &key, "--actor", "ada"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    fs::write(&ring, &made.stdout).expect("written");
    let settings = format!("approvals: {{ required: 1, keys: {} }}\n", ring.display());
    let waiting = site.at_once("better", &settings, &["--detach"]);
    assert_eq!(waiting.code, 0, "{}", waiting.stderr);
    site.wait_for("gated", Duration::from_secs(20));
    let signed = site.say(&["approve", "--key", &key, "--actor", "ada"]);
    assert_eq!(signed.code, 0, "{}", signed.stderr);
    site.wait_for("succeeded", Duration::from_mins(1));
    assert!(site.journal().contains("approved by ada"), "{}", site.journal());
    let refused = site.at_once("good", &settings, &["--detach"]);
    assert_eq!(refused.code, 0, "{}", refused.stderr);
    site.wait_for("gated", Duration::from_secs(20));
    assert_eq!(
        site.say(&["approve", "--key", &key, "--actor", "ada", "--reject", "--reason", "too late"])
            .code,
        0
    );
    site.wait_for("rolled_back", Duration::from_secs(20));
    assert!(site.journal().contains("ada rejects it: too late"), "{}", site.journal());

    let board = HookServer::start(503);
    let settings = format!(
        "hooks:\n  - {{ name: board, kind: confirm-promotion, url: 'http://{0}/' }}\n  - {{ name: news, kind: event, url: 'http://{0}/news' }}\n",
        board.address
    );
    let waiting = site.at_once("good", &settings, &["--detach"]);
    assert_eq!(waiting.code, 0, "{}", waiting.stderr);
    site.wait_for("promoting", Duration::from_secs(30));
    let until = Instant::now() + Duration::from_secs(20);
    while board.heard("confirm-promotion") < 2 {
        assert!(Instant::now() < until, "it is asked again: {:?} {}", board.heard, site.journal());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(site.serving().contains("third"), "nothing moves before it agrees");
    board.status.store(200, Ordering::Relaxed);
    site.wait_for("succeeded", Duration::from_mins(1));
    assert!(board.heard("\"kind\":\"event\"") >= 4);
    assert!(site.serving().contains("second"));

    let smoke = HookServer::start(500);
    let settings = format!(
        "hooks: [{{ name: smoke, kind: pre-rollout, url: 'http://{}/' }}]\n",
        smoke.address
    );
    let failed = site.at_once("better", &settings, &[]);
    assert_eq!(failed.code, 5, "{}{}", failed.stdout, failed.stderr);
    let pager = HookServer::start(200);
    let settings =
        format!("hooks: [{{ name: pager, kind: rollback, url: 'http://{}/' }}]\n", pager.address);
    let called = site.at_once("better", &settings, &["--soak", "30s"]);
    assert_eq!(called.code, 6, "{}{}", called.stdout, called.stderr);
    assert!(called.stdout.contains("hook `pager` says to roll back"), "{}", called.stdout);
    assert!(site.serving().contains("second"));
}

#[test]
fn begins_when_it_is_time() {
    let _machine = machine();
    let site = Site::start();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let after = |seconds: u64| {
        let nanos = (now + Duration::from_secs(seconds)).as_nanos() as i64;
        prophecy_runner::instant::write(prophecy_core::Timestamp(nanos - nanos % 1_000_000_000))
    };
    // A window that closes for five seconds more.
    let wall = |seconds: u64| after(seconds).trim_end_matches('Z').to_owned();
    let frozen = format!(
        "windows: [{{ name: lunch, kind: deny, start: {}, end: {}, time_zone: UTC, reason: hungry }}]\n",
        wall(0),
        wall(5)
    );
    let waiting = site.at_once("good", &frozen, &["--when-open", "--detach"]);
    assert_eq!(waiting.code, 0, "{}{}", waiting.stdout, waiting.stderr);
    site.wait_for("gated", Duration::from_secs(20));
    assert!(!site.journal().contains("provisioning"), "{}", site.journal());
    site.wait_for("succeeded", Duration::from_secs(30));
    let begun = site.state_at("provisioning");
    assert!(begun >= (now.as_secs() + 5) as i64 * 1_000_000_000, "{begun}: {}", site.journal());

    let later = site.at_once("better", "", &["--at", &after(3_600), "--detach"]);
    assert_eq!(later.code, 0, "{}{}", later.stdout, later.stderr);
    site.wait_for("gated", Duration::from_secs(20));
    let other = site.at_once("good", "", &[]);
    assert_eq!(other.code, 3, "it holds the environment: {}{}", other.stdout, other.stderr);
    let aborted = site.say(&["abort"]);
    assert_eq!(aborted.code, 6, "{}{}", aborted.stdout, aborted.stderr);
    assert!(site.serving().contains("second"), "{}", site.serving());
    let bad = site.at_once("better", "", &["--at", "tomorrow"]);
    assert_eq!(bad.code, 2, "{}", bad.stderr);
}

#[test]
fn goes_back_only_where_the_data_allow_it() {
    let _machine = machine();
    let site = Site::start();
    let mark = |name: &str| site.path(name).display().to_string();
    let (up, down) = (mark("up"), mark("down"));
    let settings = format!(
        "migration: {{ command: [touch, {up}], rollback: {{ needs_migration: {{ command: [touch, {down}] }} }} }}\n"
    );
    let done = site.at_once("good", &settings, &["--detach"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    site.wait_for("soaking", Duration::from_secs(30));
    let aborted = site.say(&["abort"]);
    assert_eq!(aborted.code, 6, "{}{}", aborted.stdout, aborted.stderr);
    assert!(site.path("up").exists() && site.path("down").exists());
    assert!(site.serving().contains("first"));

    let settings = format!("migration: {{ command: [touch, {up}], rollback: forward_only }}\n");
    let done = site.at_once("better", &settings, &["--detach"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    site.wait_for("soaking", Duration::from_secs(30));
    let aborted = site.say(&["abort"]);
    assert_eq!(aborted.code, 6, "{}{}", aborted.stdout, aborted.stderr);
    assert!(site.journal().contains("rollback_failed"), "{}", site.journal());
    assert!(site.journal().contains("forward only"), "{}", site.journal());
    assert!(site.serving().contains("third"), "traffic stays where it is: {}", site.serving());
}
