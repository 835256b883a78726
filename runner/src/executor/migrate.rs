//! The migration before a candidate, and the one back.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::migration::{Back, Forward};
use crate::settings::Migration;

/// Runs the migration unless it has ended well before; that it was begun is written down first.
pub(super) async fn forward(rollout: &Path, migration: &Migration) -> Result<(), String> {
    let (begun, ended) = (rollout.join("migration.begun"), rollout.join("migration.ended"));
    if ended.exists() {
        return Ok(());
    }
    fs::write(&begun, "").map_err(|error| format!("the migration is not begun: {error}"))?;
    run(&migration.command, rollout, migration.within.0).await?;
    fs::write(&ended, "").map_err(|error| error.to_string())
}

/// Says how far the migration has come.
pub(crate) fn progress(rollout: &Path) -> (Forward, Back) {
    let is = |name: &str| rollout.join(name).exists();
    let forward = if is("migration.begun") { Forward::Started } else { Forward::NotStarted };
    let back = match (is("migration.back"), is("migration.back-failed")) {
        (true, _) => Back::Done,
        (_, true) => Back::Failed,
        _ => Back::NotRun,
    };
    (forward, back)
}

/// Runs the migration back, and notes how it ended.
pub(crate) async fn back(rollout: &Path, command: &[String], within: Duration) -> Back {
    let ended = run(command, rollout, within).await;
    let (name, back) = match ended {
        Ok(()) => ("migration.back", Back::Done),
        Err(_) => ("migration.back-failed", Back::Failed),
    };
    // On a full disk it is asked again whether it can be run.
    drop(fs::write(rollout.join(name), ended.err().unwrap_or_default()));
    back
}

async fn run(command: &[String], rollout: &Path, within: Duration) -> Result<(), String> {
    let (program, arguments) = command.split_first().expect("settings are checked");
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(rollout.join("migration.log"))
        .map_err(|error| error.to_string())?;
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("the migration `{program}` cannot be run: {error}"))?;
    match timeout(within, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("the migration `{program}` ended with {status}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the migration `{program}` took longer than {} s", within.as_secs())),
    }
}
