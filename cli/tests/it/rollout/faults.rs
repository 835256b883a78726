//! Faults of what rollouts stand on: a disk that is full, a clock that jumps.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Load, Site};
use crate::prophecy::{Running, command, finished, machine};

/// What a command is preloaded with, so that its clock can be set.
const FAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// A site whose environment is on a small disk of its own.
#[derive(Debug)]
struct SmallSite {
    // Goes first, since what runs in it has to end before the disk goes.
    site: Site,
    disk: Disk,
}

#[derive(Debug)]
struct Disk(tempfile::TempDir);

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(self.0.path()).status());
    }
}

impl SmallSite {
    /// Starts the first build, where a disk can be mounted.
    #[expect(clippy::print_stdout, reason = "a test says why it was skipped")]
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            println!("skipped: only root can mount a small disk");
            return None;
        }
        let disk = Disk(folder);
        let site = Site::written();
        symlink(disk.0.path(), site.path("env")).expect("a link");
        let listen = site.listen.to_string();
        let first = site.rollout("system", &["--listen", &listen, "--soak", "0s"]);
        assert_eq!(first.code, 0, "{}{}", first.stdout, first.stderr);
        Some(Self { site, disk })
    }

    fn filler(&self) -> PathBuf {
        self.disk.0.path().join("filler")
    }

    /// Leaves not a byte on the disk.
    fn fill(&self) {
        let mut file = File::create(self.filler()).expect("room for a name");
        for size in [1 << 16, 1 << 10, 1] {
            while file.write(&vec![b'.'; size]).is_ok_and(|count| count > 0) {}
        }
    }

    /// Begins a rollout in a process of its own.
    fn begin(&self, build: &str, more: &[&str]) -> Running {
        let mut child = command(&self.site.arguments(build, more));
        let child = child.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(child.spawn().expect("it starts"))
    }

    /// Gives the disk room again, and ends what was not on record.
    fn recover(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
        let aborted = self.site.say(&["abort"]);
        assert!([2, 6].contains(&aborted.code), "{}{}", aborted.stdout, aborted.stderr);
        assert!(self.site.journal().contains("\"rolled_back\""), "{}", self.site.journal());
        assert!(self.site.serving().contains("first"), "{}", self.site.serving());
        let again = self.site.at_once("better", "", &["--soak", "0s"]);
        assert_eq!(again.code, 0, "{}{}", again.stdout, again.stderr);
        assert!(self.site.serving().contains("third"), "{}", self.site.serving());
    }
}

fn wait_until(limit: Duration, what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < until, "never {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn goes_back_when_the_disk_is_full() {
    let _machine = machine();
    let Some(small) = SmallSite::start() else { return };
    let load = Load::start(small.site.listen);
    let rollout = small.begin("good", &["--steps", "20%,50%"]);
    small.site.wait_for("observing", Duration::from_secs(30));
    small.fill();
    let began = Instant::now();
    let ended = rollout.wait(Duration::from_mins(1));
    assert_eq!(ended.code, 6, "{}{}", ended.stdout, ended.stderr);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(small.site.serving().contains("first"), "{}", small.site.serving());
    small.recover();
    let (asked, lost) = load.end();
    assert!(lost.is_empty(), "{} of {asked}: {:?}", lost.len(), &lost[..lost.len().min(5)]);
}

#[test]
fn comes_to_the_end_of_an_abort_when_the_disk_fills_meanwhile() {
    let _machine = machine();
    let Some(small) = SmallSite::start() else { return };
    // Requests in flight on the candidate keep the abort waiting.
    let slow = "extends: system.yaml\nservices: { front: { run: { env: { WAIT: 3s } } } }\n";
    fs::write(small.site.path("stuck.yaml"), slow).expect("written");
    let load = Load::start(small.site.listen);
    let rollout = small.begin("stuck", &["--steps", "50%", "--observe", "60s"]);
    small.site.wait_for("rolling_back", Duration::from_mins(1));
    small.fill();
    let ended = rollout.wait(Duration::from_mins(1));
    assert_eq!(ended.code, 6, "{}{}", ended.stdout, ended.stderr);
    assert!(small.site.serving().contains("first"), "{}", small.site.serving());
    small.recover();
    let (asked, lost) = load.end();
    assert!(lost.is_empty(), "{} of {asked}: {:?}", lost.len(), &lost[..lost.len().min(5)]);
}

/// A clock that the test sets, for whatever is started with it.
#[derive(Debug)]
struct Clock {
    library: &'static str,
    offset: PathBuf,
}

impl Clock {
    #[expect(clippy::print_stdout, reason = "a test says why it was skipped")]
    fn start(folder: &Path) -> Option<Self> {
        let Some(library) = FAKETIME.into_iter().find(|path| Path::new(path).exists()) else {
            println!("skipped: `faketime` is not installed");
            return None;
        };
        let clock = Self { library, offset: folder.join("offset") };
        clock.set("+0");
        Some(clock)
    }

    /// Sets it to so many seconds from now.
    fn set(&self, offset: &str) {
        let next = self.offset.with_extension("next");
        fs::write(&next, format!("{offset}\n")).expect("written");
        fs::rename(next, &self.offset).expect("replaced");
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command = command(arguments);
        command
            .env("LD_PRELOAD", self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.offset)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command
    }
}

#[test]
fn a_clock_that_jumps_neither_passes_nor_hides_anything() {
    let _machine = machine();
    let site = Site::written();
    let Some(clock) = Clock::start(site.folder.path()) else { return };
    let listen = site.listen.to_string();
    let first = site.arguments("system", &["--listen", &listen, "--soak", "0s"]);
    let first = finished(&clock.command(&first).output().expect("it starts"));
    assert_eq!(first.code, 0, "{}{}", first.stdout, first.stderr);
    let load = Load::start(site.listen);
    for (build, offset, code) in [("failing", "-3600", 6), ("good", "+3600", 0)] {
        let before = fs::read_dir(site.path("env/rollouts")).expect("readable").count();
        let mut child = clock.command(&site.arguments(build, &["--steps", "50%"]));
        let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let rollout = Running(child.expect("it starts"));
        wait_until(Duration::from_secs(20), "begun", || {
            fs::read_dir(site.path("env/rollouts")).expect("readable").count() > before
        });
        site.wait_for("observing", Duration::from_secs(30));
        clock.set(offset);
        let began = Instant::now();
        let ended = rollout.wait(Duration::from_mins(1));
        assert_eq!(ended.code, code, "{offset}: {}{}", ended.stdout, ended.stderr);
        assert!(began.elapsed() < Duration::from_secs(40), "{offset}: {:?}", began.elapsed());
        if code == 6 {
            assert!(ended.stdout.contains("errors: "), "{}", ended.stdout);
        }
    }
    assert!(site.serving().contains("second"), "{}", site.serving());
    let (asked, lost) = load.end();
    assert!(lost.is_empty(), "{} of {asked}: {:?}", lost.len(), &lost[..lost.len().min(5)]);
}
