//! Rollouts of real processes behind the real router, under load that counts what it loses.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
struct Site {
    folder: tempfile::TempDir,
    listen: SocketAddr,
}

impl Site {
    /// Writes the builds, and deploys the first.
    fn start() -> Self {
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
        let site = Self { listen: free_address(), folder };
        let listen = site.listen.to_string();
        let first = site.rollout("system", &["--listen", &listen, "--soak", "0s"]);
        assert_eq!(first.code, 0, "{}{}", first.stdout, first.stderr);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
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

    fn newest(&self) -> PathBuf {
        let folder = self.path("env/rollouts");
        let entries = fs::read_dir(folder).expect("there are rollouts");
        entries.map(|entry| entry.expect("readable").path()).max().expect("at least one")
    }

    fn journal(&self) -> String {
        fs::read_to_string(self.newest().join("journal.ndjson")).unwrap_or_default()
    }

    /// Waits until the newest rollout's journal has a state.
    fn wait_for(&self, state: &str, limit: Duration) {
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
        drop(self.say(&["down"]));
    }
}

/// Clients that go on asking, and count what is not a whole answer.
#[derive(Debug)]
struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    lost: Arc<Mutex<Vec<String>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
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
    fn end(self) -> (u64, Vec<String>) {
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
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if status.contains(" 502") || status.contains(" 503") {
            return Err(std::io::Error::other(status.trim().to_owned()));
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
