//! The command line, as data.

mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use prophecy_core::Timestamp;
use prophecy_core::system::Span;
use prophecy_runner::strategy::Weight;

pub(crate) use self::serve::{RoleName, ServeArguments, StoreCommand, TokenArguments};
use crate::printer::Format;

/// Says, before a deployment, what it will do to production, and how sure that is.
#[derive(Debug, Parser)]
#[command(name = "prophecy", version, about, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    /// How results are written to stdout
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
    /// Only results, warnings and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a starting `system.yaml` for a service of yours
    Init(InitArguments),
    /// Say what this machine can and cannot do, and the fix
    Doctor,
    /// Record traffic, sanitized, into a dataset
    Capture(Box<CaptureArguments>),
    /// Look into a dataset
    #[command(subcommand)]
    Dataset(DatasetCommand),
    /// Replay a dataset against two builds and record what they do
    Replay(ReplayArguments),
    /// Fit a model to a dataset
    Fit(FitArguments),
    /// Simulate a model under traffic
    Simulate(SimulateArguments),
    /// Forecast what a candidate will do to production
    Report(ReportArguments),
    /// Answer go or no-go for a report, by exit code
    Gate(GateArguments),
    /// Say how true forecasts were, from deployments really carried out
    Accuracy(AccuracyArguments),
    /// Bring a candidate to its traffic under watch, and back if it hurts
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Serve the API and the dashboard of forecasts, rollouts and how true they were
    Serve(ServeArguments),
    /// Look after the store of `prophecy serve`
    #[command(subcommand)]
    Store(StoreCommand),
    /// Divide traffic by weight; started by rollouts
    #[command(hide = true)]
    Router(RouterArguments),
    /// Forecast two deployments of a sample shop, carry them out, compare
    Demo(DemoArguments),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    /// The name of the service
    #[arg(long, default_value = "app", value_name = "NAME")]
    pub(crate) service: String,
    /// Where to write
    #[arg(long, short, default_value = "system.yaml", value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Program and arguments that start it; `{port}` stands for the port it is given
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// Arguments of `capture`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("from").required(true).args(["pcap", "listen", "edge"]))]
pub(crate) struct CaptureArguments {
    /// Read these capture files (pcap or pcapng)
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub(crate) pcap: Vec<PathBuf>,
    /// Listen here as a mirroring proxy
    #[arg(long, value_name = "ADDR", requires = "upstream", requires = "service")]
    pub(crate) listen: Option<SocketAddr>,
    /// Pass requests on to this service, `http://host:port`
    #[arg(long, value_name = "URL", requires = "listen")]
    pub(crate) upstream: Option<String>,
    /// The name of the service behind the proxy
    #[arg(long, value_name = "NAME", requires = "listen")]
    pub(crate) service: Option<String>,
    /// The name of the service in front of the proxy
    #[arg(long, value_name = "NAME", default_value = "client")]
    pub(crate) source: String,
    /// Another proxy in the same dataset: `SOURCE>SERVICE=LISTEN>URL`; may be repeated
    #[arg(long, value_name = "EDGE")]
    pub(crate) edge: Vec<String>,
    /// Call a packet's address by this name: `NAME=ADDR:PORT`; may be repeated
    #[arg(long = "name", value_name = "NAME=ADDR:PORT", requires = "pcap")]
    pub(crate) names: Vec<String>,
    /// Where to write the dataset: a folder that does not exist yet, or an empty one
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// Stop after this time; without it, at Ctrl-C
    #[arg(long = "for", value_name = "TIME", value_parser = span, conflicts_with = "pcap")]
    pub(crate) duration: Option<Span>,
    #[command(flatten)]
    pub(crate) privacy: PrivacyArguments,
    /// Keep at most this many bytes of each body
    #[arg(long, value_name = "BYTES", default_value_t = 65_536)]
    pub(crate) body_limit: usize,
}

/// What may be kept, and under which key the rest is replaced.
#[derive(Debug, Args)]
pub(crate) struct PrivacyArguments {
    /// `default` keeps nothing that could be personal; `replayable` also keeps what a replay needs;
    /// `synthetic` keeps everything (test systems only); or a YAML file
    #[arg(long, value_name = "POLICY", default_value = "default")]
    pub(crate) policy: String,
    /// The key of pseudonyms; made with mode 0600 if absent [default: ~/.config/prophecy/key]
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Keep path segments of the routes that this manifest's `slo` names
    #[arg(long, value_name = "FILE")]
    pub(crate) system: Option<PathBuf>,
}

