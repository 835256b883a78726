//! The router: a small proxy that divides traffic by weight, in a process of its own.
//!
//! It goes on when whoever steers it is gone, and comes back with what it was told when it is started again.
//! Requests are dealt one by one: any 100,000 in a row meet every weight exactly. A request that an instance
//! does not take is given to the next one, and then to the last arm, which is what ran before.

mod admin;
mod choice;
mod client;
mod forward;
pub mod haproxy;
mod ledger;
mod listen;
mod routing;
mod table;
mod upload;
mod upstream;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use prophecy_datasets::write_whole;
use thiserror::Error;
use tokio::net::UnixListener;
use tokio::sync::watch;

use self::admin::{Own, Steered};
pub use self::client::{Client, HaproxyRouter, OwnRouter, steer};
pub use self::ledger::ShadowCounts;
pub use self::routing::{Arm, Front, Hold, Routing, RoutingError, Rule, Shadow, Sticky};
use self::table::Table;

/// How a router is run.
#[derive(Clone, Debug)]
pub struct RouterOptions {
    /// Its folder: the socket it is steered by, and what it was told last.
    pub home: PathBuf,
    /// Threads that serve.
    pub threads: usize,
}

/// Why a router did not run.
#[derive(Debug, Error)]
pub enum RunRouterError {
    /// A file cannot be used.
    #[error("cannot use `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// What it was told last cannot be read.
    #[error("cannot use `{}`: {message}", path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// What it was told last cannot be done any more.
    #[error(transparent)]
    Routing(#[from] RoutingError),
    /// Another router has this folder.
    #[error("a router runs already in `{}`", path.display())]
    Running {
        /// The folder.
        path: PathBuf,
    },
}

/// Runs a router until it is told to stop.
///
/// # Errors
///
/// Each variant of [`RunRouterError`].
pub fn run(options: &RouterOptions) -> Result<(), RunRouterError> {
    let home = &options.home;
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| RunRouterError::File { path, source }
    };
    fs::create_dir_all(home).map_err(file(home))?;
    let _held = hold(home)?;
    let routing = read_routing(home)?;
    let table = Arc::new(Table::default());
    table.change(routing)?;
    let socket = socket_path(home);
    drop(fs::remove_file(&socket));
    raise_descriptors();
    let (stop, stopped) = watch::channel(false);
    let threads = options.threads.max(1);
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let (table, stopped) = (Arc::clone(&table), stopped.clone());
            thread::spawn(move || listen::serve(&table, stopped))
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(file(home))?;
    runtime.block_on(async {
        // Whoever finds the socket finds the edges served.
        table.listening(threads).await;
        let listener = UnixListener::bind(&socket).map_err(file(&socket))?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).map_err(file(&socket))?;
        let own = Own { home: home.clone(), table: Arc::clone(&table), threads };
        let steered = Steered { carrier: Arc::new(own) };
        admin::serve(listener, &steered, &stop).await;
        Ok::<(), RunRouterError>(())
    })?;
    for worker in workers {
        // A panic of a worker is its own loss; the others have served on.
        drop(worker.join());
    }
    drop(fs::remove_file(&socket));
    Ok(())
}

fn hold(home: &Path) -> Result<fs::File, RunRouterError> {
    let path = home.join("lock");
    let opened = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let opened = opened.map_err(|source| RunRouterError::File { path, source })?;
    rustix::fs::flock(&opened, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| RunRouterError::Running { path: home.to_owned() })?;
    Ok(opened)
}

/// Lets the process have as many connections as it may.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If it may not, it has what it had: a connection that finds none left waits to be accepted.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn read_routing(home: &Path) -> Result<Routing, RunRouterError> {
    let path = home.join("routing.json");
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| RunRouterError::State { path, message: error.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Routing::default()),
        Err(source) => Err(RunRouterError::File { path, source }),
    }
}

fn write_routing(home: &Path, routing: &Routing) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(routing).expect("plain data");
    write_whole(&home.join("routing.json"), &text)
}

/// The longest path of a socket that every system takes.
const SOCKET_PATH_BYTES: usize = 100;

/// Returns where a router is steered: in its folder, or by a short name where the folder's is too long for a socket.
fn socket_path(home: &Path) -> PathBuf {
    let home = std::path::absolute(home).unwrap_or_else(|_| home.to_owned());
    let path = home.join("router.sock");
    if path.as_os_str().len() <= SOCKET_PATH_BYTES {
        return path;
    }
    let name = blake3::hash(home.as_os_str().as_encoded_bytes()).to_hex();
    std::env::temp_dir().join(format!("prophecy-{}.sock", &name[..16]))
}
