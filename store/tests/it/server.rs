//! A PostgreSQL server of our own in a temporary folder, reached by a socket in it.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;

/// A running server; it is stopped when nobody holds it any more.
pub(crate) struct Server {
    folder: TempDir,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    database_count: AtomicUsize,
}

/// The server that the tests of one process share.
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

// === impl Server ===

impl Server {
    /// Returns the shared server, or says why there is none.
    pub(crate) fn shared() -> Option<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    /// Starts a server, or says why there is none.
    #[expect(clippy::print_stdout, reason = "a test says why it was skipped")]
    pub(crate) fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            println!("skipped on PostgreSQL: its server is not installed");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let user = server_user();
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).expect("root may give a folder away");
        }
        let server = Self { folder, programs, user, database_count: AtomicUsize::new(0) };
        // The order of texts is not that of bytes here, as on most servers.
        let locale = ["--locale-provider=icu", "--icu-locale=en-US", "--encoding=UTF8"];
        let account = ["--username=prophecy", "--auth=trust", "--no-sync"];
        server.run("initdb", &[&["-D", "data"], &locale[..], &account[..]].concat());
        let options = format!("-F -c listen_addresses= -k {}", server.folder.path().display());
        server
            .run("pg_ctl", &["-D", "data", "-w", "-t", "60", "-l", "log", "-o", &options, "start"]);
        Some(server)
    }

    /// Stops the server at once, as if its machine were gone.
    pub(crate) fn stop(&self) {
        self.run("pg_ctl", &["-D", "data", "-m", "immediate", "-w", "stop"]);
    }

    /// Makes an empty database, and returns its address.
    pub(crate) async fn database(&self) -> String {
        let count = self.database_count.fetch_add(1, Ordering::Relaxed);
        let name = format!("store_{count}");
        let mut connection = connect(&self.address("postgres")).await;
        let sql = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(sql).execute(&mut connection).await.expect("a database");
        connection.close().await.expect("closed");
        self.address(&name)
    }

    fn address(&self, database: &str) -> String {
        format!("postgres://prophecy@localhost/{database}?host={}", self.folder.path().display())
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments).current_dir(self.folder.path()).env_remove("PGDATA");
        // The server outlives this command, and would hold a pipe of ours open.
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        let status = command.status().expect("the program starts");
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert!(status.success(), "{program} {arguments:?}: {status}\n{log}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let is_running = self.folder.path().join("data/postmaster.pid").exists();
        if is_running && !std::thread::panicking() {
            self.stop();
        } else if is_running {
            let stop = Command::new(self.programs.join("pg_ctl"))
                .args(["-D", "data", "-m", "immediate", "stop"])
                .current_dir(self.folder.path())
                .uid(self.user.map_or_else(|| rustix::process::getuid().as_raw(), |user| user.0))
                .status();
            drop(stop);
        }
    }
}

/// Connects past the store.
pub(crate) async fn connect(url: &str) -> sqlx::PgConnection {
    let options: sqlx::postgres::PgConnectOptions = url.parse().expect("an address");
    options.connect().await.expect("the server answers")
}

fn programs() -> Option<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = installed.map(|version| version.path().join("bin"));
    let mut folders = folders.chain(std::env::split_paths(&path));
    let complete =
        |folder: &Path| ["initdb", "pg_ctl"].iter().all(|name| folder.join(name).is_file());
    folders.find(|folder| complete(folder))
}

/// The account for the server: PostgreSQL refuses to run as root.
fn server_user() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").expect("a list of accounts");
    let find = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("an account that is not root"))
}
