//! The demo's rollouts: a harmless build that is promoted, and a harmful one that is stopped.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prophecy_core::system::{Share, Span};
use prophecy_core::{Probability, Seed};
use prophecy_runner::State;
use prophecy_runner::abort::Ended;
use prophecy_runner::begin::{self, Request};
use prophecy_runner::environment::EnvironmentFolder;
use prophecy_runner::settings::{Settings, Undecided};
use prophecy_runner::strategy::{Strategy, Weight};
use prophecy_runner::teardown;
use prophecy_twin::AllowList;
use prophecy_twin::replay::{Target, drive};

use super::traffic::{self, Day};
use crate::command::{accuracy, rollout};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::stop::Stop;

/// The visitors while rollouts are under way: more than enough of a day.
const VISITORS: Day = Day { seconds: 240.0, rate_hz: 60.0 };

/// Where the rollouts happen.
pub(super) struct Stage<'a> {
    /// The demo's folder.
    pub(super) out: &'a Path,
    /// The shop's files.
    pub(super) shop: &'a Path,
    /// The seed of the visitors.
    pub(super) seed: Seed,
    /// Ctrl-C.
    pub(super) stop: &'a Stop,
    /// Who talks.
    pub(super) printer: &'a Printer,
}

// === impl Stage ===

impl Stage<'_> {
    /// Rolls out both candidates, and scores the forecasts. Says whether both ended as they should.
    pub(super) async fn roll_out(&self) -> Result<bool, Failure> {
        let folder = EnvironmentFolder::new(&self.out.join("environment"));
        let _hold = folder.hold()?;
        let as_hoped = self.rollouts(&folder).await;
        // Whatever happened, nothing is left running.
        teardown::down(&folder).await?;
        let as_hoped = as_hoped?;
        let records = accuracy::of_environment(folder.path())?;
        let page = self.out.join("accuracy.html");
        self.printer.say("");
        accuracy::score(&records, self.seed.0, Some(&page), self.printer)?;
        Ok(as_hoped)
    }

    async fn rollouts(&self, folder: &EnvironmentFolder) -> Result<bool, Failure> {
        self.printer.say("\n6. the shop is deployed behind the router, and visited all the time");
        let first = self.request("system.yaml", None, None);
        let first = self.carry_out(folder, &first).await?;
        if first.state != State::Succeeded {
            return Err(Failure::new(ExitCode::Environment, first.notes.join("; ")));
        }
        let listen = folder.read()?.listen;
        let flag = self.stop.flag();
        let visits = Arc::new(traffic::requests(VISITORS, self.seed.derive("visitors")));
        let visitors = tokio::spawn(async move {
            let target = Target { name: "shop".to_owned(), address: listen };
            let allow = AllowList::default();
            drop(drive(visits, &[target], &allow, Seed(0), &flag, &|_| ()).await);
        });
        self.printer.say("\n7. refactor: rolled out with its forecast");
        let refactor = self.request("refactor.yaml", Some("report-refactor"), None);
        let promoted = self.carry_out(folder, &refactor).await?;
        self.printer.say("\n8. n-plus-one: the gate refuses it");
        let harmful = self.request("n-plus-one.yaml", Some("report-n-plus-one"), None);
        let refused = self.carry_out(folder, &harmful).await?;
        self.printer.say("\n9. n-plus-one: the gate is passed over, to see what happens");
        let reason = Some("a demonstration".to_owned());
        let harmful = self.request("n-plus-one.yaml", Some("report-n-plus-one"), reason);
        let stopped = self.carry_out(folder, &harmful).await?;
        visitors.abort();
        Ok(promoted.state == State::Succeeded
            && refused.state == State::RolledBack
            && stopped.state == State::RolledBack)
    }

    fn request(&self, manifest: &str, report: Option<&str>, pass_over: Option<String>) -> Request {
        let mut settings = Settings {
            observe: Span(Duration::from_secs(25)),
            settle: Span(Duration::from_secs(2)),
            soak: Span(Duration::from_secs(if report.is_some() { 5 } else { 0 })),
            ..Settings::default()
        };
        settings.gate.pass_over = pass_over;
        settings.analysis.errors = Share(Probability::clamped(0.02));
        settings.analysis.undecided = Undecided::RollBack;
        let half = Weight::of_parts(50_000);
        Request {
            candidate: self.shop.join(manifest),
            strategy: Strategy::Canary { steps: vec![half] },
            report: report.map(|name| self.out.join(name)),
            again: std::collections::BTreeSet::new(),
            settings,
            listen: prophecy_twin::launch::free_port().map(|port| ([127, 0, 0, 1], port).into()),
            name: Some("demo".to_owned()),
            router: None,
            actor: "demo".to_owned(),
        }
    }

    async fn carry_out(
        &self,
        folder: &EnvironmentFolder,
        request: &Request,
    ) -> Result<Ended, Failure> {
        let plan = begin::begin(folder, request, rollout::now())?;
        let ended = rollout::execute(folder, &plan.id, 1, self.stop.clone(), self.printer).await?;
        if self.stop.requested() {
            return Err(Failure::new(ExitCode::Interrupted, "interrupted"));
        }
        Ok(ended)
    }
}
