//! Arms of small services: what fills their commands, how they fail, and that nothing stays behind.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use prophecy_anonymizer::{Key, Policy, Sanitizer};
use prophecy_datasets::{Dataset, DatasetWriter};
use prophecy_twin::launch::{Arm, ArmOptions, Instances, StartArmError};
use prophecy_twin::run::dataset_options;
use prophecy_twin::{AllowList, LoadedSystem, load_system};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A service in a language that is everywhere: answers with `SAY`, and with what `BACK_URL` says.
const SERVICE: &str = r#"
import http.client, http.server, os, socketserver, subprocess, sys, urllib.parse

if "STRAY" in os.environ:
    subprocess.Popen(["sleep", "600"], start_new_session=True)

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        said = os.environ.get("SAY", "")
        if self.path != "/healthz" and "BACK_URL" in os.environ:
            back = http.client.HTTPConnection(urllib.parse.urlsplit(os.environ["BACK_URL"]).netloc)
            back.request("GET", "/item")
            said += back.getresponse().read().decode()
            back.close()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())
    def log_message(self, *arguments):
        pass

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

/// A folder with a manifest, whose processes can be told by a tag in their environment.
struct Bench {
    folder: TempDir,
    tag: String,
}

impl Bench {
    fn new(services: &[(&str, Value)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tag = folder.path().display().to_string();
        fs::write(folder.path().join("service.py"), SERVICE).unwrap();
        let services = services.iter().map(|(name, run)| {
            let mut run = run.clone();
            run["env"]["BENCH"] = json!(tag);
            ((*name).to_owned(), json!({ "run": run }))
        });
        let manifest = json!({
            "apiVersion": "prophecy/v1",
            "kind": "System",
            "name": "bench",
            "entry": "front",
            "services": services.collect::<serde_json::Map<_, _>>(),
        });
        fs::write(folder.path().join("system.yaml"), manifest.to_string()).unwrap();
        Self { folder, tag }
    }

    /// Two services, of which the first calls the second, and the second leaves its group.
    fn pair() -> Self {
        let ready = json!({ "http": "/healthz", "within": "60s" });
        let command = json!(["python3", "service.py", "{port}"]);
        Self::new(&[
            (
                "front",
                json!({
                    "command": command, "ready": ready,
                    "env": { "SAY": "front at {data}, ", "BACK_URL": "{back.url}" },
                }),
            ),
            (
                "back",
                json!({ "command": command, "ready": ready, "env": { "SAY": "back", "STRAY": "1" } }),
            ),
        ])
    }

    async fn start(&self) -> Result<Arm, StartArmError> {
        start(self.folder.path()).await
    }

    fn dataset(&self) -> PathBuf {
        self.folder.path().join("dataset")
    }

    fn processes(&self) -> Vec<String> {
        processes_with(&format!("BENCH={}", self.tag))
    }
}

async fn start(folder: &Path) -> Result<Arm, StartArmError> {
    let system: LoadedSystem = load_system(&folder.join("system.yaml")).unwrap();
    let policy = Policy::named("replayable").unwrap();
    let sanitizer = Sanitizer::new(policy, Key::from_bytes([7; 32]));
    let options = dataset_options("bench", &sanitizer);
    Arm::start(ArmOptions {
        name: "bench".to_owned(),
        system: &system,
        writer: DatasetWriter::create(&folder.join("dataset"), options).unwrap(),
        sanitizer,
        logs: folder.join("logs"),
        allow: &AllowList::default(),
        instances: Instances::Declared,
        standins: BTreeMap::new(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
    })
    .await
}

/// Returns the names of the running processes with a variable and the mark of an arm.
fn processes_with(variable: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        let marked = environment.split(|byte| *byte == 0).any(|v| v.starts_with(b"PROPHECY_ARM="));
        if marked && variables.any(|found| found == variable.as_bytes()) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push(name.trim().to_owned());
        }
    }
    found.sort();
    found
}

fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET /page HTTP/1.1\r\nhost: front\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_services_behind_proxies_and_leaves_nothing_behind() {
    let bench = Bench::pair();
    let arm = bench.start().await.unwrap();
    let entry = arm.entry();
    let answer = tokio::task::spawn_blocking(move || get(entry)).await.unwrap();
    assert!(answer.ends_with(", back"), "{answer}");
    let data = answer.split("front at ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    assert!(Path::new(data).is_dir() && data.ends_with("/front"), "{data}");
    assert!(bench.processes().contains(&"sleep".to_owned()), "{:?}", bench.processes());
    arm.stop().await.unwrap();
    assert_eq!(bench.processes(), Vec::<String>::new());
    assert!(!Path::new(data).exists());
    let exchanges = Dataset::open(&bench.dataset()).unwrap().exchanges().unwrap();
    let edges: Vec<(&str, &str)> =
        exchanges.iter().map(|e| (e.source.as_str(), e.destination.as_str())).collect();
    assert_eq!(edges, [("client", "front"), ("front", "back")]);
    assert!(exchanges.iter().all(|exchange| exchange.status == Some(200)));
}

/// Production has as many instances as the manifest says, and connections go to them in turn.
#[tokio::test(flavor = "multi_thread")]
async fn runs_every_instance_that_is_declared() {
    let bench = Bench::pair();
    let manifest = bench.folder.path().join("system.yaml");
    let text = fs::read_to_string(&manifest).unwrap();
    let mut system: Value = serde_json::from_str(&text).unwrap();
    system["services"]["front"]["replicas"] = json!(2);
    fs::write(&manifest, system.to_string()).unwrap();
    let arm = bench.start().await.unwrap();
    let entry = arm.entry();
    let answers = tokio::task::spawn_blocking(move || [(); 4].map(|()| get(entry)));
    let answers = answers.await.unwrap();
    let of_second = answers.iter().filter(|answer| answer.contains("/front-2,")).count();
    assert_eq!(of_second, 2, "{answers:?}");
    arm.stop().await.unwrap();
    assert_eq!(bench.processes(), Vec::<String>::new());
    let exchanges = Dataset::open(&bench.dataset()).unwrap().exchanges().unwrap();
    let at_front = exchanges.iter().filter(|exchange| exchange.destination == "front");
    let servers: std::collections::BTreeSet<SocketAddr> =
        at_front.map(|exchange| exchange.server).collect();
    assert_eq!(servers.len(), 2, "instances are told apart by their address");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_an_arm_ends_its_processes() {
    let bench = Bench::pair();
    let arm = bench.start().await.unwrap();
    assert!(bench.processes().len() >= 3, "{:?}", bench.processes());
    drop(arm);
    assert_eq!(bench.processes(), Vec::<String>::new());
}

/// Not a test of its own: [`an_arm_ends_with_the_process_that_holds_it`] runs and kills it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs in a process of its own"]
async fn holds_an_arm_until_it_is_killed() {
    let folder = std::env::var("PROPHECY_TEST_HOLD").unwrap();
    let arm = start(Path::new(&folder)).await.unwrap();
    fs::write(Path::new(&folder).join("started"), "").unwrap();
    tokio::time::sleep(Duration::from_mins(2)).await;
    drop(arm);
}

#[test]
fn an_arm_ends_with_the_process_that_holds_it() {
    let bench = Bench::pair();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "launch::holds_an_arm_until_it_is_killed", "--ignored"])
        .env("PROPHECY_TEST_HOLD", bench.folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let started = eventually(|| bench.folder.path().join("started").exists());
    let running = bench.processes();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(started && running.len() >= 3, "{running:?}");
    assert!(eventually(|| bench.processes().is_empty()), "{:?} are left", bench.processes());
}

fn eventually(condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_mins(1);
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Returns the error of starting one service with this `run`; nothing of it may be left.
async fn refusal(run: Value) -> StartArmError {
    let bench = Bench::new(&[("front", run)]);
    let error = bench.start().await.map(drop).unwrap_err();
    assert_eq!(bench.processes(), Vec::<String>::new());
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn says_how_a_service_ended_and_what_it_wrote_last() {
    let script = "i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); done; exit 7";
    let error = refusal(json!({ "command": ["sh", "-c", script] })).await;
    let text = error.to_string();
    assert!(text.contains("service `front` ended with exit code 7 before it was ready"), "{text}");
    assert!(text.ends_with("line 29") && text.contains("line 10\n"), "{text}");
    assert!(!text.contains("line 9\n"), "{text}");
    let error = refusal(json!({ "command": ["sh", "-c", "kill -s KILL $$"] })).await;
    assert!(error.to_string().contains("signal 9 before it was ready; it wrote nothing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn gives_up_on_a_service_that_never_becomes_ready() {
    let run = json!({
        "command": ["sh", "-c", "echo waiting; (sleep 600 & sleep 600)"],
        "ready": { "within": "300ms" },
    });
    let error = refusal(run).await;
    let StartArmError::NotReady { found, log, .. } = &error else { panic!("{error}") };
    assert!(found.starts_with("nothing accepts connections on port "), "{found}");
    assert!(log.ends_with("waiting"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_a_program_or_a_placeholder_that_is_not_there() {
    let error = refusal(json!({ "command": ["no-such-program-anywhere"] })).await;
    let text = error.to_string();
    assert!(matches!(error, StartArmError::Spawn { .. }), "{text}");
    assert_eq!(text, "cannot start service `front`: cannot run `no-such-program-anywhere`");
    for placeholder in ["{prot}", "{cache.url}", "{front.host}"] {
        let error = refusal(json!({ "command": ["true", placeholder] })).await;
        assert!(matches!(&error, StartArmError::Placeholder { .. }), "{placeholder}: {error}");
    }
}
