//! Bad input: each gets a message in the form of the house, the right exit code, and no panic.

use std::fs;
use std::path::Path;

use crate::prophecy::{Finished, run_in, workspace};

/// Checks the exit code, the form of the message, and that it names what is wrong.
#[track_caller]
fn refuses(folder: &Path, arguments: &[&str], code: i32, expected: &str) {
    let finished = run_in(folder, arguments);
    let Finished { stderr, .. } = &finished;
    assert_eq!(finished.code, code, "{arguments:?}: {stderr}");
    assert!(stderr.contains(expected), "{arguments:?} should say `{expected}`: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let first = stderr.lines().find(|line| line.starts_with("error: "));
    assert!(first.is_some(), "{arguments:?} has no `error: ` line: {stderr}");
}

const SYSTEM: &str = r#"
apiVersion: prophecy/v1
kind: System
name: app
entry: app
services:
  app:
    run: { command: ["sleep", "60"], ready: { within: 1s } }
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).expect("writes");
    };
    write("empty", "");
    write("foreign", "GIF89a, not a capture and not JSON");
    write("system.yaml", SYSTEM);
    write("unknown-field.yaml", &SYSTEM.replace("name: app", "name: app\nspeed: 3"));
    write("not-yaml.yaml", "a: [");
    write("circle.yaml", "extends: circle.yaml\n");
    write("orphan.yaml", "extends: nowhere.yaml\n");
    write("report.json", "{\"schema\": \"prophecy.report/99\"}");
    fs::create_dir(folder.path().join("hollow")).expect("creates");
    folder
}

#[test]
fn refuses_bad_captures() {
    let folder = folder();
    let path = folder.path();
    refuses(path, &["capture", "--pcap", "nowhere.pcap", "--out", "d"], 3, "nowhere.pcap");
    refuses(path, &["capture", "--pcap", "empty", "--out", "d"], 2, "empty");
    refuses(path, &["capture", "--pcap", "foreign", "--out", "d"], 2, "foreign");
    assert!(!path.join("d").join("manifest.json").exists(), "a failed capture left a dataset");
    refuses(
        path,
        &["capture", "--pcap", "empty", "--policy", "nowhere.yaml", "--out", "d"],
        3,
        "nowhere.yaml",
    );
}

#[test]
fn refuses_a_port_in_use() {
    let folder = folder();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("free");
    let address = listener.local_addr().expect("bound").to_string();
    let arguments = [
        "capture",
        "--listen",
        &address,
        "--upstream",
        "http://127.0.0.1:9",
        "--service",
        "app",
        "--key-file",
        "key",
        "--out",
        "d",
    ];
    refuses(folder.path(), &arguments, 3, &address);
}

#[test]
fn refuses_bad_datasets() {
    let folder = folder();
    let path = folder.path();
    for command in ["info", "verify"] {
        refuses(path, &["dataset", command, "nowhere"], 3, "nowhere");
        refuses(path, &["dataset", command, "hollow"], 3, "hollow");
        refuses(path, &["dataset", command, "foreign"], 3, "foreign");
    }
    fs::write(path.join("hollow").join("manifest.json"), "{\"schema\": 7").expect("writes");
    refuses(path, &["dataset", "info", "hollow"], 2, "hollow");
}

#[test]
fn refuses_bad_manifests() {
    let folder = folder();
    let path = folder.path();
    let report = |baseline: &str, code: i32, expected: &str| {
        let arguments = [
            "report",
            "--dataset",
            "hollow",
            "--baseline",
            baseline,
            "--candidate",
            "system.yaml",
            "--out",
            "r",
        ];
        refuses(path, &arguments, code, expected);
        assert!(!path.join("r").join("report.json").exists());
    };
    report("nowhere.yaml", 3, "nowhere.yaml");
    report("unknown-field.yaml", 2, "unknown field `speed`");
    report("not-yaml.yaml", 2, "not valid YAML");
    report("circle.yaml", 2, "circle.yaml");
    report("orphan.yaml", 3, "nowhere.yaml");
}

#[test]
fn refuses_bad_reports() {
    let folder = folder();
    let path = folder.path();
    refuses(path, &["gate", "nowhere"], 3, "nowhere");
    refuses(path, &["gate", "empty"], 2, "empty");
    refuses(path, &["gate", "hollow"], 3, "report.json");
    refuses(path, &["gate", "report.json"], 2, "prophecy.report/99");
}

#[test]
fn refuses_bad_models() {
    let folder = folder();
    let path = folder.path();
    refuses(path, &["simulate", "nowhere.json", "--rate", "10"], 3, "nowhere.json");
    refuses(path, &["simulate", "foreign", "--rate", "10"], 2, "foreign");
}

#[test]
fn says_usage_errors_with_exit_code_two() {
    let folder = folder();
    for arguments in [
        &["capture", "--out", "d"][..],
        &["gate", "report.json", "--max-risk", "120"],
        &["capture", "--listen", "127.0.0.1:0", "--out", "d"],
        &["frobnicate"],
    ] {
        let finished = run_in(folder.path(), arguments);
        assert_eq!(finished.code, 2, "{arguments:?}: {}", finished.stderr);
    }
}

#[test]
fn explains_itself() {
    let finished = run_in(&workspace(), &["--help"]);
    assert_eq!(finished.code, 0);
    for command in
        ["capture", "dataset", "replay", "fit", "simulate", "report", "gate", "doctor", "demo"]
    {
        assert!(finished.stdout.contains(command), "{command} is missing in {}", finished.stdout);
    }
    let doctor = run_in(&workspace(), &["doctor", "--format", "json"]);
    let checkup: serde_json::Value = serde_json::from_str(&doctor.stdout).expect("JSON");
    assert_eq!(checkup["schema"], "prophecy.doctor/1");
}
