//! `prophecy rollout`: brings a candidate to its traffic under watch.

mod approve;
mod show;

use std::env;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prophecy_core::Timestamp;
use prophecy_runner::State;
use prophecy_runner::abort::Ended;
use prophecy_runner::begin::{self, Request};
use prophecy_runner::control::{self, Verb};
use prophecy_runner::environment::{EnvironmentError, EnvironmentFolder};
use prophecy_runner::executor::{Executor, Site};
use prophecy_runner::hook::{AddressList, Backoff, HookSender};
use prophecy_runner::journal;
use prophecy_runner::plan::{Plan, document};
use prophecy_runner::router::{self, Client, RouterOptions, haproxy};
use prophecy_runner::settings::Settings;
use prophecy_runner::strategy::{Select, Strategy};
use prophecy_runner::teardown;
use prophecy_runner::traffic::RouterKind;

use self::show::Terminal;
use super::runtime;
use crate::arguments::{
    RolloutArguments, RolloutCommand, RolloutName, RolloutOrder, RouterArguments, RouterName,
    StrategyName,
};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::stop::Stop;

/// How long a background executor may take to begin.
const BEGIN: Duration = Duration::from_secs(10);

/// Runs a subcommand.
pub(crate) fn run(command: &RolloutCommand, printer: &Printer) -> Result<ExitCode, Failure> {
    match command {
        RolloutCommand::Plan(arguments) => plan(arguments, printer),
        RolloutCommand::Start(arguments) => start(arguments, printer),
        RolloutCommand::Status(name) => show::status(name, printer),
        RolloutCommand::List { place } => show::list(&place.environment, printer),
        RolloutCommand::Promote(order) => say(order, Verb::Promote, printer),
        RolloutCommand::Pause(order) => say(order, Verb::Pause, printer),
        RolloutCommand::Resume(order) => resume(order, printer),
        RolloutCommand::Abort(order) => give_up(order, Verb::Abort, printer),
        RolloutCommand::Rollback(order) => give_up(order, Verb::Rollback, printer),
        RolloutCommand::Key { out, actor } => approve::key(out, actor, printer),
        RolloutCommand::Approve(arguments) => approve::sign(arguments, printer),
        RolloutCommand::Down { place } => down(&place.environment, printer),
    }
}

/// Runs the router, until it is told to stop.
pub(crate) fn router(arguments: &RouterArguments) -> Result<ExitCode, Failure> {
    let options = RouterOptions { home: arguments.home.clone(), threads: arguments.threads };
    let ran = if arguments.haproxy { haproxy::run(&options) } else { router::run(&options) };
    ran.map_err(|error| Failure::of(ExitCode::Environment, &error))?;
    Ok(ExitCode::Done)
}

fn plan(arguments: &RolloutArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    let folder = EnvironmentFolder::new(&arguments.place.environment);
    let (_, plan) = begin::plan(&folder, &request(arguments)?, now())?;
    printer.data(&document::markdown(&plan), &plan);
    Ok(ExitCode::Done)
}

fn start(arguments: &RolloutArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    let folder = EnvironmentFolder::new(&arguments.place.environment);
    let hold = folder.hold_after()?;
    let plan = begin::begin(&folder, &request(arguments)?, now())?;
    printer.say(&format!(
        "rollout {}: the plan is in `{}`",
        plan.id,
        folder.rollout(&plan.id).join("plan.md").display()
    ));
    if arguments.detach {
        drop(hold);
        return detach(&folder, &plan, arguments.router_threads, printer);
    }
    carry_out(&folder, &plan.id, arguments.router_threads, printer)
}

/// Carries a rollout out in this process, which has the environment.
fn carry_out(
    folder: &EnvironmentFolder,
    id: &str,
    threads: usize,
    printer: &Printer,
) -> Result<ExitCode, Failure> {
    let ended = runtime()?.block_on(async {
        let stop = Stop::listen().map_err(|error| Failure::of(ExitCode::Environment, &error))?;
        execute(folder, id, threads, stop, printer).await
    })?;
    Ok(show::ended(folder, id, &ended, printer))
}

/// Carries a rollout out to its end; whoever calls it has the environment.
pub(crate) async fn execute(
    folder: &EnvironmentFolder,
    id: &str,
    threads: usize,
    stop: Stop,
    printer: &Printer,
) -> Result<Ended, Failure> {
    let client = Client::of(&folder.router(), folder.read()?.router);
    client.ensure(threads).await.map_err(|error| Failure::of(ExitCode::Environment, &error))?;
    let executor = Executor::take_up(site(folder, threads, printer)?, id)?;
    let interrupted = async move {
        stop.wait().await;
        "interrupted at the terminal".to_owned()
    };
    Ok(executor.run(interrupted).await)
}

