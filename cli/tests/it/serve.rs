//! `prophecy serve` over an environment in which something really happens.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use prophecy_core::Timestamp;
use prophecy_runner::approval::{Judgement, PrivateKey, Statement};
use prophecy_runner::executor::gate::STAGE;
use prophecy_runner::plan::Plan;
use serde_json::{Value, json};

use crate::prophecy::{Running, command, machine, run};
use crate::rollout::{Load, Site};

const MODEL: &str = "
schema: prophecy.model/1
system: one
entry: web
services:
  web:
    replicas: 1
    workers: 2
    routes:
      GET /: { own_nanos: [5000000, 10000000, 20000000], failure: 0.0, calls: [] }
";

/// A server that does not outlive the test.
#[derive(Debug)]
struct Served {
    running: Running,
    address: SocketAddr,
    token: Option<String>,
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Served {
    fn start(folder: &Path, more: &[&str]) -> Self {
        let store = format!("sqlite:{}", folder.join("store.db").display());
        let key = folder.join("serve-key").display().to_string();
        let mut words = vec!["serve", "--store", &store, "--key", &key, "--listen", "127.0.0.1:0"];
        words.extend(more);
        let mut command = command(&words);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let line = stdout.lines().next().expect("a line").expect("UTF-8");
        let address = line.rsplit("//").next().expect("an address").parse().expect("an address");
        let running = Running(child);
        // Whatever it had to say was said before it listened.
        let mut token = None;
        if !folder.join("token").exists() {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, text)) = line.split_once("role admin): ") {
                    token = Some(text.to_owned());
                    fs::write(folder.join("token"), text).expect("written");
                    break;
                }
            }
        }
        Self { running, address, token }
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(text.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn call(&self, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.ask(method, path, &headers, &text);
        (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null))
    }

    /// Waits until a rollout is in a state.
    fn wait_for(&self, id: &str, state: &str, token: &str) -> Value {
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            let (_, rollout) =
                self.call("GET", &format!("/api/v1/rollouts/{id}"), token, &Value::Null);
            if rollout["state"] == state {
                return rollout;
            }
            assert!(Instant::now() < until, "never {state}: {rollout}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn stop(self) {
        let pid = self.running.0.id().to_string();
        let told = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        assert!(told.expect("kill runs").success());
        assert_eq!(self.running.wait(Duration::from_secs(20)).code, 0);
    }
}

fn session(head: &str) -> String {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie:"));
    let value = line.expect("a cookie").split_once(':').expect("a value").1.trim();
    assert!(value.contains("HttpOnly") && value.contains("SameSite=Strict"), "{value}");
    value.split(';').next().expect("a pair").to_owned()
}

fn field<'a>(page: &'a str, name: &str) -> &'a str {
    let at = page.find(&format!("name=\"{name}\" value=\"")).expect("the field");
    let rest = &page[at + format!("name=\"{name}\" value=\"").len()..];
    rest.split('"').next().expect("a value")
}

