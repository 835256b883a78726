//! `prophecy replay --probe` on services whose workers are known, and what is made of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prophecy_datasets::Probe;
use prophecy_datasets::probe::{ArmProbe, Bottleneck, Ending};
use prophecy_twin::launch::path_with_ours;
use serde_json::Value;

use crate::production::{capture, visitors};
use crate::prophecy::{Finished, Running, free_address, machine, run_in, wait_for};

const SYSTEM: &str = r#"
apiVersion: prophecy/v1
kind: System
name: one
entry: web
services:
  web:
    run:
      command: [mesh, --config, web.yaml]
      env: { PORT: "{port}", WORKERS: "16" }
      ready: { http: /healthz }
"#;

const WEB: &str = r#"
name: web
port: ${PORT:-0}
workers: ${WORKERS}
routes:
  - method: GET
    path: /items/{id}
    steps:
      - wait: { mean: 20ms, distribution: lognormal, sigma: 0.2 }
      - respond: { json: { id: "{{id}}" } }
"#;

const PAIR: &str = r#"
apiVersion: prophecy/v1
kind: System
name: pair
entry: front
services:
  front:
    run:
      command: [mesh, --config, front.yaml]
      env: { PORT: "{port}", BACK_URL: "{back.url}" }
      ready: { http: /healthz }
  back:
    run:
      command: [mesh, --config, web.yaml]
      env: { PORT: "{port}", WORKERS: "2" }
      ready: { http: /healthz }
"#;

const FRONT: &str = r#"
name: front
port: ${PORT:-0}
workers: 8
clients: { back: { url: "${BACK_URL:-http://127.0.0.1:1}", pool: 64 } }
routes:
  - method: GET
    path: /items/{id}
    steps:
      - wait: { mean: 5ms }
      - call: { client: back, path: "/items/{id}", as: item }
      - respond: { json: { item: "{{item}}" } }
"#;

/// How far a knee may be off.
const TOLERANCE: f64 = 0.05;

/// How often a measurement that the machine disturbed is made.
const ATTEMPTS: usize = 5;

/// A folder with manifests, a service's configuration, and captured traffic.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(system: &str, web: &str) -> Self {
        let bench = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        bench.write("system.yaml", system);
        bench.write("web.yaml", web);
        bench.write("front.yaml", FRONT);
        bench
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).expect("writes");
    }

    fn capture(&self, rate_hz: f64) {
        let path =
            |_, choices: &mut prophecy_core::Philox| format!("/items/{}", choices.below(500));
        let visitors = visitors((4.0 * rate_hz) as u64, rate_hz, 1, path);
        capture(&self.path().join("system.yaml"), &self.path().join("production"), visitors);
    }

    fn replay(&self, out: &str, builds: [&str; 2], more: &[&str]) -> Finished {
        let [baseline, candidate] = builds;
        let mut all = vec!["replay", "--dataset", "production", "--baseline", baseline];
        all.extend(["--candidate", candidate, "--out", out, "--limit", "1s"]);
        all.extend(more);
        run_in(self.path(), &all)
    }

    fn probe(&self, out: &str, builds: [&str; 2], more: &[&str]) -> Probe {
        let mut all = vec!["--probe"];
        all.extend(more);
        let finished = self.replay(out, builds, &all);
        assert_eq!(finished.code, 0, "{finished:?}");
        Probe::read(&self.path().join(out)).expect("readable").expect("written")
    }

    /// Fits a model to a probed arm, and returns the rate at which a station or a host of it is full, by the
    /// utilization at half the probed rate.
    fn simulated_knee(&self, manifest: &str, [out, arm]: [&str; 2], knee_hz: f64) -> f64 {
        let dataset = format!("{out}/probe/{arm}");
        let model = format!("{out}-{arm}.json");
        let fit = ["fit", &dataset, "--system", manifest, "--probe", out, "--probe-arm", arm];
        let finished = run_in(self.path(), &[&fit[..], &["--out", &model]].concat());
        assert_eq!(finished.code, 0, "{finished:?}");
        let rate = (knee_hz / 2.0).to_string();
        let simulate = ["simulate", &model, "--rate", &rate, "--for", "60s", "--format", "json"];
        let finished = run_in(self.path(), &[&simulate[..], &["--replications", "16"]].concat());
        assert_eq!(finished.code, 0, "{finished:?}");
        let out: Value = serde_json::from_str(&finished.stdout).expect("stdout is JSON");
        let parts = ["services", "hosts"].map(|part| out[part].as_array().expect("a list").clone());
        let busy = parts.iter().flatten().filter_map(|row| row["utilization"]["mean"].as_f64());
        knee_hz / 2.0 / busy.fold(1e-9, f64::max)
    }
}