/// What to do with a dataset.
#[derive(Debug, Subcommand)]
pub(crate) enum DatasetCommand {
    /// Say what is in a dataset
    Info {
        /// The dataset
        dataset: PathBuf,
    },
    /// Check that a dataset is whole and its ledger adds up
    Verify {
        /// The dataset
        dataset: PathBuf,
    },
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    #[command(flatten)]
    pub(crate) twin: TwinArguments,
    /// Where to write the run: a folder that does not exist yet, or an empty one
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// The seed of everything drawn
    #[arg(long, default_value_t = 7, value_name = "NUMBER")]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) probe: ProbeArguments,
}

/// Whether and how far the arms are driven to saturation.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ProbeArguments {
    /// Afterwards drive each arm with the same traffic at rising speed until it saturates
    #[arg(long)]
    pub(crate) probe: bool,
    /// Ask an arm for at most so many requests per second
    #[arg(long, default_value_t = 5_000.0, value_name = "HZ", requires = "probe")]
    pub(crate) probe_max_rate: f64,
    /// Drive each arm for at most this time
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "30s", requires = "probe")]
    pub(crate) probe_time: Span,
}

/// What is replayed against what.
#[derive(Clone, Debug, Args)]
pub(crate) struct TwinArguments {
    /// The captured traffic
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dataset: PathBuf,
    /// The manifest of what runs now
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: PathBuf,
    /// The manifest of what is to be deployed
    #[arg(long, value_name = "FILE")]
    pub(crate) candidate: PathBuf,
    /// Replay this many times as fast as captured
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub(crate) speed: f64,
    /// Replay for at most this time
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) limit: Option<Span>,
    /// Allow traffic to this address that is not loopback; may be repeated
    #[arg(long, value_name = "ADDR")]
    pub(crate) allow: Vec<SocketAddr>,
}

/// Arguments of `fit`.
#[derive(Debug, Args)]
pub(crate) struct FitArguments {
    /// The dataset
    pub(crate) dataset: PathBuf,
    /// The manifest of the system that was captured
    #[arg(long, value_name = "FILE")]
    pub(crate) system: PathBuf,
    /// Where to write the model
    #[arg(long, short, default_value = "model.json", value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Hold out the last part of the window, simulate it, and say whether the model is fit for prediction
    #[arg(long)]
    pub(crate) check: bool,
    /// Take workers and the time of work under load from the probe of this run's baseline
    #[arg(long, value_name = "FOLDER")]
    pub(crate) probe: Option<PathBuf>,
    /// Take them from the probe of this arm instead
    #[arg(long, value_name = "ARM", default_value = "baseline", requires = "probe")]
    pub(crate) probe_arm: String,
    #[command(flatten)]
    pub(crate) chance: ChanceArguments,
}

/// Arguments of `simulate`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("traffic").required(true).args(["dataset", "rate"]))]
pub(crate) struct SimulateArguments {
    /// The model, from `prophecy fit` or written by hand as YAML
    pub(crate) model: PathBuf,
    /// What happens meanwhile: incidents, a deployment, a trigger (docs/simulation.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) setting: Option<PathBuf>,
    /// Write one run as spans and as a page to this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) trace: Option<PathBuf>,
    /// The traffic of this dataset
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dataset: Option<PathBuf>,
    /// Poisson arrivals at this rate, in requests per second, spread evenly over the entry's routes
    #[arg(long, value_name = "HZ")]
    pub(crate) rate: Option<f64>,
    /// The simulated time, with `--rate`
    #[arg(long = "for", value_name = "TIME", value_parser = span, default_value = "60s")]
    pub(crate) duration: Span,
    /// Simulated runs
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub(crate) replications: u32,
    #[command(flatten)]
    pub(crate) chance: ChanceArguments,
}

