//! HAProxy instead of our own proxy: steered by the same socket, through a companion process that tells HAProxy what
//! to do and counts what it says.
//!
//! Weights are in a map that changes while HAProxy runs, so that moving traffic, and taking it back, needs no other
//! process. Another edge, arm or instance does: a new process takes the listeners of the old one, which ends
//! when nothing is in flight on it. HAProxy goes on without its companion, and a companion starts a HAProxy that is
//! gone with the routing that was told last.

mod commands;
mod config;
mod evidence;
mod layout;
mod line;
mod place;
mod process;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep};

use self::evidence::{Evidence, UNDER_WAY};
use self::layout::Layout;
use self::place::{LOG, Place};
use self::process::{Before, Process, front_and_arm, signal};
use super::admin::{self, ArmState, Carrier, Refusal, RouterState, Steered};
use super::routing::Routing;
use super::{RouterOptions, RunRouterError, hold, raise_descriptors, read_routing, socket_path};
use crate::slice::Slice;
use crate::traffic::{Later, RouterKind};

/// How often HAProxy is looked at.
const TICK: Duration = Duration::from_millis(100);

/// Looks in a row that may go unanswered before a process counts as gone.
const SILENT: u32 = 3;

/// How long what a routing does not name any more stays, in case that it comes back.
const TIDY: Duration = Duration::from_secs(10);

/// How long a process that is about to end is watched after its last request.
const WATCHED: Duration = Duration::from_millis(1_500);

/// How long a process that somebody else has started may take to answer.
const STARTING: Duration = Duration::from_secs(1);

/// How long requests in flight may take when it stops.
const GRACE: Duration = Duration::from_secs(5);

/// The longest line.
const LINE_BYTES: u64 = 8_192;

/// A HAProxy with its companion.
#[derive(Debug)]
struct Haproxy {
    steered: Mutex<State>,
    evidence: Arc<Evidence>,
}

#[derive(Debug)]
struct State {
    place: Place,
    threads: usize,
    routing: Routing,
    /// The newest that was started, or tried to be.
    generation: u64,
    current: Option<Process>,
    /// Those that have handed their listeners on.
    ending: Vec<Process>,
    /// When it was told something, if something is left to be tidied.
    untidy: Option<Instant>,
    /// When to start again what does not start.
    again: Instant,
    evidence: Arc<Evidence>,
}

/// The shared half, for requests that may be broken off.
#[derive(Clone, Debug)]
struct Handle(Arc<Haproxy>);

/// Runs HAProxy and its companion until they are told to stop.
///
/// # Errors
///
/// Each variant of [`RunRouterError`] but for [`RunRouterError::Routing`].
pub fn run(options: &RouterOptions) -> Result<(), RunRouterError> {
    let home = &options.home;
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| RunRouterError::File { path, source }
    };
    fs::create_dir_all(home).map_err(file(home))?;
    let _held = hold(home)?;
    let routing = read_routing(home)?;
    let (place, lines) = Place::open(home).map_err(file(home))?;
    let socket = socket_path(home);
    drop(fs::remove_file(&socket));
    raise_descriptors();
    let (stop, _stopped) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(file(home))?;
    runtime.block_on(async {
        let evidence = Arc::new(Evidence::new(&place.lines.key));
        listen(&place, lines, &evidence).map_err(file(home))?;
        let state = State::new(place, options.threads.max(1), routing, Arc::clone(&evidence));
        let handle = Handle(Arc::new(Haproxy { steered: Mutex::new(state), evidence }));
        handle.0.steered.lock().await.take_up().await;
        let watching = tokio::spawn(watch_over(Arc::clone(&handle.0)));
        // Whoever finds the socket finds the edges served.
        let listener = UnixListener::bind(&socket).map_err(file(&socket))?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).map_err(file(&socket))?;
        let steered = Steered { carrier: Arc::new(handle.clone()) };
        admin::serve(listener, &steered, &stop).await;
        watching.abort();
        drop(fs::remove_file(&socket));
        handle.0.steered.lock().await.stop().await;
        Ok(())
    })
}

