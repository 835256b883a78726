//! Arguments of `serve` and `store`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use prophecy_core::system::Span;

use super::span;

/// Which store.
#[derive(Clone, Debug, Args)]
pub(crate) struct StoreArgument {
    /// The store: `sqlite:FILE` or `postgres://…`
    #[arg(
        long,
        env = "PROPHECY_STORE",
        default_value = "sqlite:prophecy.db",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) store: String,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) place: StoreArgument,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8600", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// The folder of an environment whose rollouts are shown and steered; may be repeated
    #[arg(long, value_name = "FOLDER")]
    pub(crate) environment: Vec<PathBuf>,
    /// The folder of manifests that may be deployed through the API; without it, none may
    #[arg(long, value_name = "FOLDER")]
    pub(crate) manifests: Option<PathBuf>,
    /// What is set for rollouts that are begun through the API (docs/rollouts.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// The key of webhook secrets and approvals; created if absent [default: prophecy/serve-key in the configuration folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// A host beyond loopback to which webhooks may go; may be repeated
    #[arg(long, value_name = "HOST")]
    pub(crate) webhook_host: Vec<String>,
    /// A model that the dashboard can be asked what would be if, from `prophecy fit`; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Vec<PathBuf>,
    /// The collector that traces of requests are sent to: OTLP over HTTP, such as 127.0.0.1:4318
    #[arg(long, value_name = "ADDR")]
    pub(crate) otlp: Option<SocketAddr>,
    /// Requests per second that a token may make
    #[arg(long, default_value_t = 2_000.0, value_name = "NUMBER")]
    pub(crate) rate_limit: f64,
}

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Say what is in it
    Info {
        #[command(flatten)]
        place: StoreArgument,
    },
    /// Make a token, which is shown once
    Token(TokenArguments),
    /// Copy everything into a new file, while it is used
    Backup {
        #[command(flatten)]
        place: StoreArgument,
        /// The file; it must not exist
        #[arg(value_name = "FILE")]
        to: PathBuf,
        /// As JSON lines, which either database can restore
        #[arg(long)]
        dump: bool,
    },
    /// Fill an empty store from a backup: everything, or nothing
    Restore {
        #[command(flatten)]
        place: StoreArgument,
        /// The backup
        #[arg(value_name = "FILE")]
        from: PathBuf,
    },
    /// Take deployments on record (`make trials`) into it, with what was foretold and measured
    Import {
        #[command(flatten)]
        place: StoreArgument,
        /// The folder of records; may be repeated
        #[arg(required = true, value_name = "FOLDER")]
        trials: Vec<PathBuf>,
    },
    /// Delete what is old enough; never the audit log
    Prune {
        #[command(flatten)]
        place: StoreArgument,
        /// How long logs and deliveries are kept
        #[arg(long, default_value = "720h", value_name = "TIME", value_parser = span)]
        logs: Span,
        /// How long rollouts, predictions and events are kept
        #[arg(long, default_value = "8760h", value_name = "TIME", value_parser = span)]
        records: Span,
    },
}

/// Arguments of `store token`.
#[derive(Debug, Args)]
pub(crate) struct TokenArguments {
    #[command(flatten)]
    pub(crate) place: StoreArgument,
    /// Whose it is
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What it may do
    #[arg(long, value_enum, default_value = "viewer", value_name = "ROLE")]
    pub(crate) role: RoleName,
    /// A system it is good for; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) system: Vec<String>,
    /// An environment it is good for; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Vec<String>,
    /// How long it is good [default: until it is revoked]
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub(crate) valid: Option<Span>,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RoleName {
    /// Read
    Viewer,
    /// Register, gate, start and steer
    Deployer,
    /// Approve
    Approver,
    /// Everything, with tokens and webhooks
    Admin,
}
