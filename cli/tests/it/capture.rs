//! Capturing: a proxy under load, ended kindly and unkindly; packets from a file.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use prophecy_core::Seed;
use prophecy_datasets::Dataset;

use crate::prophecy::{Running, command, free_address, get, run, wait_for};

/// A server that answers every GET with two bytes, on a thread for each connection.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(&stream));
        }
    });
    address
}

fn answer(stream: &TcpStream) {
    let mut lines = BufReader::new(stream).lines();
    let mut last = false;
    // A blank line ends a head; the requests here have no bodies.
    while let Some(Ok(line)) = lines.next() {
        last |= line.eq_ignore_ascii_case("connection: close");
        if line.is_empty() {
            let written = (&*stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            if written.is_err() || last {
                return;
            }
        }
    }
}

fn capture(listen: SocketAddr, upstream: SocketAddr, folder: &Path, more: &[&str]) -> Running {
    let dataset = folder.join("dataset");
    let key = folder.join("key");
    let mut command = command(&["capture", "--service", "app"]);
    command.arg("--listen").arg(listen.to_string());
    command.arg("--upstream").arg(format!("http://{upstream}"));
    command.arg("--out").arg(dataset).arg("--key-file").arg(key).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Running(command.spawn().expect("the command starts"))
}

/// Sends requests on one connection until told to stop; returns how many were answered.
fn load(address: SocketAddr, stop: &AtomicBool, answered: &AtomicU64) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    let mut answer = [0; 4_096];
    while !stop.load(Ordering::SeqCst) {
        let sent = stream.write_all(b"GET /users/4711?page=2 HTTP/1.1\r\nhost: app\r\n\r\n");
        if sent.is_err() || !matches!(stream.read(&mut answer), Ok(1..)) {
            return;
        }
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_capture_killed_at_ten_random_moments_is_whole_and_says_what_was_lost() {
    let upstream = upstream();
    let mut moments = Seed(20_261_120).stream(0, 0, "kill");
    for nth in 0..10 {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listen = free_address();
        let mut running = capture(listen, upstream, folder.path(), &[]);
        wait_for(listen);
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = || {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            thread::spawn(move || load(listen, &stop, &answered))
        };
        let clients = [client(), client(), client(), client()];
        // The moment is counted in answered requests, so that it does not depend on the machine.
        let moment = 1 + moments.below(4_000) as u64;
        let deadline = Instant::now() + Duration::from_secs(30);
        while answered.load(Ordering::SeqCst) < moment && Instant::now() < deadline {
            thread::yield_now();
        }
        running.0.kill().expect("it runs");
        running.0.wait().expect("it ends");
        stop.store(true, Ordering::SeqCst);
        clients.into_iter().for_each(|client| client.join().expect("clients do not panic"));

        let dataset = folder.path().join("dataset");
        let verified = run(&["dataset".as_ref(), "verify".as_ref(), dataset.as_os_str()]);
        assert_eq!(verified.code, 0, "kill {nth} after {moment}: {verified:?}");
        assert!(verified.stdout.contains("lost"), "kill {nth}: {}", verified.stdout);
        let whole =
            Dataset::open(&dataset).expect("opens").exchanges().expect("reads").len() as u64;
        let answered = answered.load(Ordering::SeqCst);
        // Four clients may each have had a request in the proxy that was not answered yet.
        assert!(whole <= answered + 4, "{whole} recorded of {answered}");
    }
}

#[test]
fn an_interrupted_capture_is_complete_and_keeps_nothing_personal() {
    let upstream = upstream();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listen = free_address();
    let running = capture(listen, upstream, folder.path(), &[]);
    wait_for(listen);
    for _ in 0..25 {
        assert_eq!(get(listen, "/users/4711?mail=ann%40example.com").expect("answered"), 200);
    }
    let pid = rustix::process::Pid::from_child(&running.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let finished = running.wait(Duration::from_secs(20));
    assert_eq!(finished.code, 0, "{finished:?}");

    let dataset = Dataset::open(&folder.path().join("dataset")).expect("opens");
    let exchanges = dataset.exchanges().expect("reads");
    assert_eq!(exchanges.len(), 25);
    assert_eq!(dataset.manifest().ledger.imbalance(), None);
    for exchange in &exchanges {
        let text = format!("{exchange:?}");
        assert!(!text.contains("4711") && !text.contains("ann"), "{text}");
        assert_eq!(exchange.route, "GET /users/{id}");
    }
}

#[test]
fn a_capture_ends_by_itself_after_its_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let running = capture(free_address(), upstream(), folder.path(), &["--for", "200ms"]);
    let finished = running.wait(Duration::from_secs(20));
    assert_eq!(finished.code, 0, "{finished:?}");
    let dataset = folder.path().join("dataset");
    let verified = run(&["dataset".as_ref(), "verify".as_ref(), dataset.as_os_str()]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

/// Runs the capture in a mount namespace of its own whose dataset lives on a disk of 300 KiB.
#[test]
fn a_full_disk_ends_the_recording_but_not_the_service() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).expect("creates");
    let listen = free_address();
    let script = format!(
        "mount -t tmpfs -o size=300k tmpfs {disk} && {program} capture --service app --policy synthetic --for 12s \
         --listen {listen} --upstream http://{upstream} --out {disk}/d --key-file {folder}/key; \
         code=$?; {program} dataset verify {disk}/d; echo verified $?; exit $code",
        disk = disk.display(),
        folder = folder.path().display(),
        program = env!("CARGO_BIN_EXE_prophecy"),
        upstream = upstream(),
    );
    let spawned = std::process::Command::new("unshare")
        .args(["--map-root-user", "--mount", "--kill-child", "sh", "-c", &script])
        .env("NO_COLOR", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(child) = spawned else {
        println!("skipped: no `unshare` to mount a small disk with");
        return;
    };
    let mut running = Running(child);
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(listen).is_err() {
        if running.0.try_wait().expect("the child is ours").is_some() {
            println!("skipped: this machine allows no mount namespace");
            return;
        }
        assert!(Instant::now() < deadline, "{listen} never accepted a connection");
        thread::yield_now();
    }
    // Far more than the disk can hold; each must be answered, also after it is full.
    let path = format!("/long/{}", "x".repeat(2_000));
    for nth in 0..300 {
        assert_eq!(get(listen, &path).expect("the proxy answers"), 200, "request {nth}");
    }
    let finished = running.wait(Duration::from_secs(40));
    assert!(finished.stderr.contains("error: "), "{finished:?}");
    assert!(finished.stdout.contains("verified 0"), "{finished:?}");
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
    assert_eq!(finished.code, 3, "{finished:?}");
}