/// Ends every HAProxy of a folder, whether or not it has a companion. Requests in flight get a few seconds.
pub async fn end(home: &Path) {
    let home = std::path::absolute(home).unwrap_or_else(|_| home.to_owned());
    let alive = || Place::processes(&home);
    for (with, patience) in
        [(Signal::USR1, GRACE), (Signal::TERM, GRACE / 5), (Signal::KILL, GRACE / 5)]
    {
        let until = Instant::now() + patience;
        alive().into_iter().for_each(|(pid, _)| signal(pid, with));
        while !alive().is_empty() && Instant::now() < until {
            sleep(TICK / 5).await;
        }
    }
}

/// Returns where HAProxy is installed.
pub fn program() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Where it is on Debian is not where everybody looks.
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join("haproxy")).find(|program| program.is_file())
}

/// Listens for what callers met.
fn listen(place: &Place, lines: UdpSocket, evidence: &Arc<Evidence>) -> io::Result<()> {
    lines.set_read_timeout(Some(TICK))?;
    let counting = Arc::downgrade(evidence);
    // A thread of its own: what is not read soon is dropped.
    thread::spawn(move || {
        let mut buffer = vec![0; LINE_BYTES as usize];
        while let Some(evidence) = counting.upgrade() {
            if let Ok(count) = lines.recv(&mut buffer) {
                evidence.line(&buffer[..count]);
            }
        }
    });
    let path = place.socket(LOG);
    drop(fs::remove_file(&path));
    let log = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    // HAProxy inherits the listener, so that its connections wait in it when the companion is gone: refused ones it
    // would make again and again without a pause, which takes a whole core.
    fcntl_setfd(&log, FdFlags::empty())?;
    let counting = Arc::clone(evidence);
    tokio::spawn(async move {
        while let Ok((stream, _)) = log.accept().await {
            let evidence = Arc::clone(&counting);
            // A connection that breaks is made again, by HAProxy.
            tokio::spawn(async move { drop(read_lines(stream, &evidence).await) });
        }
    });
    Ok(())
}

/// Reads lines that say how long they are (RFC 6587, section 3.4.1).
async fn read_lines(stream: UnixStream, evidence: &Evidence) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 16, stream);
    let (mut length, mut line) = (Vec::new(), Vec::new());
    loop {
        length.clear();
        (&mut reader).take(8).read_until(b' ', &mut length).await?;
        let count = std::str::from_utf8(&length).ok().and_then(|it| it.trim().parse::<u64>().ok());
        let count = count.filter(|count| *count <= LINE_BYTES);
        line.resize(count.ok_or(io::ErrorKind::InvalidData)? as usize, 0);
        reader.read_exact(&mut line).await?;
        evidence.line(&line);
    }
}

/// Looks after the processes for good.
#[expect(clippy::infinite_loop, reason = "it ends when its task is aborted")]
async fn watch_over(haproxy: Arc<Haproxy>) {
    loop {
        sleep(TICK).await;
        haproxy.steered.lock().await.look_after().await;
    }
}

// === impl State ===

impl State {
    fn new(place: Place, threads: usize, routing: Routing, evidence: Arc<Evidence>) -> Self {
        Self {
            place,
            threads,
            routing,
            generation: 0,
            current: None,
            ending: Vec::new(),
            untidy: None,
            again: Instant::now(),
            evidence,
        }
    }

    /// Takes over what runs, or starts it with the routing that was told last.
    async fn take_up(&mut self) {
        self.generation = self.place.newest();
        // One may be about to start that a companion before this one did not live to see.
        let until = Instant::now() + STARTING;
        while self.current.is_none() {
            match Process::adopt(&self.place).await {
                Ok(process) => {
                    self.evidence.begin(process.generation, true);
                    self.current = Some(process);
                }
                Err(_) if self.strays().is_empty() || Instant::now() >= until => break,
                Err(_) => sleep(TICK / 5).await,
            }
        }
        let routing = self.routing.clone();
        if !routing.fronts.is_empty() {
            // What cannot be done now is tried again, and whoever steers is told.
            drop(self.carry_out(&routing).await);
        }
    }