fn digest(site: &Site, build: &str) -> String {
    let plan = site.plan_of(build);
    let plan: Value = serde_json::from_str(&plan).expect("a plan");
    plan["candidate"]["digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn begins_steers_and_shows_rollouts() {
    let _machine = machine();
    let site = Site::start();
    let load = Load::start(site.listen);
    let folder = site.path("served");
    fs::create_dir(&folder).expect("made");
    let environment = site.path("env").display().to_string();
    let manifests = site.path(".").display().to_string();
    let settings = site.path("settings.yaml").display().to_string();
    let words = ["--environment", &environment, "--manifests", &manifests, "--settings", &settings];
    let served = Served::start(&folder, &words);
    let token = served.token.clone().expect("the first start makes a token");

    // The first deployment was copied, with its steps and its events.
    let (status, list) = served.call("GET", "/api/v1/rollouts", &token, &Value::Null);
    assert_eq!(status, 200);
    assert_eq!(list["items"][0]["state"], "succeeded", "{list}");

    let asked = |manifest: &str, digest: &str| {
        json!({
            "system": "pair", "environment": "production", "candidate_digest": digest,
            "strategy": "canary", "plan": { "manifest": manifest, "steps": ["50%"], "observe": "60s" },
        })
    };
    let good = digest(&site, "good");
    for (manifest, digest) in
        [("good.yaml", "0000"), ("../good.yaml", &good), ("/etc/passwd", &good), ("no.yaml", &good)]
    {
        let (status, problem) =
            served.call("POST", "/api/v1/rollouts", &token, &asked(manifest, digest));
        assert_eq!(status, 422, "{manifest}: {problem}");
    }
    let (status, begun) =
        served.call("POST", "/api/v1/rollouts", &token, &asked("good.yaml", &good));
    assert_eq!(status, 201, "{begun}");
    let id = begun["id"].as_str().expect("an id").to_owned();
    let observed = served.wait_for(&id, "observing", &token);
    assert_eq!(observed["weight"], 50_000);

    // Through the page: the form names what was seen, and is ours.
    let login = format!("token={token}");
    let entered = served.ask("POST", "/login", &[], &login);
    assert_eq!(entered.status, 303, "{}", entered.head);
    let cookie = session(&entered.head);
    let until = Instant::now() + Duration::from_secs(30);
    let page = loop {
        let page = served.ask("GET", &format!("/rollouts/{id}"), &[("cookie", &cookie)], "").body;
        if page.contains("latency/p50") {
            break page;
        }
        assert!(Instant::now() < until, "{page}");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert!(page.contains("Abort and go back"), "{page}");
    let (csrf, revision) = (field(&page, "csrf"), field(&page, "revision"));
    let path = format!("/rollouts/{id}/abort");
    let forged = served.ask("POST", &path, &[("cookie", &cookie)], &format!("revision={revision}"));
    assert_eq!(forged.status, 403);
    let form = format!("csrf={csrf}&revision={revision}");
    let sent = served.ask("POST", &path, &[("cookie", &cookie)], &form);
    assert_eq!(sent.status, 303, "{}{}", sent.head, sent.body);
    let ended = served.wait_for(&id, "rolled_back", &token);
    assert_eq!(ended["public_status"], "rolled_back");
    let (asked, lost) = load.end();
    assert!(asked > 200 && lost.is_empty(), "{asked}: {lost:?}");

    let (_, events) = served.call("GET", "/api/v1/events?limit=100", &token, &Value::Null);
    let text = events.to_string();
    for name in ["started", "step_progress", "aborted", "rolled_back", "succeeded"] {
        assert!(text.contains(&format!("prophecy.deployment.{name}.v1")), "{name}: {text}");
    }
    let (_, audit) = served.call("GET", "/api/v1/audit", &token, &Value::Null);
    assert!(audit.to_string().contains("rollout.abort"), "{audit}");

    // Another start copies nothing twice, and shows no token.
    served.stop();
    let served = Served::start(&folder, &words);
    assert_eq!(served.token, None);
    let again = served.wait_for(&id, "rolled_back", &token);
    assert_eq!(again["revision"], ended["revision"]);
    let (_, repeated) = served.call("GET", "/api/v1/events?limit=100", &token, &Value::Null);
    assert_eq!(
        repeated["items"].as_array().map(Vec::len),
        events["items"].as_array().map(Vec::len)
    );
    served.stop();
}

#[test]
fn tells_who_may_look() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let served = Served::start(folder.path(), &[]);
    let token = served.token.clone().expect("the first start makes a token");
    for path in ["/", "/predictions", "/rollouts", "/services", "/audit"] {
        let answer = served.ask("GET", path, &[], "");
        assert_eq!(answer.status, 303, "{path}");
        assert!(answer.head.contains("location: /login"), "{}", answer.head);
    }
    let wrong = served.ask("POST", "/login", &[], "token=prophecy_no_no");
    assert_eq!(wrong.status, 401);
    let store = format!("sqlite:{}", folder.path().join("store.db").display());
    let made = run(&["store", "token", "eve", "--role", "viewer", "--store", &store]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    for (token, audit, nav) in [(token.trim(), 200, true), (made.stdout.trim(), 403, false)] {
        let entered = served.ask("POST", "/login", &[], &format!("token={token}"));
        let cookie = session(&entered.head);
        assert!(!cookie.contains(token), "the cookie holds the token");
        let cookie = [("cookie", cookie.as_str())];
        let page = served.ask("GET", "/", &cookie, "");
        assert_eq!(page.status, 200);
        assert!(page.head.contains("default-src 'none'"), "{}", page.head);
        assert_eq!(page.body.contains("href=\"/audit\""), nav);
        assert_eq!(served.ask("GET", "/audit", &cookie, "").status, audit);
        assert_eq!(served.ask("GET", "/rollouts/none", &cookie, "").status, 404);
        let out = format!("csrf={}", field(&page.body, "csrf"));
        assert_eq!(served.ask("POST", "/logout", &cookie, &out).status, 303);
        assert_eq!(served.ask("GET", "/", &cookie, "").status, 303, "the session is over");
    }
    served.stop();
}

#[test]
fn keeps_a_store() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let (first, second) = (url("first.db"), url("second.db"));
    let records = crate::prophecy::workspace().join("datasets/trials").display().to_string();
    let imported = run(&["store", "import", &records, "--store", &first]);
    assert_eq!(imported.code, 0, "{}", imported.stderr);
    let again = run(&["store", "import", &records, "--store", &first]).stdout;
    assert!(again.starts_with("0 predictions"), "{again}");
    let backup = folder.path().join("backup").display().to_string();
    assert_eq!(run(&["store", "backup", &backup, "--store", &first]).code, 0);
    assert_eq!(run(&["store", "backup", &backup, "--store", &first]).code, 3, "it exists");
    assert_eq!(run(&["store", "restore", &backup, "--store", &second]).code, 0);
    let info = |url: &str| run(&["store", "info", "--store", url, "--format", "json"]).stdout;
    assert_eq!(info(&first), info(&second));
    assert_eq!(run(&["store", "restore", &backup, "--store", &second]).code, 2, "not empty");
    let gone = run(&["store", "prune", "--records", "1s", "--store", &second]).stdout;
    assert!(gone.contains("predictions") && !gone.contains(" 0 predictions"), "{gone}");
    let bad = run(&["store", "info", "--store", "mysql://root:secret@host/db"]);
    assert_eq!(bad.code, 2);
    assert!(!bad.stderr.contains("secret"), "{}", bad.stderr);
}

/// Requests that schemathesis draws from the served description, and whatever breaks it on purpose: no answer of
/// the server's own fault, and every answer as described.
#[test]
fn withstands_a_fuzzer() {
    let Some(python) = std::env::var_os("PROPHECY_PYTHON") else {
        println!("skipped: PROPHECY_PYTHON names no Python with schemathesis");
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let records = crate::prophecy::workspace().join("datasets/trials").display().to_string();
    let store = format!("sqlite:{}", folder.path().join("store.db").display());
    assert_eq!(run(&["store", "import", &records, "--store", &store]).code, 0);
    let served = Served::start(folder.path(), &["--rate-limit", "100000"]);
    let token = served.token.clone().expect("the first start makes a token");
    let fuzzed = std::process::Command::new(Path::new(&python).with_file_name("schemathesis"))
        .current_dir(folder.path())
        .args(["run", &format!("http://{}/openapi.json", served.address)])
        .args(["-H", &format!("Authorization: Bearer {token}")])
        .args(["-c", "not_a_server_error,response_schema_conformance,status_code_conformance"])
        .args([
            "-c",
            "content_type_conformance,response_headers_conformance,negative_data_rejection",
        ])
        .args(["--generation-with-security-parameters", "false", "--exclude-path-regex", "stream"])
        .args(["-n", "12", "--seed", "1", "--generation-database", "none", "--no-color"])
        .output()
        .expect("schemathesis runs");
    let told = String::from_utf8_lossy(&fuzzed.stdout);
    assert!(fuzzed.status.success(), "{told}");
    assert!(told.contains("Tested: 34"), "{told}");
    served.stop();
}

#[test]
fn a_signature_that_comes_through_the_api_lets_a_rollout_begin() {
    let _machine = machine();
    let site = Site::start();
    let key = site.path("ada.key");
    let made = run(&["rollout", "key", "--out", &key.display().to_string(), "--actor", "ada"]);
    fs::write(site.path("ring.yaml"), &made.stdout).expect("written");
    let settings =
        format!("approvals: {{ required: 1, keys: {} }}\n", site.path("ring.yaml").display());
    let waiting = site.at_once("good", &settings, &["--detach"]);
    assert_eq!(waiting.code, 0, "{}", waiting.stderr);
    site.wait_for("gated", Duration::from_secs(20));
    let folder = site.path("served");
    fs::create_dir(&folder).expect("made");
    let environment = site.path("env").display().to_string();
    let served = Served::start(&folder, &["--environment", &environment]);
    let token = served.token.clone().expect("the first start makes a token");
    let id = format!(
        "{}.production",
        site.newest().file_name().expect("a name").to_str().expect("UTF-8")
    );
    let rollout = served.wait_for(&id, "gated", &token);

    let plan = fs::read_to_string(site.newest().join("plan.json")).expect("a plan");
    let plan: Plan = serde_json::from_str(&plan).expect("a plan");
    let private = PrivateKey::read_file(&key).expect("a key");
    let statement = |plan_digest: String| Statement {
        rollout: plan.id.clone(),
        revision: rollout["revision"].as_u64().expect("a number"),
        stage: STAGE.to_owned(),
        decision: Judgement::Approve,
        at: Timestamp(plan.created_at),
        expires_at: Timestamp(plan.created_at + 3_600_000_000_000),
        reason: String::new(),
        plan_digest,
        candidate_digest: plan.candidate.digest.clone(),
    };
    let path = format!("/api/v1/rollouts/{id}/approvals");
    let body =
        |signed: &Value| json!({ "stage": 0, "revision": rollout["revision"], "signed": signed });
    let (status, problem) =
        served.call("POST", &path, &token, &body(&json!({ "signature": "none" })));
    assert_eq!(status, 422, "{problem}");
    let signed = json!(statement(plan.digest()).sign("ada", &private));
    let (status, approval) = served.call("POST", &path, &token, &body(&signed));
    assert_eq!(status, 201, "{approval}");
    site.wait_for("succeeded", Duration::from_mins(1));
    assert!(site.journal().contains("approved by ada"), "{}", site.journal());
    served.wait_for(&id, "succeeded", &token);
    let (_, list) = served.call("GET", &path, &token, &Value::Null);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
    served.stop();
}

/// Passes requests on to a server with a cookie, since a browser that is started for one page has none.
fn with_cookie(server: SocketAddr, cookie: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), cookie) = (stream, cookie.clone()) else { continue };
            std::thread::spawn(move || {
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
                while reader.read_line(&mut head).is_ok_and(|count| count > 2) {}
                let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
                let mut onward = TcpStream::connect(server).expect("it listens");
                let asked = format!(
                    "GET {path} HTTP/1.1\r\nhost: test\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n"
                );
                onward.write_all(asked.as_bytes()).expect("sent");
                // A browser that has seen enough closes.
                drop(std::io::copy(&mut onward, &mut stream));
            });
        }
    });
    address
}

