//! Campaigns as their users run them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use prophecy_datasets::TrialRecords;

/// Trials measure time, so only one campaign runs at once.
static MACHINE: Mutex<()> = Mutex::new(());

fn machine() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn trials(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trials"));
    command.arg("run").args(arguments).stdin(Stdio::null());
    command.arg("--out").arg(folder.join("trials"));
    command.arg("--results").arg(folder.join("records"));
    command.current_dir(workspace());
    command
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(output: &Output) -> String {
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}", words(&output.stdout), words(&output.stderr))
}

/// Returns whether a program of a kind runs whose command line mentions `mark`.
fn runs(mark: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("Linux");
    processes.flatten().any(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark)
    })
}

/// Returns the results of a campaign with the times at which they were written.
fn results(folder: &Path) -> Vec<(PathBuf, SystemTime)> {
    let mut found = Vec::new();
    for campaign in fs::read_dir(folder.join("trials")).into_iter().flatten().flatten() {
        for trial in fs::read_dir(campaign.path()).into_iter().flatten().flatten() {
            let path = trial.path().join("result.json");
            if let Ok(metadata) = fs::metadata(&path) {
                found.push((path, metadata.modified().expect("times are kept")));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn tries_a_catalogue_with_a_server_of_somebody_else() {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    if !folders.iter().any(|folder| Path::new(folder).join("nginx").is_file()) {
        println!("skipped: `nginx` is not installed");
        return;
    }
    let _machine = machine();
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["--catalogue", "examples/catalogue", "--window", "7", "--deployed", "8"];
    let output = trials(folder.path(), &arguments).output().expect("it starts");
    assert!(output.status.success(), "{}", text(&output));
    let records = TrialRecords::read(&folder.path().join("records")).expect("recorded");
    let [same, limited] = &records.deployments[..] else { panic!("{}", text(&output)) };
    assert_eq!(limited.verdict, "no_go", "{}", text(&output));
    assert_ne!(same.verdict, "no_go", "{}", text(&output));
    assert!(limited.predicted_at < limited.deployed_at);
    let refused = records.claims.iter().any(|claim| {
        claim.trial == limited.trial
            && claim.metric == "error-rate"
            && claim.measured > claim.threshold
            && claim.threshold.is_some()
    });
    assert!(refused, "{records:?}");
    assert!(text(&output).contains("deployments"), "{}", text(&output));
    let unchanged = workspace().join("examples/catalogue/rate-limit");
    assert_eq!(fs::read_dir(unchanged).expect("it is there").count(), 6, "an entry was changed");
}

#[test]
fn goes_on_after_an_interruption_and_leaves_nothing_running() {
    let _machine = machine();
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["--count", "2", "--seed", "3", "--window", "6", "--deployed", "6"];
    let mut running = trials(folder.path(), &arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let first = wait_for_result(folder.path(), &mut running);
    // Into the second trial's production.
    std::thread::sleep(Duration::from_secs(4));
    let pid = running.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    let output = running.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(text(&output).contains("after 1 of 2 trials"), "{}", text(&output));
    let mark = folder.path().display().to_string();
    assert!(!runs(&mark), "something still runs for {mark}");
    let output = trials(folder.path(), &arguments).output().expect("it starts");
    assert!(output.status.success(), "{}", text(&output));
    let all = results(folder.path());
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[0], first, "the first trial was repeated");
    let records = TrialRecords::read(&folder.path().join("records")).expect("recorded");
    assert_eq!(records.deployments.len(), 2);
    assert!(records.deployments.iter().all(|deployment| deployment.verdict != "failed"));
    assert!(!text(&output).contains("1/2"), "a finished trial ran again: {}", text(&output));
}

fn wait_for_result(folder: &Path, running: &mut Child) -> (PathBuf, SystemTime) {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        if let Some(result) = results(folder).into_iter().next() {
            return result;
        }
        assert!(running.try_wait().expect("ours").is_none(), "it ended by itself");
        assert!(Instant::now() < deadline, "no trial came to an end");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn says_what_is_wrong_with_a_catalogue() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().display().to_string();
    let output = trials(folder.path(), &["--catalogue", &empty]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("holds no entry with `baseline.yaml`"), "{}", text(&output));
    let output = trials(folder.path(), &["--catalogue", "/nowhere"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
}
