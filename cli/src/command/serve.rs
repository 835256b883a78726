//! `prophecy serve`: the API and the dashboard.

use std::path::Path;
use std::sync::Arc;

use prophecy_control_plane::local::{LocalOptions, LocalRollouts};
use prophecy_control_plane::{Limits, NewSecret, Scope, ServeOptions, Server};
use prophecy_runner::settings::Settings;
use prophecy_simulator::Model;
use prophecy_store::{Page, Role, Store};
use serde_json::json;
use tokio::sync::watch;

use super::rollout::read_settings;
use super::runtime;
use super::simulate::read_model;
use super::store::now;
use crate::arguments::ServeArguments;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::key_file::load_or_create_bytes;
use crate::printer::Printer;
use crate::stop::Stop;

/// Serves until it is told to stop.
pub(crate) fn run(arguments: &ServeArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    if !(arguments.rate_limit > 0.0 && arguments.rate_limit.is_finite()) {
        return Err(Failure::new(ExitCode::Usage, "`--rate-limit` needs a number above 0"));
    }
    let (key, created) = load_or_create_bytes(arguments.key.as_deref(), "serve-key")?;
    if let Some(path) = created {
        printer.say(&format!("created key `{}`: keep it as long as the store", path.display()));
    }
    let settings =
        arguments.settings.as_deref().map_or_else(|| Ok(Settings::default()), read_settings)?;
    let models = arguments.model.iter().map(|path| named_model(path)).collect::<Result<_, _>>()?;
    let program =
        std::env::current_exe().map_err(|error| Failure::of(ExitCode::Environment, &error))?;
    runtime()?.block_on(async {
        let stop = Stop::listen().map_err(|error| Failure::of(ExitCode::Environment, &error))?;
        let store = Arc::new(Store::open(&arguments.place.store).await?);
        let options = LocalOptions {
            environments: arguments.environment.clone(),
            manifests: arguments.manifests.clone(),
            settings,
            program,
        };
        let rollouts = Arc::new(LocalRollouts::new(options, Arc::clone(&store)));
        // What has happened before is there from the first answer on.
        rollouts.catch_up().await;
        let limits = Limits {
            requests_per_second: arguments.rate_limit,
            requests_burst: 2.0 * arguments.rate_limit,
            webhook_hosts: arguments.webhook_host.clone(),
            ..Limits::default()
        };
        let follower = Arc::clone(&rollouts);
        let options = ServeOptions {
            listen: arguments.listen,
            limits,
            collector: arguments.otlp,
            models,
            ..ServeOptions::new(Arc::clone(&store), rollouts, key)
        };
        let server = Server::start(options)
            .await
            .map_err(|error| Failure::of(ExitCode::Environment, &error))?;
        let (end, ending) = watch::channel(false);
        let following = tokio::spawn(follower.follow(ending));
        first_token(&store, printer).await?;
        let address = server.address();
        printer.data(
            &format!("listening on http://{address}"),
            &json!({ "schema": "prophecy.serve/1", "address": address.to_string() }),
        );
        stop.wait().await;
        end.send_replace(true);
        // A task that panicked is at its end, too.
        drop(following.await);
        server.stop().await;
        store.close().await;
        Ok(ExitCode::Done)
    })
}

/// Reads a model; its name is its system's and its file's.
fn named_model(path: &Path) -> Result<(String, Model), Failure> {
    let model = read_model(path)?;
    let file = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    Ok((format!("{} ({})", model.system, file.unwrap_or_default()), model))
}

/// Makes the first token of a store that has none.
async fn first_token(store: &Store, printer: &Printer) -> Result<(), Failure> {
    if !store.list_tokens(&Page::newest(1)).await?.is_empty() {
        return Ok(());
    }
    let made = NewSecret::make("first", Role::Admin, &Scope::everywhere(), now(), None);
    let secret = made.map_err(|error| Failure::new(ExitCode::Environment, error.to_string()))?;
    let text = secret.store(store).await?;
    printer.say(&format!("the first token, shown once (role admin): {text}"));
    Ok(())
}
