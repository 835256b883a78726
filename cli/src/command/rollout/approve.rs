//! Signing a plan, or refusing it.

use std::path::Path;

use prophecy_core::Timestamp;
use prophecy_runner::approval::{Judgement, KeyRing, PrivateKey, PublicKey, Statement, keep};
use prophecy_runner::executor::gate::STAGE;
use prophecy_runner::journal;

use super::{find, now, show};
use crate::arguments::ApproveArguments;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;

/// Makes a key, and says what to put into the ring.
pub(super) fn key(out: &Path, actor: &str, printer: &Printer) -> Result<ExitCode, Failure> {
    let environment = |error: &(dyn std::error::Error + 'static)| {
        Failure::of(ExitCode::Environment, error)
            .during(format!("cannot make key `{}`", out.display()))
    };
    let private = PrivateKey::generate().map_err(|error| environment(&error))?;
    private.write_file(out).map_err(|error| environment(&error))?;
    let mut ring = KeyRing::default();
    let public = PublicKey::of(&private, actor);
    ring.insert(public.clone()).map_err(|error| environment(&error))?;
    let yaml = ring.to_yaml().map_err(|error| environment(&error))?;
    printer.data(&yaml, &public);
    printer.say("put this into the file that `approvals.keys` names");
    Ok(ExitCode::Done)
}

/// Signs what is planned as it stands now.
pub(super) fn sign(arguments: &ApproveArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    let (folder, id) = find(&arguments.name)?;
    let path = folder.rollout(&id);
    let plan = show::read_plan(&path)?;
    let entries =
        journal::entries(&path).map_err(|error| Failure::of(ExitCode::Environment, &error))?;
    let private = PrivateKey::read_file(&arguments.key)
        .map_err(|error| Failure::of(ExitCode::Environment, &error))?;
    let at = now();
    let nanos = i64::try_from(arguments.valid.0.as_nanos()).unwrap_or(i64::MAX);
    let statement = Statement {
        rollout: id.clone(),
        revision: entries.last().map_or(0, |entry| entry.revision),
        stage: STAGE.to_owned(),
        decision: if arguments.reject { Judgement::Reject } else { Judgement::Approve },
        at,
        expires_at: Timestamp(at.0.saturating_add(nanos)),
        reason: arguments.reason.clone(),
        plan_digest: plan.digest(),
        candidate_digest: plan.candidate.digest,
    };
    let approval = statement.sign(&arguments.actor, &private);
    keep(&path, &approval).map_err(|error| {
        Failure::of(ExitCode::Environment, &error)
            .during(format!("cannot write into `{}`", path.display()))
    })?;
    let words = if arguments.reject { "refused" } else { "approved" };
    printer.data(
        &format!(
            "{words}: rollout {id}, revision {}, plan {}",
            approval.revision,
            &approval.plan_digest[..12]
        ),
        &approval,
    );
    Ok(ExitCode::Done)
}