    /// Does what a routing says.
    async fn carry_out(&mut self, routing: &Routing) -> Result<(), String> {
        routing.check().map_err(|error| error.to_string())?;
        let layout = Layout::of(routing)?;
        if let Some(process) = self.current.as_mut().filter(|it| it.layout.holds(&layout)) {
            match process.tell(&layout, routing).await {
                Ok(()) => {
                    for process in &mut self.ending {
                        // It takes one request more of each connection at most.
                        drop(process.tell_what_it_knows(routing).await);
                    }
                    let process = self.current.as_ref().expect("it was told");
                    self.untidy = (process.layout != layout).then(Instant::now);
                    return Ok(());
                }
                // What answers, but not as it should, may still end what is in flight.
                Err(error) if error.kind() == io::ErrorKind::Other => {}
                Err(_) => self.drop_current(),
            }
        }
        self.replace(&layout, routing).await
    }

    /// Starts a process that takes over from the one before, or stands in for one that is gone.
    async fn replace(&mut self, layout: &Layout, routing: &Routing) -> Result<(), String> {
        let known = self.current.as_ref().map(|process| &process.layout);
        for (name, gate) in &layout.gates {
            let is_ours = known
                .is_some_and(|known| known.gates.values().any(|known| known.listen == gate.listen));
            if known.is_some() && !is_ours {
                let taken =
                    |error| format!("cannot listen on {} for `{name}`: {error}", gate.listen);
                drop(std::net::TcpListener::bind(gate.listen).map_err(taken)?);
            }
        }
        let strays = if self.current.is_some() { Vec::new() } else { self.strays() };
        let before = match &self.current {
            Some(process) => Some(Before { pid: process.pid, hands_on: true }),
            None => strays.first().map(|pid| Before { pid: *pid, hands_on: false }),
        };
        let mut started = self.start((layout, routing), before).await;
        if started.is_err() && self.current.is_none() {
            // They have the addresses, and nobody can talk to them.
            let until = Instant::now() + STARTING;
            while !self.strays().is_empty() && Instant::now() < until {
                self.strays().into_iter().for_each(|pid| signal(pid, Signal::KILL));
                sleep(TICK / 10).await;
            }
            started = self.start((layout, routing), None).await;
        }
        self.ending.extend(self.current.replace(started?));
        self.untidy = None;
        let alive: Vec<u64> = self.ending.iter().map(|process| process.generation).collect();
        self.place.forget(self.generation, &alive);
        Ok(())
    }

    async fn start(
        &mut self,
        told: (&Layout, &Routing),
        before: Option<Before>,
    ) -> Result<Process, String> {
        self.generation += 1;
        self.evidence.begin(self.generation, false);
        let started = Process::start(&self.place, self.generation, told, self.threads, before);
        let started = started.await;
        if started.is_err() {
            self.evidence.end(self.generation, false);
        }
        started
    }

    /// Returns processes that nobody can command, the newest first.
    fn strays(&self) -> Vec<Pid> {
        let is_known = |of: u64| self.ending.iter().any(|process| process.generation == of);
        let mut found = Place::processes(self.place.home());
        found.retain(|(_, generation)| !is_known(*generation));
        found.sort_by_key(|(_, generation)| std::cmp::Reverse(*generation));
        found.into_iter().map(|(pid, _)| pid).collect()
    }

    fn drop_current(&mut self) {
        if let Some(process) = self.current.take() {
            process.kill();
            self.evidence.end(process.generation, true);
        }
    }

    /// Looks at every process, starts what is gone, and tidies up.
    async fn look_after(&mut self) {
        if let Some(process) = &mut self.current {
            match process.look().await {
                Ok(()) => {
                    self.evidence.look(process.generation, &process.layout, &process.rows);
                }
                Err(error)
                    if error.kind() == io::ErrorKind::TimedOut && process.silent < SILENT =>
                {
                    process.silent += 1;
                }
                Err(_) => self.drop_current(),
            }
        }
        self.look_at_ending().await;
        let routing = self.routing.clone();
        let Ok(layout) = Layout::of(&routing) else { return };
        if layout.gates.is_empty() || Instant::now() < self.again {
            return;
        }
        let is_untidy = self.untidy.is_some_and(|since| since.elapsed() > TIDY);
        if (self.current.is_none() || is_untidy) && self.replace(&layout, &routing).await.is_err() {
            self.again = Instant::now() + Duration::from_secs(1);
        }
    }

