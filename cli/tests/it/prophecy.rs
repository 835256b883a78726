//! Runs the command and the programs around it.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a finished command left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A child that does not outlive the test.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

/// Replays measure time, so only one runs at once.
static MACHINE: Mutex<()> = Mutex::new(());

/// Returns the command with these arguments.
pub(crate) fn command<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prophecy"));
    command.args(arguments).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs the command to its end.
pub(crate) fn run<S: AsRef<OsStr>>(arguments: &[S]) -> Finished {
    finished(&command(arguments).output().expect("the command starts"))
}

/// Runs the command in a folder.
pub(crate) fn run_in<S: AsRef<OsStr>>(folder: &Path, arguments: &[S]) -> Finished {
    finished(&command(arguments).current_dir(folder).output().expect("the command starts"))
}

pub(crate) fn finished(output: &Output) -> Finished {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    Finished { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Waits for the machine, for a test that measures time.
pub(crate) fn machine() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate is in the workspace")
        .to_owned()
}

/// Returns a port that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    listener.local_addr().expect("bound")
}

/// Waits until `address` accepts connections, for at most ten seconds.
pub(crate) fn wait_for(address: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "{address} never accepted a connection");
        std::thread::yield_now();
    }
}

/// Sends one GET and returns the status.
pub(crate) fn get(address: SocketAddr, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    status.ok_or_else(|| std::io::Error::other("no status line"))
}

impl Running {
    /// Waits for the end, for at most `limit`.
    pub(crate) fn wait(mut self, limit: Duration) -> Finished {
        let deadline = Instant::now() + limit;
        while self.0.try_wait().expect("the child is ours").is_none() {
            assert!(Instant::now() < deadline, "still running after {limit:?}");
            // What is measured meanwhile needs the processor.
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut text = [String::new(), String::new()];
        if let Some(stdout) = &mut self.0.stdout {
            stdout.read_to_string(&mut text[0]).expect("UTF-8");
        }
        if let Some(stderr) = &mut self.0.stderr {
            stderr.read_to_string(&mut text[1]).expect("UTF-8");
        }
        let code = self.0.wait().expect("it ended").code().unwrap_or(-1);
        let [stdout, stderr] = text;
        Finished { code, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
