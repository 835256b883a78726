//! The judge: is the candidate worse than what runs, or than what was promised or foretold?
//!
//! It is fed second by second and can be asked at any moment: every bound holds at all times at once, so that
//! looking often costs nothing. A candidate passes on positive evidence only; without data nothing passes.
//!
//! | check | fails when | passes when |
//! | --- | --- | --- |
//! | errors beside the control | a [race] says more than its part explains | the bounds of both rates show a difference within the tolerance |
//! | latency beside the control | slow requests [sway] to the candidate | the median is shown to be within the tolerance, and the tail to be at most twice as full |
//! | a promise | the bounds show that it is broken, and not by the control as well | |
//! | the forecast | the bounds lie outside of the interval, by more than the tolerance | |

mod bounds;
mod latency;
mod options;
mod race;
mod sway;

use std::collections::BTreeMap;

use prophecy_predictor::report::Metric;
use serde::{Deserialize, Serialize};

use self::latency::Latency;
pub use self::options::JudgeOptions;
use self::race::Race;
use crate::slice::{Histogram, Slice};

/// Compares two arms.
#[derive(Clone, Debug)]
pub struct Judge {
    options: JudgeOptions,
    errors: Race,
    latency: Latency,
    routes: BTreeMap<String, [Route; 2]>,
}

/// What one arm showed of one route.
#[derive(Clone, Debug, Default)]
struct Route {
    requests: u64,
    failures: u64,
    latency: Histogram,
}

/// What is said of a check, or of all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Shown to be no worse.
    Pass,
    /// Shown to be worse.
    Fail,
    /// Neither.
    Inconclusive,
    /// There was nothing to look at.
    NoData,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its name, which stays the same.
    pub name: String,
    /// What is said.
    pub finding: Finding,
    /// Whether it is only reported.
    pub dry_run: bool,
    /// Whether passing needs it.
    pub needed: bool,
    /// What control and candidate showed, in the unit.
    pub values: [Option<f64>; 2],
    /// Where the candidate's true value lies, whenever one looks, where that can be said.
    pub interval: Option<[f64; 2]>,
    /// What the candidate must not exceed, where that is a number.
    #[serde(default)]
    pub bound: Option<f64>,
    /// The unit of the values.
    pub unit: String,
    /// Why, in a sentence.
    pub words: String,
}

/// What is said of everything at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// All together.
    pub finding: Finding,
    /// Requests of control and candidate.
    pub requests: [u64; 2],
    /// One by one.
    pub checks: Vec<Check>,
}

// === impl Judge ===

impl Judge {
    /// Has seen nothing yet.
    pub fn new(options: JudgeOptions) -> Self {
        let latency = Latency::new(options.latency);
        Self { options, errors: Race::new(), latency, routes: BTreeMap::new() }
    }

    /// Takes what control and candidate showed in a second; seconds come in order.
    pub fn observe(&mut self, second: u64, control: &[Slice], candidate: &[Slice]) {
        let mut counts = [[0; 2]; 2];
        let mut latency = [Histogram::default(), Histogram::default()];
        for (arm, slices) in [control, candidate].into_iter().enumerate() {
            for slice in slices {
                counts[0][arm] += slice.failures;
                counts[1][arm] += slice.requests;
                latency[arm].merge(&slice.latency);
                let route = &mut self.routes.entry(slice.route.clone()).or_default()[arm];
                route.requests += slice.requests;
                route.failures += slice.failures;
                route.latency.merge(&slice.latency);
            }
        }
        let [failures, requests] = counts;
        self.errors.observe(failures, requests);
        self.latency.observe(second, &latency);
    }

    /// Says what can be said now.
    pub fn judgement(&self) -> Judgement {
        let mut checks = Vec::new();
        if self.options.compared {
            checks.push(self.errors_check());
            checks.extend(self.latency.checks(self.options.alpha, self.options.miss));
        }
        let bounded = self.options.bounds.len().max(1) as f64;
        for bound in &self.options.bounds {
            let Some([control, candidate]) = self.routes.get(&bound.route) else { continue };
            let alpha = 0.3 * self.options.alpha / bounded;
            let check = match bound.metric {
                Metric::ErrorRate => bound.errors(control, candidate, alpha),
                metric => match metric.level() {
                    Some(level) => bound.quantile(level, control, candidate, alpha),
                    None => continue,
                },
            };
            checks.push(check);
        }
        for check in &mut checks {
            check.dry_run = self.options.dry_run.contains(&check.name);
        }
        let requests = self.errors.requests();
        Judgement { finding: self.finding(&checks, requests), requests, checks }
    }