    async fn look_at_ending(&mut self) {
        for mut process in std::mem::take(&mut self.ending) {
            if process.look().await.is_err() {
                // It has ended; its last lines may be under way.
                if process.gone_since.get_or_insert_with(Instant::now).elapsed() < UNDER_WAY {
                    self.ending.push(process);
                } else {
                    self.evidence.end(process.generation, false);
                }
                continue;
            }
            self.evidence.look(process.generation, &process.layout, &process.rows);
            if !process.is_idle() {
                process.idle_since = None;
            } else if process.idle_since.get_or_insert_with(Instant::now).elapsed() > WATCHED {
                // It ends when nobody is connected, which includes us.
                self.evidence.end(process.generation, false);
                continue;
            }
            self.ending.push(process);
        }
    }

    async fn stop(&mut self) {
        let home = self.place.home().to_owned();
        // A process does not end while it is commanded.
        let busy = |process: &Process| process.in_flight().values().any(|count| *count > 0);
        let mut processes: Vec<Process> =
            self.ending.drain(..).chain(self.current.take()).collect();
        processes.iter().for_each(|process| signal(process.pid, Signal::USR1));
        let until = Instant::now() + GRACE;
        while Instant::now() < until {
            for process in &mut processes {
                if process.look().await.is_err() {
                    process.rows.clear();
                }
            }
            if !processes.iter().any(busy) {
                break;
            }
            sleep(TICK / 5).await;
        }
        processes.iter().for_each(|process| signal(process.pid, Signal::TERM));
        drop(processes);
        end(&home).await;
    }

    async fn state(&mut self) -> RouterState {
        let mut arms: BTreeMap<String, ArmState> = BTreeMap::new();
        for process in self.current.iter_mut().chain(&mut self.ending) {
            // One that does not answer has nothing that could be waited for.
            if process.look().await.is_err() {
                continue;
            }
            for (arm, count) in process.in_flight() {
                arms.entry(arm).or_default().in_flight += count;
            }
            for row in process.rows.iter().filter(|row| row.redispatched > 0) {
                if let Some((_, arm)) = front_and_arm(&row.of) {
                    arms.entry(arm).or_default().refused += row.redispatched;
                }
            }
        }
        for (arm, (requests, failures)) in self.evidence.arms() {
            let state = arms.entry(arm).or_default();
            (state.requests, state.failures) = (requests, failures);
        }
        let pid = std::process::id();
        let (revision, kind) = (self.routing.revision, RouterKind::Haproxy);
        RouterState {
            revision,
            pid,
            kind,
            second: evidence::now() / 1_000_000,
            arms,
            edges: BTreeMap::new(),
        }
    }
}

// === impl Handle ===

impl Carrier for Handle {
    fn routing(&self) -> Later<'_, Routing> {
        Box::pin(async { self.0.steered.lock().await.routing.clone() })
    }

    fn change(&self, mut routing: Routing) -> Later<'_, Result<(u64, bool), Refusal>> {
        let haproxy = Arc::clone(&self.0);
        // A caller that does not wait for the answer must not break it off halfway.
        let changing = tokio::spawn(async move {
            let mut state = haproxy.steered.lock().await;
            let current = state.routing.revision;
            if routing.revision != current {
                return Err(Refusal::Conflict(current));
            }
            state.carry_out(&routing).await.map_err(Refusal::Cannot)?;
            routing.revision = current + 1;
            let kept = super::write_routing(state.place.home(), &routing).is_ok();
            state.routing = routing;
            Ok((current + 1, kept))
        });
        Box::pin(async {
            let lost = |_| Refusal::Cannot("the change was broken off".to_owned());
            changing.await.map_err(lost)?
        })
    }

    fn state(&self) -> Later<'_, RouterState> {
        Box::pin(async { self.0.steered.lock().await.state().await })
    }

    fn since(&self, front: &str, since: u64) -> BTreeMap<String, Vec<Slice>> {
        self.0.evidence.since(front, since)
    }

    fn lost(&self, since: u64) -> u64 {
        self.0.evidence.lost(since)
    }
}