fn site(folder: &EnvironmentFolder, threads: usize, printer: &Printer) -> Result<Site, Failure> {
    Ok(Site {
        folder: folder.clone(),
        router: router::steer(&folder.router(), folder.read()?.router, threads),
        observer: Arc::new(Terminal::new(printer)),
        sender: HookSender::new(AddressList::default(), Backoff::default()),
        clock: now,
    })
}

/// Lets another process carry it out.
fn detach(
    folder: &EnvironmentFolder,
    plan: &Plan,
    threads: usize,
    printer: &Printer,
) -> Result<ExitCode, Failure> {
    let path = folder.rollout(&plan.id);
    let log = path.join("executor.log");
    let environment = |error: std::io::Error| {
        Failure::of(ExitCode::Environment, &error).during("cannot go on in the background")
    };
    let output = std::fs::File::create(&log).map_err(environment)?;
    let errors = output.try_clone().map_err(environment)?;
    Command::new(env::current_exe().map_err(environment)?)
        .args(["rollout", "resume", &plan.id, "--environment"])
        .arg(folder.path())
        .env("PROPHECY_ROUTER_THREADS", threads.to_string())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(environment)?;
    let until = std::time::Instant::now() + BEGIN;
    while journal::entries(&path).is_ok_and(|entries| entries.is_empty()) {
        if std::time::Instant::now() >= until {
            let message = format!("the executor did not begin; see `{}`", log.display());
            return Err(Failure::new(ExitCode::Environment, message));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    printer.data(&plan.id, &serde_json::json!({ "schema": "prophecy.rollout/1", "id": plan.id }));
    printer.say("see where it is with `prophecy rollout status`");
    Ok(ExitCode::Done)
}

/// Tells whoever carries a rollout out.
fn say(order: &RolloutOrder, verb: Verb, printer: &Printer) -> Result<ExitCode, Failure> {
    let (folder, id) = find(&order.name)?;
    let command = command(order, verb);
    let answer = runtime()?.block_on(control::say(&folder.rollout(&id), &command, now())).map_err(
        |error| {
            Failure::of(ExitCode::Environment, &error)
                .hint(format!("take it up with `prophecy rollout resume {id}`"))
        },
    )?;
    printer.data(&answer.message, &answer);
    Ok(if answer.accepted { ExitCode::Done } else { ExitCode::Usage })
}

/// Goes on after a pause, or takes up what nobody carries out.
fn resume(order: &RolloutOrder, printer: &Printer) -> Result<ExitCode, Failure> {
    let (folder, id) = find(&order.name)?;
    match folder.hold() {
        Ok(_hold) => {
            let threads = env::var("PROPHECY_ROUTER_THREADS").ok().and_then(|it| it.parse().ok());
            carry_out(&folder, &id, threads.unwrap_or(1), printer)
        }
        Err(EnvironmentError::Held { .. }) => say(order, Verb::Resume, printer),
        Err(error) => Err(error.into()),
    }
}

/// Gives a rollout up: whoever carries it out is told, and if nobody does, it is done here.
fn give_up(order: &RolloutOrder, verb: Verb, printer: &Printer) -> Result<ExitCode, Failure> {
    let (folder, id) = find(&order.name)?;
    match folder.hold() {
        Ok(_hold) => {
            let state = journal::entries(&folder.rollout(&id))
                .map_err(|error| Failure::of(ExitCode::Environment, &error))?
                .last()
                .map_or(State::Queued, |entry| entry.state);
            if state.is_final() {
                return bring_back(&folder, &id, state, verb, printer);
            }
            let command = command(order, verb);
            let ended = runtime()?.block_on(async {
                let client = Client::of(&folder.router(), folder.read()?.router);
                if let Err(error) = client.ensure(1).await {
                    printer.warn(&error.to_string());
                }
                let executor = Executor::take_up(site(&folder, 1, printer)?, &id)?;
                Ok::<Ended, Failure>(executor.give_up(command.reason, command.actor).await)
            })?;
            Ok(show::ended(&folder, &id, &ended, printer))
        }
        Err(EnvironmentError::Held { .. }) => {
            let code = say(order, verb, printer)?;
            if code == ExitCode::Done { show::wait(&folder, &id, printer) } else { Ok(code) }
        }
        Err(error) => Err(error.into()),
    }
}

/// Brings back what ran before the last rollout: a rollout of its own, all at once.
fn bring_back(
    folder: &EnvironmentFolder,
    id: &str,
    state: State,
    verb: Verb,
    printer: &Printer,
) -> Result<ExitCode, Failure> {
    let environment = folder.read()?;
    let previous =
        environment.previous.filter(|_| verb == Verb::Rollback && state == State::Succeeded);
    let Some(previous) = previous else {
        return Err(Failure::new(ExitCode::Usage, format!("rollout `{id}` is {state} already")));
    };
    let mut settings = Settings::default();
    settings.gate.pass_over = Some(format!("rollback of `{id}`"));
    settings.soak = prophecy_core::system::Span(Duration::ZERO);
    let request = Request {
        candidate: previous.manifest,
        strategy: Strategy::BlueGreen,
        report: None,
        again: std::collections::BTreeSet::new(),
        settings,
        listen: None,
        name: None,
        router: None,
        actor: actor(),
    };
    let plan = begin::begin(folder, &request, now())?;
    printer.say(&format!("rollout {}: brings back what ran before `{id}`", plan.id));
    carry_out(folder, &plan.id, 1, printer)
}

/// Ends the router and every process of an environment; what is on record stays.
fn down(environment: &Path, printer: &Printer) -> Result<ExitCode, Failure> {
    let folder = EnvironmentFolder::new(environment);
    let _hold = folder.hold_after()?;
    let ended = runtime()?.block_on(teardown::down(&folder))?;
    printer.data(
        &format!("{ended} group(s) and the router have ended"),
        &serde_json::json!({ "schema": "prophecy.down/1", "groups": ended }),
    );
    Ok(ExitCode::Done)
}

fn command(order: &RolloutOrder, verb: Verb) -> control::Command {
    let (revision, reason) = (order.revision, order.reason.clone());
    control::Command { verb, revision, actor: actor(), reason }
}

/// Returns the folder, and the name of the rollout that is meant.
fn find(name: &RolloutName) -> Result<(EnvironmentFolder, String), Failure> {
    let folder = EnvironmentFolder::new(&name.place.environment);
    let known = folder.rollouts()?;
    let found = match &name.rollout {
        Some(id) => known.contains(id).then(|| id.clone()),
        None => known.last().cloned(),
    };
    let Some(id) = found else {
        let which = name.rollout.as_deref().unwrap_or("any");
        let message = format!("there is no rollout `{which}` in `{}`", folder.path().display());
        return Err(Failure::new(ExitCode::Usage, message)
            .hint("`prophecy rollout list` says which there are"));
    };
    Ok((folder, id))
}

fn request(arguments: &RolloutArguments) -> Result<Request, Failure> {
    let mut settings =
        arguments.settings.as_deref().map_or_else(|| Ok(Settings::default()), read_settings)?;
    if let Some(observe) = arguments.observe {
        settings.observe = observe;
    }
    if let Some(soak) = arguments.soak {
        settings.soak = soak;
    }
    if arguments.pass_over.is_some() {
        settings.gate.pass_over.clone_from(&arguments.pass_over);
    }
    settings.gate.wait |= arguments.when_open;
    settings.gate.not_before = arguments.at.or(settings.gate.not_before);
    let select = arguments.select.as_deref().map(select).transpose()?;
    Ok(Request {
        candidate: arguments.candidate.clone(),
        strategy: match arguments.strategy {
            StrategyName::Immediate => Strategy::Immediate,
            StrategyName::Rolling => Strategy::Rolling { batch: arguments.batch },
            StrategyName::BlueGreen => Strategy::BlueGreen,
            StrategyName::Canary => Strategy::Canary { steps: arguments.steps.clone() },
            StrategyName::Shadow => Strategy::Shadow { share: arguments.share },
            StrategyName::Ab => Strategy::Ab { share: arguments.share, select },
        },
        report: arguments.report.clone(),
        again: arguments.again.iter().cloned().collect(),
        settings,
        listen: arguments.listen,
        name: arguments.name.clone(),
        router: arguments.router.map(|router| match router {
            RouterName::Own => RouterKind::Own,
            RouterName::Haproxy => RouterKind::Haproxy,
        }),
        actor: actor(),
    })
}

/// Reads `rollout.yaml`.
pub(crate) fn read_settings(path: &Path) -> Result<Settings, Failure> {
    let attempt = format!("cannot use settings `{}`", path.display());
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::of(ExitCode::Environment, &error).during(&attempt))?;
    Settings::from_yaml(&text).map_err(|error| {
        Failure::of(ExitCode::Usage, &error)
            .during(&attempt)
            .hint("docs/rollouts.md lists every field")
    })
}

fn select(text: &str) -> Result<Select, Failure> {
    let parts = text.split_once(':').and_then(|(kind, rest)| {
        let (name, value) = rest.split_once('=')?;
        Some((kind, name.to_owned(), value.to_owned()))
    });
    match parts {
        Some(("header", name, value)) => Ok(Select::Header(name, value)),
        Some(("cookie", name, value)) => Ok(Select::Cookie(name, value)),
        _ => Err(Failure::new(ExitCode::Usage, format!("`{text}` does not say who is selected"))
            .hint("write `header:NAME=VALUE` or `cookie:NAME=VALUE`")),
    }
}

fn actor() -> String {
    env::var("USER").or_else(|_| env::var("LOGNAME")).unwrap_or_else(|_| "unknown".to_owned())
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
