//! The path on software nobody here wrote: nginx, gunicorn, HAProxy, Node, PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};

use prophecy_core::Philox;
use prophecy_predictor::{Report, Verdict};

use crate::production::{capture, visitors};
use crate::prophecy::{machine, run, workspace};

/// Returns the folder of a system, or says why it cannot run here.
#[expect(clippy::print_stdout, reason = "a test says why it was skipped")]
fn system(name: &str, programs: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")];
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(sbin).collect();
    for program in programs {
        if !folders.iter().any(|folder| folder.join(program).is_file()) {
            println!("skipped: `{program}` is not installed");
            return None;
        }
    }
    Some(workspace().join("examples").join("third-party").join(name))
}

/// Reports on a candidate; where other work on the machine spoiled the replay and the report says so,
/// again, at most three times.
fn report(folder: &Path, dataset: &Path, candidate: &str, out: &Path) -> Report {
    let mut report = report_once(folder, dataset, candidate, &out.join("1"));
    for attempt in ["2", "3"] {
        let disturbed =
            |reason: &String| reason.contains("too noisy") || reason.contains("was late");
        if !report.reasons.iter().any(disturbed) {
            break;
        }
        report = report_once(folder, dataset, candidate, &out.join(attempt));
    }
    report
}

fn report_once(folder: &Path, dataset: &Path, candidate: &str, out: &Path) -> Report {
    let text = |path: &Path| path.display().to_string();
    let (dataset, out) = (text(dataset), text(&out.join(candidate)));
    let baseline = text(&folder.join("system.yaml"));
    let candidate = text(&folder.join(format!("{candidate}.yaml")));
    let finished = run(&[
        "report",
        "--dataset",
        &dataset,
        "--baseline",
        &baseline,
        "--candidate",
        &candidate,
        "--out",
        &out,
    ]);
    assert_eq!(finished.code, 0, "{finished:?}");
    let json = fs::read_to_string(Path::new(&out).join("report.json")).expect("written");
    Report::from_json(&json).expect("a report")
}

fn forecasts(folder: &Path, harmful: &str, culprit: &str, path: fn(u64, &mut Philox) -> String) {
    let _machine = machine();
    let out = tempfile::tempdir().expect("a temporary folder");
    let dataset = out.path().join("production");
    capture(&folder.join("system.yaml"), &dataset, visitors(390, 24.0, 1, path));
    let harmless = report(folder, &dataset, "refactor", out.path());
    assert_ne!(harmless.verdict, Verdict::NoGo, "{:?}", harmless.reasons);
    let harmful = report(folder, &dataset, harmful, out.path());
    assert_eq!(harmful.verdict, Verdict::NoGo, "{:?}", harmful.reasons);
    let worst = harmful.claims.first().expect("there are claims");
    assert!(worst.route.contains(culprit), "{worst:?}");
}

#[test]
fn nginx_before_gunicorn() {
    let Some(folder) = system("nginx-gunicorn", &["nginx"]) else { return };
    if std::env::var_os("PROPHECY_PYTHON").is_none() {
        println!("skipped: PROPHECY_PYTHON names no Python with gunicorn");
        return;
    }
    forecasts(&folder, "slow-search", "/search", |nth, choices| match nth % 3 {
        0 => "/".to_owned(),
        1 => format!("/books/{}", 1 + choices.below(2_000)),
        _ => format!("/search?q={}", ["river", "night", "garden", "winter"][choices.below(4)]),
    });
}

#[test]
fn haproxy_before_node_over_postgres() {
    let Some(folder) = system("haproxy-node-postgres", &["haproxy", "node"]) else { return };
    if !Path::new("/usr/lib/postgresql").is_dir() {
        println!("skipped: PostgreSQL is not installed");
        return;
    }
    forecasts(&folder, "n-plus-one", "/authors", |nth, choices| match nth % 2 {
        0 => format!("/authors/{}", 1 + choices.below(500)),
        _ => format!("/books/{}", 1 + choices.below(10_000)),
    });
}