/// Chance and threads: the same seed gives the same bytes on any number of threads.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ChanceArguments {
    /// The seed of everything drawn
    #[arg(long, default_value_t = 7, value_name = "NUMBER")]
    pub(crate) seed: u64,
    /// Threads to use [default: all cores]
    #[arg(long, value_name = "COUNT")]
    pub(crate) threads: Option<usize>,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// The captured traffic
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dataset: PathBuf,
    /// The manifest of what runs now
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: PathBuf,
    /// The manifest of what is to be deployed
    #[arg(long, value_name = "FILE")]
    pub(crate) candidate: PathBuf,
    /// Where to write the report: a folder that does not exist yet, or an empty one
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// Use this run of `prophecy replay` instead of replaying again
    #[arg(long, value_name = "FOLDER")]
    pub(crate) run: Option<PathBuf>,
    /// Replay this many times as fast as captured
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub(crate) speed: f64,
    /// Replay for at most this time
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) limit: Option<Span>,
    /// Allow traffic to this address that is not loopback; may be repeated
    #[arg(long, value_name = "ADDR")]
    pub(crate) allow: Vec<SocketAddr>,
    /// The risk score up to which the verdict may be `go`
    #[arg(long, default_value_t = 20.0, value_name = "SCORE", value_parser = risk_score)]
    pub(crate) max_risk: f64,
    /// Draws of what is not known (outer loop)
    #[arg(long, default_value_t = 64, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(8..))]
    pub(crate) draws: u32,
    /// Simulated runs for each draw (inner loop)
    #[arg(long, default_value_t = 8, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) replications: u32,
    #[command(flatten)]
    pub(crate) chance: ChanceArguments,
}

/// Arguments of `gate`.
#[derive(Debug, Args)]
pub(crate) struct GateArguments {
    /// The report: its folder, or `report.json`
    pub(crate) report: PathBuf,
    /// The highest risk score that may pass, 0 to 100
    #[arg(long, default_value_t = 20.0, value_name = "SCORE", value_parser = risk_score)]
    pub(crate) max_risk: f64,
}

/// Arguments of `accuracy`.
#[derive(Debug, Args)]
pub(crate) struct AccuracyArguments {
    /// The records: a campaign of trials, or a folder of campaigns
    #[arg(default_value = "datasets/trials", value_name = "FOLDER")]
    pub(crate) records: PathBuf,
    /// Score the rollouts of this environment instead
    #[arg(long, value_name = "FOLDER", conflicts_with = "records")]
    pub(crate) environment: Option<PathBuf>,
    /// Score only what this commit forecast; its first digits are enough; may be repeated
    #[arg(long, value_name = "COMMIT")]
    pub(crate) commit: Vec<String>,
    /// Write the scoreboard as a page as well
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// The seed of the resampling that intervals come from
    #[arg(long, default_value_t = 7, value_name = "NUMBER")]
    pub(crate) seed: u64,
}

/// What to do with a rollout.
#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// Say what a rollout would do, and do nothing
    Plan(Box<RolloutArguments>),
    /// Carry a rollout out; Ctrl-C gives it up and sends traffic back
    Start(Box<RolloutArguments>),
    /// Say where a rollout is
    Status(RolloutName),
    /// Say which rollouts there were
    List {
        #[command(flatten)]
        place: EnvironmentArgument,
    },
    /// Go on with the next step, although something is missing
    Promote(RolloutOrder),
    /// Stay at the present step
    Pause(RolloutOrder),
    /// Go on after a pause; takes the rollout up if nobody carries it out any more
    Resume(RolloutOrder),
    /// Give a rollout up: traffic goes back
    Abort(RolloutOrder),
    /// Give a rollout up, or bring back what ran before the last one
    Rollback(RolloutOrder),
    /// Sign the plan of a rollout that waits for approvals, or refuse it
    Approve(ApproveArguments),
    /// Make a key to sign approvals with
    Key {
        /// The file for the private key; it must not exist
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Whose key it is
        #[arg(long, value_name = "NAME")]
        actor: String,
    },
    /// End everything that runs in an environment
    Down {
        #[command(flatten)]
        place: EnvironmentArgument,
    },
}

/// Where a rollout happens.
#[derive(Clone, Debug, Args)]
pub(crate) struct EnvironmentArgument {
    /// The environment's folder
    #[arg(long, default_value = "prophecy-environment", value_name = "FOLDER")]
    pub(crate) environment: PathBuf,
}

