//! `prophecy store`: what is in the store, tokens, backups, and what is old enough to go.

use std::fmt::Write as _;
use std::path::PathBuf;

use prophecy_control_plane::trials::{self, Imported};
use prophecy_control_plane::{NewSecret, Scope};
use prophecy_core::Timestamp;
use prophecy_datasets::TrialRecords;
use prophecy_store::{Content, Retention, Role, Store};
use serde_json::json;

use super::runtime;
use crate::arguments::{RoleName, StoreCommand, TokenArguments};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;

/// Runs a subcommand.
pub(crate) fn run(command: &StoreCommand, printer: &Printer) -> Result<ExitCode, Failure> {
    runtime()?.block_on(async {
        match command {
            StoreCommand::Info { place } => {
                let content = Store::open(&place.store).await?.content().await?;
                show("the store holds", &content, printer);
            }
            StoreCommand::Token(arguments) => token(arguments, printer).await?,
            StoreCommand::Backup { place, to, dump } => {
                let store = Store::open(&place.store).await?;
                let copied = if *dump { store.dump(to).await } else { store.backup(to).await };
                show("the backup holds", &copied?, printer);
            }
            StoreCommand::Restore { place, from } => {
                let content = Store::restore(from, &place.store).await?;
                show("restored", &content, printer);
            }
            StoreCommand::Import { place, trials } => import(&place.store, trials, printer).await?,
            StoreCommand::Prune { place, logs, records } => {
                let store = Store::open(&place.store).await?;
                let retention =
                    Retention { logs: logs.0, records: records.0, ..Retention::default() };
                let gone = store.retain(now(), &retention).await?;
                let found = json!({
                    "schema": "prophecy.store-prune/1", "logs": gone.logs,
                    "deliveries": gone.deliveries, "rollouts": gone.rollouts,
                    "predictions": gone.predictions, "events": gone.events,
                    "tokens": gone.tokens, "idempotency_keys": gone.idempotency_keys,
                });
                let human = format!(
                    "deleted {} predictions, {} rollouts, {} events, {} log lines, {} deliveries, {} tokens",
                    gone.predictions,
                    gone.rollouts,
                    gone.events,
                    gone.logs,
                    gone.deliveries,
                    gone.tokens
                );
                printer.data(&human, &found);
            }
        }
        Ok(ExitCode::Done)
    })
}

async fn import(url: &str, folders: &[PathBuf], printer: &Printer) -> Result<(), Failure> {
    let store = Store::open(url).await?;
    let mut all = Imported::default();
    for folder in folders {
        let found = trials::import(&store, &TrialRecords::read(folder)?).await?;
        all.predictions += found.predictions;
        all.settled += found.settled;
        all.known += found.known;
    }
    let Imported { predictions, settled, known } = all;
    printer.data(
        &format!("{predictions} predictions, {settled} with an outcome; {known} were there"),
        &json!({
            "schema": "prophecy.store-import/1", "predictions": predictions, "settled": settled,
            "known": known,
        }),
    );
    Ok(())
}

async fn token(arguments: &TokenArguments, printer: &Printer) -> Result<(), Failure> {
    let store = Store::open(&arguments.place.store).await?;
    let role = match arguments.role {
        RoleName::Viewer => Role::Viewer,
        RoleName::Deployer => Role::Deployer,
        RoleName::Approver => Role::Approver,
        RoleName::Admin => Role::Admin,
    };
    let all =
        |names: &[String]| if names.is_empty() { vec!["*".to_owned()] } else { names.to_vec() };
    let scope =
        Scope { systems: all(&arguments.system), environments: all(&arguments.environment) };
    let now = now();
    let ends = arguments.valid.map(|time| now.plus_nanos(time.0.as_nanos() as u64));
    let secret = NewSecret::make(&arguments.name, role, &scope, now, ends)
        .map_err(|error| Failure::new(ExitCode::Environment, error.to_string()))?;
    let id = secret.token.id.clone();
    let text = secret.store(&store).await?;
    printer.say("this is shown once; only a hash of it is kept:");
    printer.data(&text, &json!({ "schema": "prophecy.token/1", "id": id, "token": text }));
    Ok(())
}

fn show(words: &str, content: &Content, printer: &Printer) {
    let mut human = words.to_owned();
    for (table, count) in &content.counts {
        write!(human, "\n  {count:>9} {table}").expect("text grows");
    }
    if content.counts.is_empty() {
        human.push_str(" nothing");
    }
    let json = json!({
        "schema": "prophecy.store/1", "counts": content.counts, "digest": content.digest,
    });
    printer.data(&human, &json);
}

/// Returns the time.
pub(super) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| since.as_nanos() as i64))
}
