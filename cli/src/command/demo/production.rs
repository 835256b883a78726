//! The shop as production: started, visited, captured, stopped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prophecy_anonymizer::{Policy, Sanitizer};
use prophecy_core::Seed;
use prophecy_datasets::DatasetWriter;
use prophecy_twin::launch::{Arm, ArmOptions};
use prophecy_twin::replay::{PlannedRequest, Target, drive};
use prophecy_twin::run::dataset_options;
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
        let policy = Policy::named("replayable").expect("built in");
        let sanitizer = Sanitizer::new(policy, key_file::ephemeral()?);
        let writer = DatasetWriter::create(self.dataset, dataset_options("demo", &sanitizer))
            .map_err(|error| Failure::of(ExitCode::Environment, &error))?;
        let allow = AllowList::default();
        let arm = Arm::start(ArmOptions {
            name: "production".to_owned(),
            system: self.system,
            writer,
            sanitizer,
            logs: self.logs.to_owned(),
            allow: &allow,
            standins: BTreeMap::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        });
        let arm = arm.await?;
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
