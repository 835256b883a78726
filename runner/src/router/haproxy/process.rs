//! One HAProxy process: started, told, asked and ended.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::commands::{Commands, Kind, Row};
use super::config::config;
use super::layout::{Layout, decode, pairs};
use super::place::{COMMANDS, Place, map_name};
use super::program;
use crate::router::routing::Routing;

/// How long a process may take to say that it is there.
const START: Duration = Duration::from_secs(3);

/// The process before another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) pid: Pid,
    /// Whether it can be asked for its listeners.
    pub(super) hands_on: bool,
}

/// A process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) generation: u64,
    pub(super) pid: Pid,
    pub(super) layout: Layout,
    commands: Commands,
    /// Servers that are told to rest, since the routing does not name them any more.
    resting: BTreeSet<String>,
    pub(super) rows: Vec<Row>,
    /// Answers in a row that did not come in time.
    pub(super) silent: u32,
    /// Since when it has had nothing, for one that is about to end.
    pub(super) idle_since: Option<Instant>,
    /// Since when it does not answer any more.
    pub(super) gone_since: Option<Instant>,
}

// === impl Process ===

impl Process {
    /// Starts a process that outlives this one. It takes the listeners of the process before, which goes on until
    /// nothing is in flight.
    pub(super) async fn start(
        place: &Place,
        generation: u64,
        (layout, routing): (&Layout, &Routing),
        threads: usize,
        before: Option<Before>,
    ) -> Result<Self, String> {
        let words = |error: io::Error| error.to_string();
        let path = place.config(generation);
        let text = config(layout, generation, &place.lines, threads);
        place.prepare(generation, layout, (&text, &text_of(&pairs(routing)))).map_err(words)?;
        let mut command = Command::new(program().ok_or("`haproxy` is not installed")?);
        command.args(["-D", "-f"]).arg(&path).current_dir(place.home()).stdin(Stdio::null());
        if let Some(before) = before {
            if before.hands_on && place.socket(COMMANDS).exists() {
                command.args(["-x", COMMANDS]);
            }
            command.args(["-sf", &before.pid.as_raw_nonzero().to_string()]);
        }
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.map_err(io::Error::other).and_then(|it| it).map_err(words)?;
        if !output.status.success() {
            return Err(reason(&String::from_utf8_lossy(&output.stderr)));
        }
        let until = Instant::now() + START;
        loop {
            match Self::adopt(place).await {
                Ok(process) if process.generation == generation => return Ok(process),
                Ok(_) if Instant::now() >= until => {
                    return Err("another HAProxy answers".to_owned());
                }
                Err(error) if Instant::now() >= until => {
                    return Err(format!("HAProxy does not answer: {error}"));
                }
                _ => sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Takes over the process that has the listeners.
    pub(super) async fn adopt(place: &Place) -> io::Result<Self> {
        let mut commands = Commands::connect(&place.socket(COMMANDS)).await?;
        let (pid, generation) = commands.identity().await?;
        let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("it has no number"))?;
        Ok(Self {
            generation,
            pid,
            layout: place.layout(generation)?,
            commands,
            resting: BTreeSet::new(),
            rows: Vec::new(),
            silent: 0,
            idle_since: None,
            gone_since: None,
        })
    }

    /// Divides traffic as a routing says whose layout this process has.
    pub(super) async fn tell(&mut self, layout: &Layout, routing: &Routing) -> io::Result<()> {
        let wanted = layout.servers();
        let all = self.layout.servers();
        let (wanted_again, resting): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut self.resting).into_iter().partition(|name| wanted.contains(name));
        self.resting = resting;
        for name in wanted_again {
            self.commands.tell(&format!("set server {name} state ready")).await?;
        }
        self.commands.replace(&map_name(self.generation), &pairs(routing)).await?;
        for name in all.difference(&wanted) {
            if self.resting.insert(name.clone()) {
                self.commands.tell(&format!("set server {name} state maint")).await?;
            }
        }
        Ok(())
    }

    /// Divides what still comes to a process that is about to end, as far as it knows the arms.
    pub(super) async fn tell_what_it_knows(&mut self, routing: &Routing) -> io::Result<()> {
        let mut known = routing.clone();
        known.fronts.retain(|name, front| {
            let mut given = front.arms.iter().filter(|arm| arm.weight > 0);
            given.all(|arm| self.layout.has(name, &arm.name))
        });
        self.commands.replace(&map_name(self.generation), &pairs(&known)).await
    }

    /// Asks what it has and has had.
    pub(super) async fn look(&mut self) -> io::Result<()> {
        self.rows = self.commands.rows().await?;
        self.silent = 0;
        Ok(())
    }

    /// Returns the requests in flight on each arm.
    pub(super) fn in_flight(&self) -> BTreeMap<String, u64> {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut of_backend: BTreeMap<&str, u64> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.kind == Kind::Server) {
            let Some(arm) = arm_of_server(&row.name) else { continue };
            *counts.entry(arm).or_default() += row.present;
            *of_backend.entry(&row.of).or_default() += row.present;
        }
        for row in self.rows.iter().filter(|row| row.kind == Kind::Backend) {
            // Between two attempts a request is with no instance.
            let Some((_, arm)) = front_and_arm(&row.of) else { continue };
            let without =
                row.present.saturating_sub(of_backend.get(&*row.of).copied().unwrap_or(0));
            *counts.entry(arm).or_default() += without;
        }
        counts
    }

    /// Says whether nobody is connected.
    pub(super) fn is_idle(&self) -> bool {
        self.rows.iter().filter(|row| row.kind != Kind::Server).all(|row| row.present == 0)
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        signal(self.pid, Signal::KILL);
    }
}

/// Returns the edge and the arm that a backend is named after.
pub(super) fn front_and_arm(backend: &str) -> Option<(String, String)> {
    let (front, arm) = backend.split_once(':')?;
    Some((decode(front)?, decode(arm)?))
}

/// Returns the arm that a server is named after.
pub(super) fn arm_of_server(server: &str) -> Option<String> {
    decode(server.split_once(':')?.0)
}

pub(super) fn signal(pid: Pid, signal: Signal) {
    // It may be gone already, which is what we want.
    let _ = kill_process(pid, signal);
}

fn text_of(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(key, value)| format!("{key} {value}\n")).collect()
}

/// Returns the first thing that HAProxy calls an alert.
fn reason(output: &str) -> String {
    let alert = output.lines().find(|line| line.contains("[ALERT]"));
    let words = alert.and_then(|line| line.split_once(" : ")).map(|(_, words)| words.trim());
    format!("HAProxy does not start: {}", words.unwrap_or("it does not say why"))
}