    fn finding(&self, checks: &[Check], requests: [u64; 2]) -> Finding {
        let mut deciding = checks.iter().filter(|check| !check.dry_run);
        if deciding.clone().any(|check| check.finding == Finding::Fail) {
            return Finding::Fail;
        }
        let empty = requests[1] == 0 || (self.options.compared && requests[0] == 0);
        if empty {
            return Finding::NoData;
        }
        let enough = requests.iter().all(|count| *count >= self.options.minimum_requests);
        let needed = deciding.clone().filter(|check| check.needed).count();
        let shown = deciding.all(|check| !check.needed || check.finding == Finding::Pass);
        if self.options.compared && enough && needed > 0 && shown {
            Finding::Pass
        } else {
            Finding::Inconclusive
        }
    }

    /// Compares the error rates over all routes.
    fn errors_check(&self) -> Check {
        let (counts, requests) = (self.errors.counts(), self.errors.requests());
        let rate =
            |arm: usize| (requests[arm] > 0).then(|| counts[arm] as f64 / requests[arm] as f64);
        let values = [rate(0), rate(1)];
        let alpha = self.options.alpha;
        let evidence = self.errors.evidence();
        // Half of the alarms that may be false are the errors'.
        let limit = 2.0 / alpha;
        let control = bounds::share(counts[0], requests[0], self.options.miss);
        let candidate = bounds::share(counts[1], requests[1], self.options.miss);
        let tolerance = self.options.errors;
        let (finding, words) = match values {
            [Some(before), Some(after)] if evidence >= limit => (
                Finding::Fail,
                format!(
                    "{} of {} requests fail ({:.2} %), beside {} of {} of the control ({:.2} %); chance makes that so at most once in {evidence:.0} times",
                    counts[1],
                    requests[1],
                    100.0 * after,
                    counts[0],
                    requests[0],
                    100.0 * before
                ),
            ),
            // What the candidate may have more than the control's least is within the tolerance, or it has
            // nearly none at all.
            [Some(before), Some(_)] if candidate[1] <= before.max(control[0]) + tolerance => (
                Finding::Pass,
                format!(
                    "at most {:.2} % of the requests fail, within {:.1} points of the control's {:.2} %",
                    100.0 * candidate[1],
                    100.0 * tolerance,
                    100.0 * before
                ),
            ),
            [Some(_), Some(after)] => (
                Finding::Inconclusive,
                format!(
                    "{:.2} % of {} requests fail, which may be up to {:.2} %: too few to say that it is within {:.1} points of the control",
                    100.0 * after,
                    requests[1],
                    100.0 * candidate[1],
                    100.0 * tolerance
                ),
            ),
            _ => (Finding::NoData, "one of the arms had no request".to_owned()),
        };
        Check {
            name: "errors".to_owned(),
            finding,
            dry_run: false,
            needed: true,
            values,
            interval: (requests[1] > 0).then_some(candidate),
            bound: None,
            unit: "share".to_owned(),
            words,
        }
    }
}

// === impl Judgement ===

impl Judgement {
    /// Says whether everything that is needed is shown.
    pub fn passed(&self) -> bool {
        self.finding == Finding::Pass
    }

    /// Returns why it failed, if it did.
    pub fn failure(&self) -> Option<String> {
        let failed = self.checks.iter().filter(|it| !it.dry_run && it.finding == Finding::Fail);
        let words: Vec<String> = failed.map(|it| format!("{}: {}", it.name, it.words)).collect();
        (self.finding == Finding::Fail).then(|| words.join("; "))
    }

    /// Returns what is missing for a pass, in words.
    pub fn missing(&self) -> String {
        if self.finding == Finding::NoData {
            let [control, candidate] = self.requests;
            return format!("the control had {control} requests, the candidate {candidate}");
        }
        let open = self.checks.iter().filter(|it| it.needed && it.finding != Finding::Pass);
        let words: Vec<String> = open.map(|it| format!("{}: {}", it.name, it.words)).collect();
        if words.is_empty() {
            let [control, candidate] = self.requests;
            return format!("only {control} and {candidate} requests");
        }
        words.join("; ")
    }
}
