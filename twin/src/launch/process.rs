//! One service as a process group of its own.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::StartArmError;
use super::placeholder::Filled;
use super::reaper::Reaper;

/// How long processes may take to end when asked kindly.
const GRACE: Duration = Duration::from_secs(2);

/// Lines of a service's output that an error carries.
const LOG_LINES: usize = 20;

/// A running service.
#[derive(Debug)]
pub(super) struct Process {
    service: String,
    child: Child,
    group: Pid,
    log: PathBuf,
}

// === impl Process ===

impl Process {
    pub(super) fn start(
        service: &str,
        filled: Filled,
        folder: &Path,
        log: PathBuf,
        reaper: &mut Reaper,
    ) -> Result<Self, StartArmError> {
        let Filled { command, environment, cwd } = filled;
        let prepare = |source| StartArmError::Prepare { path: log.clone(), source };
        let output = File::create(&log).map_err(prepare)?;
        let errors = output.try_clone().map_err(prepare)?;
        let (program, arguments) =
            command.split_first().expect("a manifest's command is not empty");
        let spawned = Command::new(program)
            .args(arguments)
            .envs(environment)
            .env("PATH", path_with_ours())
            .env(Reaper::MARK, reaper.mark())
            .current_dir(folder.join(cwd))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn();
        let child = spawned.map_err(|source| StartArmError::Spawn {
            service: service.to_owned(),
            program: program.clone(),
            source,
        })?;
        let group = Pid::from_child(&child);
        reaper.watch(group);
        Ok(Self { service: service.to_owned(), child, group, log })
    }

    pub(super) fn service(&self) -> &str {
        &self.service
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns how it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(describe)
    }

    /// Returns the last lines that it wrote, ready to be put behind a message.
    pub(super) fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        if lines.is_empty() {
            return "; it wrote nothing".to_owned();
        }
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        format!("; its last lines were:\n    {}", last.join("\n    "))
    }

    fn signal(&self, signal: Signal) {
        // The group may be gone already, which is what we want.
        let _ = kill_process_group(self.group, signal);
    }

    fn is_gone(&mut self) -> bool {
        let ended = !matches!(self.child.try_wait(), Ok(None));
        ended && rustix::process::test_kill_process_group(self.group).is_err()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        drop(self.child.wait());
    }
}

/// Asks every group to end, waits, and ends those that did not.
pub(super) async fn end_all(mut processes: Vec<Process>) {
    // Callers first: a service whose callee is gone only complains.
    processes.iter().rev().for_each(|process| process.signal(Signal::TERM));
    let deadline = tokio::time::Instant::now() + GRACE;
    while tokio::time::Instant::now() < deadline {
        if processes.iter_mut().all(Process::is_gone) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(processes);
}

/// Returns a port that is free, outside of the range that the system gives to clients.
///
/// Another connection could otherwise take it between now and the start of the service.
pub fn free_port() -> Option<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 100) as u16 * 120;
    (0..12_000).find_map(|_| {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (start.wrapping_add(offset)) % 12_000;
        TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).ok().map(|_| port)
    })
}

/// Returns the search path with the folder of this program in front, so that its siblings are found.
pub fn path_with_ours() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let ours = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    // Tests run from a folder below the one that holds the programs.
    let above =
        ours.as_ref().filter(|folder| folder.ends_with("deps")).and_then(|folder| folder.parent());
    let folders =
        above.map(Path::to_owned).into_iter().chain(ours.clone()).chain(env::split_paths(&path));
    env::join_paths(folders).unwrap_or(path)
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".to_owned(),
    }
}