fn with_workers(count: u32) -> String {
    SYSTEM.replace("WORKERS: \"16\"", &format!("WORKERS: \"{count}\""))
}

/// Floods a service of so many workers for two seconds by itself, without anything of ours between;
/// returns how much it does per second.
fn plain_overload(folder: &Path, workers: u32) -> f64 {
    let address = free_address();
    let mesh = Command::new("mesh")
        .args(["--config", "web.yaml", "--port", &address.port().to_string()])
        .env("PATH", path_with_ours())
        .env("WORKERS", workers.to_string())
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _mesh = Running(mesh.expect("the command starts"));
    wait_for(address);
    let (start, answered) = (Instant::now(), AtomicU64::new(0));
    let (settled, over) =
        (start + Duration::from_millis(500), start + Duration::from_millis(2_500));
    std::thread::scope(|scope| {
        for _ in 0..3 * workers {
            scope.spawn(|| {
                let mut stream = BufReader::new(TcpStream::connect(address).expect("it listens"));
                while Instant::now() < over {
                    ask(&mut stream, address);
                    let now = Instant::now();
                    answered.fetch_add(u64::from(now >= settled && now < over), Ordering::SeqCst);
                }
            });
        }
    });
    answered.load(Ordering::SeqCst) as f64 / 2.0
}

/// Asks once, and reads the answer.
fn ask(stream: &mut BufReader<TcpStream>, address: SocketAddr) {
    let request = format!("GET /items/7 HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes()).expect("writes");
    let mut length = 0;
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).expect("reads") > 0, "the service hung up");
        let line = line.trim().to_ascii_lowercase();
        if let Some(bytes) = line.strip_prefix("content-length:") {
            length = bytes.trim().parse().expect("a number");
        }
        if line.is_empty() {
            break;
        }
    }
    std::io::copy(&mut stream.take(length), &mut std::io::sink()).expect("reads");
}

fn range(arm: &ArmProbe, service: &str) -> Option<(u32, u32)> {
    arm.services[service].workers.map(|range| (range.least, range.most))
}

/// Checks one measurement: the workers, the knee against plain overload, and that of the fitted model.
///
/// Returns what was measured, and what of it is off.
fn measure(bench: &Bench, arm: &ArmProbe, out: &str, workers: u32) -> (String, Vec<String>) {
    let name = arm.name.as_str();
    let manifest = if name == "baseline" { "one.yaml" } else { "other.yaml" };
    let found = arm.services["web"].workers;
    let Some(knee) = arm.knee else {
        return (format!("{workers} workers: {:?}", arm.ending), vec!["no knee".to_owned()]);
    };
    let truth = plain_overload(bench.path(), workers);
    let simulated = bench.simulated_knee(manifest, [out, name], knee.hz);
    let (lo, hi) = (knee.interval.lo(), knee.interval.hi());
    let measured = format!(
        "{workers} workers: found {found:?}; plain overload {truth:.1}/s, probe {:.1} ({lo:.1} to {hi:.1}), model {simulated:.1}",
        knee.hz
    );
    let mut off = Vec::new();
    if range(arm, "web") != Some((workers, workers)) {
        off.push(format!("{workers} workers: {found:?}"));
    }
    if (knee.hz / truth - 1.0).abs() > TOLERANCE {
        off.push(format!("{workers} workers: knee {:.1} of {truth:.1}", knee.hz));
    }
    if (simulated / knee.hz - 1.0).abs() > TOLERANCE {
        off.push(format!("{workers} workers: simulated {simulated:.1} of {:.1}", knee.hz));
    }
    (measured, off)
}

