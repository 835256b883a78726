//! What has to be so before anything is started.

use prophecy_predictor::Verdict;
use serde_json::json;

use super::{Executor, Next};
use crate::machine::State;

// === impl Executor ===

impl Executor {
    /// Asks the forecast, and whether the candidate was rejected before.
    pub(super) fn gate(&self) -> Next {
        let gate = &self.plan.settings.gate;
        let refused =
            |verdict: &str, why: String| Next::give_up_for(why, json!({ "gate": verdict }));
        if let Some(reason) = &gate.pass_over {
            return self.to(State::Provisioning, format!("the gate is passed over: {reason}"));
        }
        if let Some(rollout) = self.environment.rejected.get(&self.plan.candidate.digest) {
            return refused(
                "no_go",
                format!("this candidate was rolled back by `{rollout}` and is marked as rejected"),
            );
        }
        match &self.plan.forecast {
            None if gate.required => refused(
                "not_enough_evidence",
                "a forecast is required, and there is none".to_owned(),
            ),
            None => self.to(State::Provisioning, "no forecast was asked for"),
            Some(forecast) if forecast.verdict == Verdict::NotEnoughEvidence => {
                refused("not_enough_evidence", "the forecast has not enough evidence".to_owned())
            }
            Some(forecast) if forecast.verdict == Verdict::NoGo => {
                refused("no_go", format!("the forecast says no-go at risk {}", forecast.risk))
            }
            Some(forecast) if f64::from(forecast.risk) > gate.max_risk => refused(
                "no_go",
                format!("risk {} is above the limit of {:.0}", forecast.risk, gate.max_risk),
            ),
            Some(forecast) => self
                .to(State::Provisioning, format!("the forecast says go at risk {}", forecast.risk)),
        }
    }
}
