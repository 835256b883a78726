//! `prophecy simulate` on models written by hand.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::prophecy::{run_in, workspace};

/// Clients who give up after 200 ms and try thrice again, and a service that does 100 per second.
const RETRIES: &str = "
schema: prophecy.model/1
system: retries
entry: clients
services:
  clients:
    replicas: 1
    routes:
      'GET /':
        law: { constant: { nanos: 0 } }
        calls:
          - { service: service, route: 'GET /', counts: [0, 1], timeout_nanos: 200000000, retries: 3 }
  service:
    replicas: 1
    workers: 1
    routes:
      'GET /': { law: { exponential: { mean_nanos: 1.0e7 } } }
";

const TRIGGER: &str = "
trigger:
  kind: { load: { nanos: 2000000000 } }
  at_nanos: 10000000000
  within_nanos: 20000000000
  sizes: [1, 10]
";

/// The blocks of YAML in a document.
fn blocks(document: &str) -> Vec<String> {
    let text = fs::read_to_string(workspace().join("docs").join(document)).expect("it is there");
    let parts = text.split("```yaml\n").skip(1);
    parts.filter_map(|part| part.split("```").next().map(str::to_owned)).collect()
}

fn simulate(folder: &Path, arguments: &[&str]) -> Value {
    let mut all = vec!["simulate", "--format", "json", "--rate", "50", "--for", "40s"];
    all.extend(["--replications", "8"]);
    all.extend(arguments);
    let finished = run_in(folder, &all);
    assert_eq!(finished.code, 0, "{finished:?}");
    serde_json::from_str(&finished.stdout).expect("stdout is JSON")
}

/// What the guide shows is what the command takes.
#[test]
fn runs_the_guide_and_draws_a_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let guide = blocks("simulation.md");
    let [model, setting] = guide.as_slice() else { panic!("{} blocks", guide.len()) };
    fs::write(folder.path().join("shop.yaml"), model).expect("writes");
    fs::write(folder.path().join("candidate.json"), model).expect("writes");
    fs::write(folder.path().join("setting.yaml"), setting).expect("writes");
    let out =
        simulate(folder.path(), &["shop.yaml", "--setting", "setting.yaml", "--trace", "out"]);
    let services = out["services"].as_array().expect("a list");
    assert_eq!(services.len(), 2);
    assert_eq!(out["recovery"]["sizes"].as_array().map(Vec::len), Some(3));
    assert!(out["hosts"][0]["utilization"]["mean"].as_f64().is_some_and(|busy| busy > 0.01));
    let read = |name: &str| fs::read_to_string(folder.path().join("out").join(name));
    let trace: Value =
        serde_json::from_str(&read("trace.json").expect("written")).expect("it is JSON");
    assert_eq!(trace["resourceSpans"].as_array().map(Vec::len), Some(2));
    let page = read("trace.html").expect("written");
    assert!(page.contains("The slowest request") && page.contains("stock GET /stock/{id}"));
}

#[test]
fn says_whether_a_system_recovers_and_from_how_much() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("model.yaml"), RETRIES).expect("writes");
    fs::write(folder.path().join("trigger.yaml"), TRIGGER).expect("writes");
    let out = |threads: &str| {
        let arguments = ["model.yaml", "--setting", "trigger.yaml", "--threads", threads];
        simulate(folder.path(), &arguments)
    };
    let one = out("1");
    let recovery = &one["recovery"];
    assert_eq!(recovery["sizes"][0]["probability"], 1.0);
    assert_eq!(recovery["sizes"][1]["probability"], 0.0);
    let critical = recovery["critical_size"].as_f64().expect("between them");
    assert!((1.5..3.5).contains(&critical), "{critical}");
    assert_eq!(one, out("2"));
}

#[test]
fn refuses_settings_that_do_not_fit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("model.yaml"), RETRIES).expect("writes");
    for (text, code, words) in [
        ("incidents: 3", 2, "does not fit the format"),
        (
            "trigger: { kind: { load: { nanos: 1 } }, at_nanos: 1, within_nanos: 1, sizes: [] }",
            2,
            "sizes",
        ),
        ("{ nonsense: 1 }", 2, "nonsense"),
        (": [", 2, "neither JSON nor YAML"),
    ] {
        fs::write(folder.path().join("setting.yaml"), text).expect("writes");
        let arguments = ["simulate", "model.yaml", "--rate", "5", "--setting", "setting.yaml"];
        let finished = run_in(folder.path(), &arguments);
        assert_eq!(finished.code, code, "{text}: {finished:?}");
        assert!(finished.stderr.contains(words), "{text}: {}", finished.stderr);
    }
    let arguments = ["simulate", "model.yaml", "--rate", "5", "--setting", "nowhere.yaml"];
    assert_eq!(run_in(folder.path(), &arguments).code, 3);
}