#[test]
fn finds_workers_and_knee_of_a_black_box_and_so_does_its_model() {
    let _machine = machine();
    let bench = Bench::new(SYSTEM, WEB);
    bench.capture(40.0);
    bench.write("one.yaml", &with_workers(1));
    bench.write("other.yaml", &with_workers(8));
    let mut off = [vec!["never measured".to_owned()], vec!["never measured".to_owned()]];
    for attempt in 0..ATTEMPTS {
        let out = format!("run-{attempt}");
        let probe = bench.probe(&out, ["one.yaml", "other.yaml"], &["--probe-time", "8s"]);
        // What was measured well is not measured again.
        let open = probe.arms.iter().zip([1, 8]).zip(&mut off).filter(|(_, off)| !off.is_empty());
        for ((arm, workers), off) in open {
            let (measured, wrong) = measure(&bench, arm, &out, workers);
            println!("attempt {attempt}: {measured}");
            *off = wrong;
        }
        if off.iter().all(Vec::is_empty) {
            return;
        }
    }
    panic!("{off:?}");
}

/// Behind the entry: the called service has the fewer workers, and both are found.
#[test]
fn finds_the_bottleneck_behind_the_entry() {
    let _machine = machine();
    let bench = Bench::new(PAIR, WEB);
    bench.capture(40.0);
    bench.write("more.yaml", &PAIR.replace("WORKERS: \"2\"", "WORKERS: \"4\""));
    let back = || Some(Bottleneck::Workers { service: "back".to_owned() });
    let expected = [(back(), Some((2, 2)), true), (back(), Some((4, 4)), true)];
    let mut seen = Vec::new();
    for attempt in 0..ATTEMPTS {
        let out = format!("run-{attempt}");
        let probe = bench.probe(&out, ["system.yaml", "more.yaml"], &["--probe-time", "8s"]);
        let look = |arm: &ArmProbe| {
            let front = range(arm, "front").is_some_and(|(least, most)| least <= 8 && 8 <= most);
            (arm.bottleneck.clone(), range(arm, "back"), front)
        };
        seen = probe.arms.iter().map(look).collect();
        if seen == expected {
            return;
        }
        println!("attempt {attempt}: {seen:?}");
    }
    panic!("{seen:?}");
}

/// Cores are what a service shares that computes; and 256 requests in flight do not fill one that only waits.
#[test]
fn tells_cores_and_its_own_bounds_from_workers() {
    let _machine = machine();
    let bench = Bench::new(SYSTEM, WEB);
    let with = |step: &str| {
        let wait = WEB.lines().find(|line| line.contains("- wait")).expect("it waits").trim();
        WEB.replace(wait, step).replace("workers: ${WORKERS}\n", "")
    };
    bench.write("computes.yaml", &with("- cpu: { mean: 5ms }"));
    bench.write("waits.yaml", &with("- wait: { mean: 600ms }"));
    bench.capture(160.0);
    bench.write("one.yaml", &SYSTEM.replace("web.yaml", "computes.yaml"));
    bench.write("other.yaml", &SYSTEM.replace("web.yaml", "waits.yaml"));
    let mut off = None;
    for attempt in 0..3 {
        let out = format!("run-{attempt}");
        let probe = bench.probe(&out, ["one.yaml", "other.yaml"], &["--probe-time", "12s"]);
        let [computes, waits] = probe.arms.as_slice() else { panic!("{} arms", probe.arms.len()) };
        assert_eq!((waits.ending, range(waits, "web")), (Ending::InFlight, None));
        assert!(waits.services["web"].workers_at_least > 100, "{:?}", waits.services);
        if computes.notes.iter().any(|note| note.contains("other programs")) {
            println!("attempt {attempt}: other programs had the cores, so nothing is said of them");
            continue;
        }
        let by_cores = Some(Bottleneck::Processor { service: "web".to_owned() });
        if (&computes.bottleneck, range(computes, "web")) != (&by_cores, None) {
            println!("attempt {attempt}: {:?}, {:?}", computes.ending, computes.bottleneck);
            off = Some(format!("{computes:#?}"));
            continue;
        }
        let knee = computes.knee.expect("it saturates").hz;
        let simulated = bench.simulated_knee("one.yaml", [&out, "baseline"], knee);
        println!("cores: probe {knee:.1}, model {simulated:.1}");
        assert!((simulated / knee - 1.0).abs() < TOLERANCE, "{simulated} of {knee}");
        return;
    }
    // Where other programs always had the cores, nothing can be said.
    assert_eq!(off, None);
}

