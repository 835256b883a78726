//! The folder of a HAProxy: what it is started with, and its sockets.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::layout::Layout;

/// The socket that HAProxy takes commands by.
pub(super) const COMMANDS: &str = "haproxy.sock";

/// The socket of lines that are sent again until somebody has taken them.
pub(super) const LOG: &str = "lines.sock";

/// The socket of lines that are sent once; also by a HAProxy that is about to end.
pub(super) const LINES: &str = "line.sock";

/// What runs, for whoever comes after a crash.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Running {
    pub(super) generation: u64,
    pub(super) layout: Layout,
}

/// The folder.
#[derive(Debug)]
pub(super) struct Place {
    home: PathBuf,
    folder: File,
}

// === impl Place ===

impl Place {
    /// Opens a folder that is there.
    pub(super) fn open(home: &Path) -> io::Result<Self> {
        let home = std::path::absolute(home)?;
        Ok(Self { folder: File::open(&home)?, home })
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Returns the path of a socket, short enough whatever the folder's name.
    pub(super) fn socket(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.folder.as_raw_fd()))
    }

    pub(super) fn config(&self, generation: u64) -> PathBuf {
        self.home.join(format!("haproxy-{generation}.cfg"))
    }

    /// Says what runs.
    pub(super) fn running(&self) -> Running {
        let text = fs::read(self.home.join("haproxy.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Writes down what runs, and drops what no process was started with any more.
    pub(super) fn keep(&self, running: &Running, alive: &[u64]) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(running).expect("plain data");
        prophecy_datasets::write_whole(&self.home.join("haproxy.json"), &text)?;
        for generation in running.generation.saturating_sub(64)..running.generation {
            if !alive.contains(&generation) {
                drop(fs::remove_file(self.config(generation)));
                drop(fs::remove_file(self.home.join(map_name(generation))));
            }
        }
        Ok(())
    }

    /// Returns the processes that were started in a folder, with their generations.
    pub(super) fn processes(home: &Path) -> Vec<(Pid, u64)> {
        let prefix = format!("{}/haproxy-", home.display());
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.filter_map(|it| it.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let found = pids.filter_map(|pid| {
            let text = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let mut words = text.split('\0').skip_while(|word| *word != "-f").skip(1);
            let config = words.next()?.strip_prefix(&prefix)?;
            let generation = config.strip_suffix(".cfg")?.parse().ok()?;
            Some((Pid::from_raw(pid)?, generation))
        });
        found.collect()
    }
}

/// Returns the name of the map of a generation.
pub(super) fn map_name(generation: u64) -> String {
    format!("haproxy-{generation}.map")
}
