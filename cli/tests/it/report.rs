//! Reports on builds of our own sample service: equal builds, and the same bytes from the same seed.

use std::fs;
use std::path::Path;

use prophecy_predictor::{Report, Verdict};

use crate::production::{capture, visitors};
use crate::prophecy::{machine, run};

/// A front that calls a back; two routes, nothing promised.
const SYSTEM: &str = r#"
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
    concurrency: 16
  back:
    run:
      command: [mesh, --config, back.yaml]
      env: { PORT: "{port}" }
      ready: { http: /healthz }
    concurrency: 8
"#;

const FRONT: &str = r#"
name: front
port: ${PORT:-0}
workers: 16
clients:
  back: { url: "${BACK_URL:-http://127.0.0.1:1}", pool: 8, timeout: 5s }
routes:
  - method: GET
    path: /
    steps:
      - wait: { mean: 5ms, distribution: lognormal, sigma: 0.3 }
      - respond: { json: { at: "{{now}}" } }
  - method: GET
    path: /items/{id}
    steps:
      - wait: { mean: 3ms, distribution: lognormal, sigma: 0.3 }
      - call: { client: back, path: "/items/{id}", as: item }
      - respond: { json: { item: "{{item}}" } }
"#;

const BACK: &str = r#"
name: back
port: ${PORT:-0}
workers: 8
routes:
  - method: GET
    path: /items/{id}
    steps:
      - wait: { mean: 8ms, distribution: lognormal, sigma: 0.3 }
      - respond: { json: { id: "{{id}}", trace: "{{uuid}}" } }
"#;

fn prepare(folder: &Path) {
    for (name, text) in [("system.yaml", SYSTEM), ("front.yaml", FRONT), ("back.yaml", BACK)] {
        fs::write(folder.join(name), text).expect("writes");
    }
    let paths = visitors(360, 30.0, 1, |nth, choices| match nth % 2 {
        0 => "/".to_owned(),
        _ => format!("/items/{}", 1 + choices.below(500)),
    });
    capture(&folder.join("system.yaml"), &folder.join("production"), paths);
}

fn report(folder: &Path, out: &str, more: &[&str]) -> Report {
    report_on(folder, "system.yaml", out, more)
}

fn report_on(folder: &Path, candidate: &str, out: &str, more: &[&str]) -> Report {
    let path = |name: &str| folder.join(name).display().to_string();
    let (dataset, system, out) = (path("production"), path("system.yaml"), path(out));
    let candidate = path(candidate);
    let mut arguments = vec![
        "report",
        "--dataset",
        &dataset,
        "--baseline",
        &system,
        "--candidate",
        &candidate,
        "--out",
        &out,
    ];
    arguments.extend(more);
    let finished = run(&arguments);
    assert_eq!(finished.code, 0, "{finished:?}");
    let text = fs::read_to_string(Path::new(&out).join("report.json")).expect("written");
    for name in ["report.html", "report.md", "junit.xml"] {
        assert!(Path::new(&out).join(name).exists(), "{name} is missing");
    }
    Report::from_json(&text).expect("a report")
}

/// The candidate is the baseline: whatever differs is noise, and noise must never be a no.
#[test]
fn equal_builds_are_never_refused_and_the_same_seed_gives_the_same_bytes() {
    let _machine = machine();
    let folder = tempfile::tempdir().expect("a temporary folder");
    prepare(folder.path());
    for seed in 1..=5 {
        let out = format!("aa-{seed}");
        let report = report(folder.path(), &out, &["--seed", &seed.to_string()]);
        println!(
            "seed {seed}: {:?}, risk {}, {:?}",
            report.verdict, report.risk.score, report.reasons
        );
        assert_ne!(report.verdict, Verdict::NoGo, "seed {seed}: {:?}", report.reasons);
        assert!(!report.claims.is_empty(), "seed {seed} made no claim");
    }
    let run = folder.path().join("aa-1").join("run").display().to_string();
    let bytes = |threads: &str| {
        let out = format!("threads-{threads}");
        report(folder.path(), &out, &["--seed", "1", "--run", &run, "--threads", threads]);
        fs::read(folder.path().join(out).join("report.json")).expect("written")
    };
    let one = bytes("1");
    assert_eq!(one, bytes("2"));
    assert_eq!(one, fs::read(folder.path().join("aa-1").join("report.json")).expect("written"));
}

/// One kind of input in 20 ends the candidate's process; both baseline arms get the same requests and live.
#[test]
fn a_candidate_that_crashes_is_refused() {
    let _machine = machine();
    let folder = tempfile::tempdir().expect("a temporary folder");
    prepare(folder.path());
    let crash = "- fail: { when: { value: '{id}', modulo: { divisor: 20 } }, crash: true }";
    let back = BACK.replacen("- wait:", &format!("{crash}\n      - wait:"), 1);
    fs::write(folder.path().join("crashing.yaml"), back).expect("writes");
    let system = SYSTEM.replace("back.yaml", "crashing.yaml");
    fs::write(folder.path().join("candidate.yaml"), system).expect("writes");
    let report = report_on(folder.path(), "candidate.yaml", "crash", &[]);
    assert_eq!(report.verdict, Verdict::NoGo, "{:?}", report.reasons);
    let expected = "service `back` of the candidate ended with exit code 70 during the replay";
    assert_eq!(report.reasons, [expected]);
}
