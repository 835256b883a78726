//! `mesh`: one HTTP/1.1 service, made of what a YAML file says.
//!
//! The sample systems of Prophecy are made of it: real processes with real sockets, queues, pools,
//! caches, a database, and the faults that deployments have. `examples/mesh/README.md` lists what a
//! file may say.

mod arguments;
mod cache;
mod client;
mod config;
mod database;
mod gate;
mod generator;
mod route_table;
mod scope;
mod server;
mod service;
mod steps;
mod template;
mod trace;

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{Arguments, HELP, Request};
use crate::config::{Config, ReadConfigError};
use crate::server::ListenError;
use crate::service::{Service, StartServiceError};

/// The command line or the file can be fixed.
const USAGE: u8 = 2;
/// The machine is in the way.
const ENVIRONMENT: u8 = 3;

/// Why `mesh` did not run.
#[derive(Debug, Error)]
enum RunError {
    #[error("cannot read `{}`", path.display())]
    Open { path: PathBuf, source: std::io::Error },
    #[error("cannot use `{}`", path.display())]
    Config { path: PathBuf, source: ReadConfigError },
    #[error(transparent)]
    Start(#[from] StartServiceError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
}

fn main() -> ExitCode {
    let request = match arguments::parse(std::env::args().skip(1)) {
        Ok(request) => request,
        Err(error) => return fail(&error, USAGE),
    };
    let result = match request {
        Request::Help => {
            say_out(HELP);
            Ok(())
        }
        Request::Run(arguments) => run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ (RunError::Config { .. } | RunError::Start(_))) => fail(&error, USAGE),
        Err(error) => fail(&error, ENVIRONMENT),
    }
}

fn run(arguments: &Arguments) -> Result<(), RunError> {
    let path = arguments.config.clone();
    let text = std::fs::read_to_string(&path)
        .map_err(|source| RunError::Open { path: path.clone(), source })?;
    let mut config = Config::from_yaml(&text, &|name| std::env::var(name).ok())
        .map_err(|source| RunError::Config { path: path.clone(), source })?;
    if arguments.check_only {
        let route_count = config.routes.len();
        say_out(&format!("{} is valid: `{}`, {route_count} routes\n", path.display(), config.name));
        return Ok(());
    }
    config.port = arguments.port.unwrap_or(config.port);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let result = runtime.block_on(serve(config));
    // What still blocks, such as a long query, must not hold the process.
    runtime.shutdown_background();
    result
}

async fn serve(config: Config) -> Result<(), RunError> {
    let address = SocketAddr::new(config.host, config.port);
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Runtime)?;
    let service = Service::start(config)?;
    // Only now, when the database is filled: an accepted connection says that it is ready.
    let listener = server::listen(address).await?;
    let address = listener.local_addr().unwrap_or(address);
    say(&format!("{} listens on http://{address}\n", service.name()));
    let end = async {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    server::serve(listener, service, end).await;
    Ok(())
}

fn fail(error: &dyn Error, code: u8) -> ExitCode {
    say(&format!("error: {error}\n"));
    let mut cause = error.source();
    while let Some(error) = cause {
        say(&format!("  caused by: {error}\n"));
        cause = error.source();
    }
    ExitCode::from(code)
}

/// Writes to stderr; nobody may be listening, which is no reason to stop.
fn say(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).ok();
}

/// Writes to stdout, likewise.
fn say_out(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).ok();
}
