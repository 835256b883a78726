//! The shop as production: started, visited, captured, stopped.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prophecy_anonymizer::Policy;
use prophecy_core::Seed;
use prophecy_twin::production::{self, ProductionOptions, StartProductionError};
use prophecy_twin::replay::{PlannedRequest, Target, drive};
use prophecy_twin::{AllowList, LoadedSystem};

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::stop::Stop;
use crate::{key_file, progress};

/// A system to be run for a day.
#[derive(Debug)]
pub(super) struct Deployment<'a> {
    pub(super) system: &'a LoadedSystem,
    pub(super) dataset: &'a Path,
    pub(super) logs: &'a Path,
}

// === impl Deployment ===

impl Deployment<'_> {
    /// Runs the system under these requests, every edge captured.
    pub(super) async fn run(
        &self,
        requests: &[PlannedRequest],
        label: &str,
        stop: &Stop,
        printer: &Printer,
    ) -> Result<(), Failure> {
        let allow = AllowList::default();
        let arm = production::start(ProductionOptions {
            system: self.system,
            dataset: self.dataset,
            logs: self.logs,
            policy: Policy::named("replayable").expect("built in"),
            key: key_file::ephemeral()?,
            allow: &allow,
        });
        let arm = arm.await.map_err(|error| match error {
            StartProductionError::Create(error) => Failure::of(ExitCode::Environment, &error),
            StartProductionError::Start(error) => Failure::from(error),
        })?;
        let target = Target { name: "production".to_owned(), address: arm.entry() };
        let plan = Arc::new(requests.to_vec());
        let bar = progress::bar(printer, label, plan.len() as u64, "requests");
        if printer.draws_progress() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        let tell = |done: u64| bar.set_position(done);
        let replies = drive(plan, &[target], &allow, Seed(0), &stop.flag(), &tell).await;
        bar.finish_and_clear();
        let stopped = arm.stop().await;
        if stop.requested() {
            return Err(Failure::new(ExitCode::Interrupted, "interrupted"));
        }
        let replies = replies.map_err(|error| Failure::of(ExitCode::Bug, &error))?;
        stopped.map_err(|error| Failure::of(ExitCode::Environment, &error))?;
        let unanswered = replies.iter().filter(|reply| reply.answer.is_err()).count();
        if unanswered > 0 {
            printer.warn(&format!("{unanswered} of {} visitors got no answer", replies.len()));
        }
        Ok(())
    }
}