/// A full queue turns requests away instead of letting them wait; a service that crashes ends its probe.
#[test]
fn tells_errors_and_crashes_from_slowness() {
    let _machine = machine();
    let bench = Bench::new(SYSTEM, &WEB.replace("workers:", "queue: 4\nworkers:"));
    bench.write(
        "crash.yaml",
        &WEB.replace("steps:", "steps:\n      - fail: { share: 1%, crash: true }"),
    );
    bench.capture(40.0);
    bench.write("one.yaml", &with_workers(2));
    bench.write("other.yaml", &SYSTEM.replace("web.yaml", "crash.yaml"));
    let mut knee = 0.0;
    for attempt in 0..ATTEMPTS {
        let out = format!("run-{attempt}");
        let probe = bench.probe(&out, ["one.yaml", "other.yaml"], &["--probe-time", "8s"]);
        let [refuses, dies] = probe.arms.as_slice() else { panic!("{} arms", probe.arms.len()) };
        assert_eq!((dies.ending, dies.knee), (Ending::Died, None));
        assert_eq!(dies.ended[0].service, "web");
        assert_eq!(refuses.ending, Ending::Refused);
        assert!(range(refuses, "web").is_some_and(|(least, most)| least <= 2 && 2 <= most));
        knee = refuses.knee.expect("a knee").hz;
        // Two workers of 20 ms; timers are late by up to a millisecond.
        if (93.0..103.0).contains(&knee) {
            return;
        }
    }
    panic!("{knee}");
}

/// Bounds end a probe without an answer, which it says; a run without a probe has none to fit with.
#[test]
fn says_so_where_nothing_saturates_and_refuses_what_cannot_be() {
    let _machine = machine();
    let bench = Bench::new(SYSTEM, WEB);
    bench.capture(40.0);
    let bounds = ["--probe-time", "6s", "--probe-max-rate", "100"];
    let probe = bench.probe("run", ["system.yaml"; 2], &bounds);
    for arm in &probe.arms {
        assert_eq!((arm.ending, arm.knee, range(arm, "web")), (Ending::MaxRate, None, None));
        assert!((70.0..=140.0).contains(&arm.at_least_hz), "{}", arm.at_least_hz);
    }
    let fit = ["fit", "run/probe/baseline", "--system", "system.yaml", "--probe", "run"];
    let finished = run_in(bench.path(), &fit);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stdout.contains("the highest rate did not saturate it"), "{finished:?}");
    let finished = run_in(bench.path(), &[&fit[..], &["--probe-arm", "canary"]].concat());
    assert_eq!(finished.code, 2, "{finished:?}");
    fs::remove_file(bench.path().join("run/probe.json")).expect("it was there");
    let finished = run_in(bench.path(), &fit);
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("has no probe"), "{finished:?}");
    for wrong in [&["--probe", "--probe-time", "1s"][..], &["--probe", "--probe-max-rate", "0"]] {
        let finished = bench.replay("other", ["system.yaml"; 2], wrong);
        assert_eq!(finished.code, 2, "{wrong:?}: {finished:?}");
    }
    assert_eq!(bench.replay("other", ["system.yaml"; 2], &["--probe-time", "9s"]).code, 2);
}
