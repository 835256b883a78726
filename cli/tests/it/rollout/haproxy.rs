//! The same rollouts behind a real HAProxy.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Load, Site, no_process_of, processes};
use crate::prophecy::machine;

const ROUTER: [&str; 2] = ["--router", "haproxy"];

/// What the command line of each process has in it.
const HAPROXY: &str = "haproxy\0-D";
const COMPANION: &str = "router\0--home";
const EXECUTOR: &str = "rollout\0resume";

fn kill(site: &Site, part: &str) {
    let found = processes(&site.path("env"), part);
    assert!(!found.is_empty(), "there is no {part:?}");
    for pid in &found {
        kill_process(*pid, Signal::KILL).expect("ours");
    }
    // What it held is free only when it is gone.
    let until = Instant::now() + Duration::from_secs(10);
    while processes(&site.path("env"), part).iter().any(|pid| found.contains(pid)) {
        assert!(Instant::now() < until, "{part:?} does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn until_there_is(site: &Site, part: &str) {
    let until = Instant::now() + Duration::from_secs(10);
    while processes(&site.path("env"), part).is_empty() {
        assert!(Instant::now() < until, "no {part:?} comes back");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the processor time that HAProxy has had [1/100 s].
fn processor_ticks(site: &Site) -> u64 {
    let of = |pid: Pid| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        let stat = stat.unwrap_or_default();
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        fields.skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum::<u64>()
    };
    processes(&site.path("env"), HAPROXY).into_iter().map(of).sum()
}

/// Asks for something that nobody but the service should know of.
fn ask_in_confidence(site: &Site) {
    let mut stream = TcpStream::connect(site.listen).expect("HAProxy listens");
    let request = "GET /orders/17-hidden?token=hidden HTTP/1.1\r\nhost: shop\r\nx-token: hidden\r\n\
                   cookie: session=hidden\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    stream.read_to_end(&mut Vec::new()).expect("answered");
}

fn mentions(folder: &Path, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable")) {
        let kind = entry.file_type().expect("known");
        if kind.is_dir() {
            found.extend(mentions(&entry.path(), word));
        } else if kind.is_file() {
            let text = fs::read(entry.path()).expect("readable");
            if String::from_utf8_lossy(&text).contains(word) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

#[test]
fn promotes_what_is_harmless_and_stops_what_is_not_behind_haproxy() {
    let _machine = machine();
    let site = Site::behind(&ROUTER);
    assert!(!processes(&site.path("env"), HAPROXY).is_empty());
    let load = Load::start(site.listen);
    let good = site.rollout("good", &["--steps", "20%,50%"]);
    assert_eq!(good.code, 0, "{}{}", good.stdout, good.stderr);
    assert!(!good.stdout.contains("does not know"), "{}", good.stdout);
    assert!(site.serving().contains("second"), "{}", site.serving());
    ask_in_confidence(&site);

    let failing = site.rollout("failing", &["--steps", "20%,50%"]);
    assert_eq!(failing.code, 6, "{}{}", failing.stdout, failing.stderr);
    assert!(failing.stdout.contains("errors: "), "{}", failing.stdout);
    assert!(site.serving().contains("second"), "{}", site.serving());
    let (asked, lost) = load.end();
    assert!(asked > 2_000, "{asked}");
    assert!(lost.is_empty(), "{} of {asked}: {:?}", lost.len(), &lost[..lost.len().min(5)]);

    let shadow = site.rollout("better", &["--strategy", "shadow"]);
    assert_eq!(shadow.code, 2, "{}", shadow.stderr);
    assert!(shadow.stderr.contains("HAProxy cannot copy requests"), "{}", shadow.stderr);
    let other = site.rollout("better", &["--router", "own"]);
    assert_eq!(other.code, 2, "{}", other.stderr);
    assert!(other.stderr.contains("the router of this environment is `haproxy`"));

    let found = mentions(&site.path("env"), "hidden");
    assert!(found.is_empty(), "{found:?}");
    let down = site.say(&["down"]);
    assert_eq!(down.code, 0, "{}", down.stderr);
    assert!(no_process_of(site.folder.path()), "something runs on");
}

#[test]
fn gives_up_although_haproxy_its_companion_and_the_executor_were_killed() {
    let _machine = machine();
    let site = Site::behind(&ROUTER);
    let cases: [&[&str]; 4] =
        [&[HAPROXY], &[COMPANION], &[HAPROXY, COMPANION], &[EXECUTOR, HAPROXY, COMPANION]];
    for parts in cases {
        let load = Load::start(site.listen);
        let started = site.rollout("good", &["--steps", "50%", "--observe", "60s", "--detach"]);
        assert_eq!(started.code, 0, "{}", started.stderr);
        site.wait_for("observing", Duration::from_secs(30));
        for part in parts {
            kill(&site, part);
        }
        if !parts.contains(&EXECUTOR) {
            // Who observes brings back who counts, and who counts brings back HAProxy.
            until_there_is(&site, HAPROXY);
            until_there_is(&site, COMPANION);
        }
        let begun = Instant::now();
        let aborted = site.say(&["abort"]);
        let took = begun.elapsed();
        let said = format!("{parts:?} after {took:?}: {}{}", aborted.stdout, aborted.stderr);
        assert!(took < Duration::from_secs(10), "{said}{}", site.journal());
        assert_eq!(aborted.code, 6, "{parts:?}: {}{}", aborted.stdout, aborted.stderr);
        let journal = site.journal();
        assert!(journal.contains("\"state\":\"rolled_back\""), "{parts:?}: {journal}");
        assert!(site.serving().contains("first"), "{parts:?}: {}", site.serving());
        let (asked, lost) = load.end();
        if parts == [COMPANION] {
            assert!(lost.is_empty(), "HAProxy serves alone: {} of {asked}", lost.len());
        }
    }
    // The companion is gone for good: HAProxy serves on, does not go round in circles, and is ended all the same.
    kill(&site, COMPANION);
    let before = processor_ticks(&site);
    std::thread::sleep(Duration::from_secs(2));
    let used = processor_ticks(&site) - before;
    assert!(
        used < 60,
        "HAProxy took {used} of 200 hundredths of a second, and nobody asked for anything"
    );
    assert_eq!(site.say(&["down"]).code, 0);
    assert!(no_process_of(site.folder.path()), "something runs on");
}

#[test]
fn passes_nothing_that_nobody_counted() {
    let _machine = machine();
    let site = Site::behind(&ROUTER);
    let load = Load::start(site.listen);
    let words = ["--steps", "50%", "--observe", "5s", "--detach"];
    let started = site.rollout("good", &words);
    assert_eq!(started.code, 0, "{}", started.stderr);
    site.wait_for("observing", Duration::from_secs(30));
    kill(&site, COMPANION);
    site.wait_for("rolled_back", Duration::from_secs(40));
    assert!(site.journal().contains("does not know what became of"), "{}", site.journal());
    assert!(site.serving().contains("first"), "{}", site.serving());
    drop(load.end());
}