/// Opens a page in a browser: what it made of it, and what it complained of.
fn browse(folder: &Path, url: &str, more: &[&str]) -> (String, String) {
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let shown = std::process::Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", &profile])
        .args(["--enable-logging=stderr", "--timeout=20000", "--window-size=1200,2400"])
        .args(more)
        .arg(url)
        .output()
        .expect("chromium starts");
    let complaints: Vec<String> = String::from_utf8_lossy(&shown.stderr)
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .map(str::to_owned)
        .collect();
    (String::from_utf8_lossy(&shown.stdout).into_owned(), complaints.join("\n"))
}

#[test]
fn shows_its_pages_in_a_browser() {
    if std::process::Command::new("chromium").arg("--version").output().is_err() {
        println!("skipped: there is no chromium");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let records = crate::prophecy::workspace().join("datasets/trials").display().to_string();
    let store = format!("sqlite:{}", folder.path().join("store.db").display());
    assert_eq!(run(&["store", "import", &records, "--store", &store]).code, 0);
    let model = folder.path().join("model.yaml");
    fs::write(&model, MODEL).expect("written");
    let served = Served::start(folder.path(), &["--model", &model.display().to_string()]);
    let token = served.token.clone().expect("the first start makes a token");
    let entered = served.ask("POST", "/login", &[], &format!("token={token}"));
    let address = with_cookie(served.address, session(&entered.head));
    let (_, list) = served.call("GET", "/api/v1/predictions?limit=1", &token, &Value::Null);
    let id = list["items"][0]["id"].as_str().expect("an id");
    for (path, expected) in [
        ("/", "How true the prophecy is"),
        ("/predictions", "What was said before each deployment"),
        (&format!("/predictions/{id}"), id),
        ("/rollouts", "No rollout yet"),
        ("/services", "Risk by service"),
        ("/what-if?model=one+%28model%29&now=50&then=90", "saturated then"),
        ("/audit", "chain whole"),
        ("/login", "token"),
    ] {
        let (page, complaints) =
            browse(folder.path(), &format!("http://{address}{path}"), &["--dump-dom"]);
        assert!(page.contains(expected), "{path}: {page}");
        assert_eq!(complaints, "", "{path}");
    }
    // It draws: a picture of one color is small.
    let picture = folder.path().join("page.png");
    let shot = format!("--screenshot={}", picture.display());
    browse(folder.path(), &format!("http://{address}/"), &[&shot]);
    let bytes = fs::metadata(&picture).map_or(0, |file| file.len());
    assert!(bytes > 40_000, "a picture of {bytes} bytes");
    served.stop();
}
