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
//! | a gauge or metric beside the control | an [excess] over the tolerance is shown | it is shown that there is none, where passing needs it |
//! | what can leak | [growth] beside the control is shown, and has come to something | |
//! | a ceiling, or a metric's limit | three samples in a row lie beyond it | the last three do not, where passing needs it |
//!
//! # What may be wrong
//!
//! Each step, and the soak, has the same part of a rollout's `alpha`, so that together they spend it once. Of a
//! step's part one half is for errors, a fifth for latency, and three twentieths each for what is promised or
//! foretold and for what is sampled; within the last two every check that decides has as much. The parts add up to one, so that a
//! healthy candidate is stopped by chance with a probability of at most `alpha`, however the checks depend on each
//! other and however often one looks. Ceilings and limits are no matter of chance, and have no part.

mod bounds;
mod excess;
mod gauge;
mod growth;
mod latency;
mod options;
mod race;
mod sway;
mod watched;

use std::collections::BTreeMap;

use prophecy_predictor::report::Metric;
use serde::{Deserialize, Serialize};

pub use self::gauge::{Gauge, Rule, Sample};
use self::latency::Latency;
pub use self::options::{Control, JudgeOptions};
use self::race::Race;
use self::watched::Watched;
use crate::slice::{Histogram, Slice};

/// Which part of the alarms that may be false is for promises and the forecast together.
const BOUNDS_PART: f64 = 0.15;

/// Which part is for everything that is sampled.
const SAMPLED_PART: f64 = 0.15;

/// Compares two arms.
#[derive(Clone, Debug)]
pub struct Judge {
    options: JudgeOptions,
    errors: Race,
    latency: Latency,
    routes: BTreeMap<String, [Route; 2]>,
    watched: Vec<Watched>,
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
        let watched = options.gauges.iter().cloned().map(Watched::new).collect();
        Self { options, errors: Race::new(), latency, routes: BTreeMap::new(), watched }
    }

    /// Takes what was sampled at a moment; the samples of one source come in order.
    pub fn sample(&mut self, sample: &Sample) {
        self.watched.iter_mut().for_each(|watched| watched.observe(sample));
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

    /// Takes what was sampled before a step was extended or taken up again, so that its part of the alarms that may
    /// be false is spent once.
    pub fn take_up(&mut self, samples: &[Sample]) {
        samples.iter().for_each(|sample| self.sample(sample));
        self.watched.iter_mut().filter(|_| !samples.is_empty()).for_each(Watched::interrupt);
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
            let alpha = BOUNDS_PART * self.options.alpha / bounded;
            let check = match bound.metric {
                Metric::ErrorRate => bound.errors(control, candidate, alpha),
                metric => match metric.level() {
                    Some(level) => bound.quantile(level, control, candidate, alpha),
                    None => continue,
                },
            };
            checks.push(check);
        }
        checks.extend(self.sampled_checks());
        for check in &mut checks {
            check.dry_run = self.options.dry_run.contains(&check.name);
        }
        let requests = self.errors.requests();
        Judgement { finding: self.finding(&checks, requests), requests, checks }
    }

    /// Says what the samples say; what passing needs is there in any case.
    fn sampled_checks(&self) -> Vec<Check> {
        let decides = |gauge: &Gauge| {
            gauge.rule.is_statistical() && !self.options.dry_run.contains(&gauge.name)
        };
        let by_chance = self.watched.iter().filter(|it| decides(it.gauge())).count();
        let alpha = SAMPLED_PART * self.options.alpha / by_chance.max(1) as f64;
        let check = |watched: &Watched| watched.check(alpha, self.options.miss);
        let mut checks: Vec<Check> = self.watched.iter().map(check).collect();
        for name in &self.options.needed {
            match checks.iter_mut().find(|check| check.name == *name) {
                Some(check) => check.needed = true,
                None => checks.push(Check {
                    name: name.clone(),
                    finding: Finding::NoData,
                    dry_run: false,
                    needed: true,
                    values: [None; 2],
                    interval: None,
                    bound: None,
                    unit: String::new(),
                    words: "it is needed, and there is nothing to compare it with".to_owned(),
                }),
            }
        }
        checks
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