/// Arguments of `rollout start`.
#[derive(Debug, Args)]
pub(crate) struct RolloutArguments {
    #[command(flatten)]
    pub(crate) place: EnvironmentArgument,
    /// The manifest of what is to be deployed
    #[arg(long, value_name = "FILE")]
    pub(crate) candidate: PathBuf,
    /// The forecast of this candidate: a report's folder, or `report.json`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) report: Option<PathBuf>,
    /// How traffic moves
    #[arg(long, value_enum, default_value = "canary", value_name = "STRATEGY")]
    pub(crate) strategy: StrategyName,
    /// The candidate's share at each step of a canary
    #[arg(long, value_delimiter = ',', default_value = "5%,25%,50%", value_name = "SHARES")]
    pub(crate) steps: Vec<Weight>,
    /// The share of `shadow` and `ab`
    #[arg(long, default_value = "50%", value_name = "SHARE")]
    pub(crate) share: Weight,
    /// Who gets the candidate in `ab`: `header:NAME=VALUE` or `cookie:NAME=VALUE`
    #[arg(long, value_name = "WHO")]
    pub(crate) select: Option<String>,
    /// Instances per step of `rolling`
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    pub(crate) batch: u32,
    /// Deploy this service again although nothing differs; may be repeated
    #[arg(long, value_name = "SERVICE")]
    pub(crate) again: Vec<String>,
    /// Everything that can be set (docs/rollouts.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// How long each step is observed at least
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) observe: Option<Span>,
    /// How long what ran before is kept warm
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) soak: Option<Span>,
    /// Where clients come in, for the first deployment
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// The environment's name, for the first deployment
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Pass over a gate that says no; the reason is on record
    #[arg(long, value_name = "REASON")]
    pub(crate) pass_over: Option<String>,
    /// What carries the traffic, for the first deployment [default: own]
    #[arg(long, value_enum, value_name = "ROUTER")]
    pub(crate) router: Option<RouterName>,
    /// Wait until freeze windows are open, instead of being refused
    #[arg(long)]
    pub(crate) when_open: bool,
    /// Begin no earlier than this, such as 2026-01-02T16:00:00Z
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub(crate) at: Option<Timestamp>,
    /// Threads of the router, where it is started
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    pub(crate) router_threads: usize,
    /// Go on in the background
    #[arg(long)]
    pub(crate) detach: bool,
}

/// What carries the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RouterName {
    /// The router that comes with `prophecy`
    Own,
    /// HAProxy, 2.6 or later
    Haproxy,
}

/// How traffic moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum StrategyName {
    /// All at once
    Immediate,
    /// Instance by instance
    Rolling,
    /// Everything beside what runs, then one switch
    BlueGreen,
    /// Growing shares, each compared with a fresh copy of what runs
    Canary,
    /// Copies of requests only
    Shadow,
    /// A fixed group, until a sequential test decides
    Ab,
}

/// Arguments of `rollout approve`.
#[derive(Debug, Args)]
pub(crate) struct ApproveArguments {
    #[command(flatten)]
    pub(crate) name: RolloutName,
    /// The private key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Whose key it is
    #[arg(long, value_name = "NAME")]
    pub(crate) actor: String,
    /// How long it counts
    #[arg(long = "for", value_name = "TIME", value_parser = span, default_value = "24h")]
    pub(crate) valid: Span,
    /// Refuse it; that does not expire
    #[arg(long)]
    pub(crate) reject: bool,
    /// Why; on record
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) reason: String,
}

/// A rollout.
#[derive(Debug, Args)]
pub(crate) struct RolloutName {
    #[command(flatten)]
    pub(crate) place: EnvironmentArgument,
    /// The rollout [default: the newest]
    pub(crate) rollout: Option<String>,
}

/// Something said to a rollout.
#[derive(Debug, Args)]
pub(crate) struct RolloutOrder {
    #[command(flatten)]
    pub(crate) name: RolloutName,
    /// The revision that you saw; refused if the rollout has moved on
    #[arg(long, value_name = "NUMBER")]
    pub(crate) revision: Option<u64>,
    /// Why; on record
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) reason: String,
}

/// Arguments of `router`.
#[derive(Debug, Args)]
pub(crate) struct RouterArguments {
    /// The router's folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) home: PathBuf,
    /// Threads that serve
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    pub(crate) threads: usize,
    /// Let HAProxy serve, and accompany it
    #[arg(long)]
    pub(crate) haproxy: bool,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Where to write what the demo makes: a folder that does not exist yet, or an empty one
    #[arg(long, default_value = "prophecy-demo", value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// The seed of everything drawn
    #[arg(long, default_value_t = 7, value_name = "NUMBER")]
    pub(crate) seed: u64,
}

fn instant(text: &str) -> Result<Timestamp, String> {
    prophecy_runner::instant::read(text)
        .ok_or_else(|| "a time is written as RFC 3339, such as `2026-01-02T16:00:00Z`".to_owned())
}

fn span(text: &str) -> Result<Span, String> {
    prophecy_core::time::parse_duration(text).map(Span).map_err(|error| error.to_string())
}

fn risk_score(text: &str) -> Result<f64, String> {
    let score: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if (0.0..=100.0).contains(&score) {
        Ok(score)
    } else {
        Err(format!("{score} is not from 0 to 100"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
