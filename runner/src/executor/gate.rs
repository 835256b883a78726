//! What has to be so before anything is started: forecast, windows, approvals, hooks.

use std::fs;
use std::time::Duration;

use prophecy_predictor::Verdict;
use serde_json::json;
use tokio::time::sleep;

use super::{Executor, Next};
use crate::abort::chain;
use crate::approval::{self, Expected, KeyRing, Outcome, RejectMarks, SelfApproval, tally};
use crate::hook::HookKind;
use crate::instant;
use crate::machine::State;
use crate::settings::Approvals;
use crate::strategy::Weight;
use crate::window::{Action, Admission, BreakGlass, Subject, admit};

/// The stage that approvals of a whole rollout name.
pub const STAGE: &str = "gate";

/// How often approvals are looked for.
const LOOK: Duration = Duration::from_millis(500);

// === impl Executor ===

impl Executor {
    /// Asks everybody who may refuse.
    pub(super) async fn gate(&self) -> Next {
        let forecast = match self.forecast() {
            Ok(words) => words,
            Err(next) => return next,
        };
        self.scheduled().await;
        let window = match self.windows().await {
            Ok(words) => words,
            Err(next) => return next,
        };
        let approvals = match &self.plan.settings.approvals {
            Some(approvals) => match self.approvals(approvals).await {
                Ok(words) => words,
                Err(next) => return next,
            },
            None => String::new(),
        };
        for kind in [HookKind::ConfirmRollout, HookKind::PreRollout] {
            if let Err(words) = self.ask(kind, Weight::ZERO).await {
                return refused("no_go", words);
            }
        }
        self.to(State::Provisioning, format!("{forecast}{window}{approvals}"))
    }

    /// Asks the forecast, and whether the candidate was rejected before.
    fn forecast(&self) -> Result<String, Next> {
        let gate = &self.plan.settings.gate;
        if let Some(reason) = &gate.pass_over {
            return Ok(format!("the gate is passed over: {reason}"));
        }
        if let Some(rollout) = self.environment.rejected.get(&self.plan.candidate.digest) {
            return Err(refused(
                "no_go",
                format!("this candidate was rolled back by `{rollout}` and is marked as rejected"),
            ));
        }
        let (verdict, words) = match &self.plan.forecast {
            None if gate.required => {
                ("not_enough_evidence", "a forecast is required, and there is none".to_owned())
            }
            None => return Ok("no forecast was asked for".to_owned()),
            Some(forecast) => match forecast.verdict {
                Verdict::NotEnoughEvidence => {
                    ("not_enough_evidence", "the forecast has not enough evidence".to_owned())
                }
                Verdict::NoGo => {
                    ("no_go", format!("the forecast says no-go at risk {}", forecast.risk))
                }
                Verdict::Go if f64::from(forecast.risk) > gate.max_risk => (
                    "no_go",
                    format!("risk {} is above the limit of {:.0}", forecast.risk, gate.max_risk),
                ),
                Verdict::Go => {
                    return Ok(format!("the forecast says go at risk {}", forecast.risk));
                }
            },
        };
        Err(refused(verdict, words))
    }

    /// Waits until the time that the rollout is to begin at.
    async fn scheduled(&self) {
        let Some(at) = self.plan.settings.gate.not_before else { return };
        if (self.site.clock)() < at {
            self.site.observer.noted(&self.plan, &format!("begins at {}", instant::write(at)));
        }
        // The clock may be set meanwhile.
        while (self.site.clock)() < at {
            sleep(LOOK).await;
        }
    }

    /// Asks the freeze windows, and waits until they are open if it is to.
    async fn windows(&self) -> Result<String, Next> {
        let mut told = None;
        loop {
            let words = match self.look_at_windows()? {
                Ok(words) => return Ok(words),
                Err(words) => words,
            };
            if !self.plan.settings.gate.wait {
                return Err(refused("no_go", words));
            }
            if told.as_ref() != Some(&words) {
                self.site.observer.noted(&self.plan, &format!("waits: {words}"));
                told = Some(words);
            }
            sleep(LOOK).await;
        }
    }

    /// Asks the freeze windows now, for every service that differs; says why they are closed, if one is.
    fn look_at_windows(&self) -> Result<Result<String, String>, Next> {
        let settings = &self.plan.settings;
        let windows =
            settings.checked_windows().map_err(|error| refused("no_go", chain(&error)))?;
        let glass = settings.gate.pass_over.as_deref();
        let glass = glass.and_then(|why| BreakGlass::new(&self.plan.created_by, why).ok());
        let now = (self.site.clock)();
        let mut words = String::new();
        for component in &self.plan.components {
            let subject = Subject {
                service: component.service.clone(),
                environment: self.plan.environment.clone(),
            };
            match admit(&windows, &subject, Action::Start, now, glass.as_ref()) {
                Ok(Admission::Admitted) => {}
                Ok(Admission::BrokeGlass(record)) => {
                    let closed = record.windows.join(", ");
                    words = format!("; {} passed the freeze `{closed}`", record.actor);
                }
                Ok(Admission::Refused { reason, reopens_at, .. }) => {
                    let again = reopens_at.map_or_else(
                        || "no opening is in sight".to_owned(),
                        |at| format!("it opens again at {}", instant::write(at)),
                    );
                    return Ok(Err(format!("{reason}; {again}")));
                }
                Err(error) => return Err(refused("no_go", chain(&error))),
            }
        }
        Ok(Ok(words))
    }

    /// Waits until enough people have signed what is planned, or one has refused it.
    async fn approvals(&self, approvals: &Approvals) -> Result<String, Next> {
        let ring = fs::read_to_string(&approvals.keys)
            .map_err(|error| error.to_string())
            .and_then(|text| KeyRing::parse(&text).map_err(|error| chain(&error)))
            .map_err(|words| {
                refused("no_go", format!("the keys of approvals cannot be used: {words}"))
            })?;
        let expected = Expected {
            rollout: self.plan.id.clone(),
            revision: self.journal.revision(),
            stage: STAGE.to_owned(),
            plan_digest: self.plan.digest(),
            candidate_digest: self.plan.candidate.digest.clone(),
            self_approval: if approvals.own {
                SelfApproval::Allowed
            } else {
                SelfApproval::ForbiddenTo(self.plan.created_by.clone())
            },
        };
        let mut told = None;
        loop {
            let records = approval::kept(&self.site.folder.rollout(&self.plan.id));
            let now = (self.site.clock)();
            let marks = RejectMarks::default();
            let tally = tally(&records, &ring, &expected, &marks, approvals.required, now);
            match tally.outcome {
                Outcome::Reached => {
                    let by: Vec<String> = tally.approved_by.into_iter().collect();
                    return Ok(format!("; approved by {}", by.join(", ")));
                }
                Outcome::Rejected { by, reason } => {
                    return Err(refused("no_go", format!("{by} rejects it: {reason}")));
                }
                Outcome::Missing { count } => {
                    let refused: Vec<String> =
                        tally.refused.iter().map(|(_, error)| error.to_string()).collect();
                    let words = format!(
                        "{count} approval(s) are missing; sign with `prophecy rollout approve {}`{}{}",
                        self.plan.id,
                        if refused.is_empty() { "" } else { "; not counted: " },
                        refused.join("; ")
                    );
                    if told.as_ref() != Some(&words) {
                        self.site.observer.noted(&self.plan, &words);
                        told = Some(words);
                    }
                }
            }
            sleep(LOOK).await;
        }
    }
}

fn refused(verdict: &str, why: impl Into<String>) -> Next {
    Next::give_up_for(why, json!({ "gate": verdict }))
}
