//! The folder of a HAProxy: what it is started with, and its sockets.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use prophecy_datasets::write_whole;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::layout::Layout;

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The socket that HAProxy takes commands by.
pub(super) const COMMANDS: &str = "haproxy.sock";

/// The socket of lines that are sent again until somebody has taken them.
pub(super) const LOG: &str = "lines.sock";

/// Where lines go that are sent once, also by a HAProxy that is about to end; and what marks them as its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Lines {
    /// A port of the loopback address.
    pub(super) port: u16,
    pub(super) key: String,
}

/// The folder.
#[derive(Debug)]
pub(super) struct Place {
    home: PathBuf,
    pub(super) lines: Lines,
    folder: File,
}

// === impl Place ===

impl Place {
    /// Opens a folder that is there, and a port for lines: the same as before if that is free, since a process that
    /// runs knows no other.
    pub(super) fn open(home: &Path) -> io::Result<(Self, UdpSocket)> {
        let home = std::path::absolute(home)?;
        // Configurations hold the key of lines.
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
        let path = home.join("lines.json");
        let known = fs::read(&path).ok().and_then(|it| serde_json::from_slice::<Lines>(&it).ok());
        let again = known.as_ref().and_then(|it| UdpSocket::bind((LOCALHOST, it.port)).ok());
        let socket = again.map_or_else(|| UdpSocket::bind((LOCALHOST, 0)), Ok)?;
        let port = socket.local_addr()?.port();
        let key = known.map_or_else(fresh_key, |known| Ok(known.key))?;
        let lines = Lines { port, key };
        write_whole(&path, &serde_json::to_vec(&lines).expect("plain data"))?;
        Ok((Self { folder: File::open(&home)?, home, lines }, socket))
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

    /// Writes down what a process is started with.
    pub(super) fn prepare(
        &self,
        generation: u64,
        layout: &Layout,
        (config, map): (&str, &str),
    ) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(layout).expect("plain data");
        write_whole(&self.layout_path(generation), &text)?;
        write_whole(&self.home.join(map_name(generation)), map.as_bytes())?;
        write_whole(&self.config(generation), config.as_bytes())
    }

    /// Returns what a process was started with.
    pub(super) fn layout(&self, generation: u64) -> io::Result<Layout> {
        let text = fs::read(self.layout_path(generation))?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    }

    fn layout_path(&self, generation: u64) -> PathBuf {
        self.home.join(format!("haproxy-{generation}.json"))
    }

    /// Drops what no process was started with that still runs.
    pub(super) fn forget(&self, before: u64, alive: &[u64]) {
        for generation in before.saturating_sub(64)..before {
            if !alive.contains(&generation) {
                drop(fs::remove_file(self.config(generation)));
                drop(fs::remove_file(self.layout_path(generation)));
                drop(fs::remove_file(self.home.join(map_name(generation))));
            }
        }
    }

    /// Returns the newest generation that anything is left of.
    pub(super) fn newest(&self) -> u64 {
        let entries = fs::read_dir(&self.home).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let written = names.filter_map(|name| {
            name.strip_prefix("haproxy-")?.strip_suffix(".cfg")?.parse::<u64>().ok()
        });
        let running = Self::processes(&self.home).into_iter().map(|(_, generation)| generation);
        written.chain(running).max().unwrap_or(0)
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

fn fresh_key() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Returns the name of the map of a generation.
pub(super) fn map_name(generation: u64) -> String {
    format!("haproxy-{generation}.map")
}
