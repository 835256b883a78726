//! What a judge is to hold a candidate to.

use std::collections::BTreeSet;

use prophecy_predictor::report::Metric;

use super::{Check, Finding, Gauge, Route, bounds};
use crate::plan::Plan;

/// What a judge is to hold a candidate to.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeOptions {
    /// The probability that a healthy candidate fails by chance, at any time.
    pub alpha: f64,
    /// The probability that a bound by which something passes is wrong, at any time.
    pub miss: f64,
    /// Requests on each arm below which nothing passes.
    pub minimum_requests: u64,
    /// By how much the error rate may be higher than the control's.
    pub errors: f64,
    /// By how much a latency quantile may be higher than the control's, relatively.
    pub latency: f64,
    /// Whether there is a control to compare with.
    pub compared: bool,
    /// Checks that are made and never decide.
    pub dry_run: BTreeSet<String>,
    /// What was promised and foretold.
    pub bounds: Vec<Bound>,
    /// What is sampled, and what it is held to.
    pub gauges: Vec<Gauge>,
    /// Checks without which nothing passes, by name.
    pub needed: BTreeSet<String>,
}

/// A value that a metric of a route must not exceed.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// What it is: a promise or the forecast.
    pub origin: Origin,
    /// The route.
    pub route: String,
    /// The metric.
    pub metric: Metric,
    /// The bound, in the metric's unit.
    pub value: f64,
}

/// Where a bound comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is promised to clients.
    Promise,
    /// The forecast did not expect more.
    Forecast,
}

/// What a candidate is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Nothing.
    Nobody,
    /// What ran before, which has run for longer and may have more to do: it may use more or less.
    Before,
    /// A copy that started with the candidate and has as much to do, so that both may be expected to use as much.
    Copy,
}

// === impl JudgeOptions ===

impl JudgeOptions {
    /// Returns what a plan asks for. Every step has its part of the alarms that may be false.
    pub fn of(plan: &Plan, control: Control) -> Self {
        let analysis = &plan.settings.analysis;
        let promises = plan.promises.iter().map(|promise| Bound {
            origin: Origin::Promise,
            route: promise.route.clone(),
            metric: promise.metric,
            value: promise.bound,
        });
        let (errors, latency) = (analysis.errors.0.get(), analysis.latency.0.get());
        let foretold = plan.forecast.iter().filter(|_| analysis.forecast);
        let foretold = foretold.flat_map(|forecast| &forecast.expectations);
        let foretold = foretold.filter(|it| it.service == plan.entry).map(|it| Bound {
            origin: Origin::Forecast,
            route: it.route.clone(),
            metric: it.metric,
            value: match it.metric {
                Metric::ErrorRate => it.interval[1] + errors,
                _ => it.interval[1] * (1.0 + latency),
            },
        });
        Self {
            alpha: analysis.alpha.get() / (plan.stages.len() + 1) as f64,
            miss: 1.0 - analysis.confidence.get(),
            minimum_requests: analysis.minimum_requests,
            errors,
            latency,
            compared: control != Control::Nobody,
            dry_run: Self::dry_run_of(plan),
            bounds: promises.chain(foretold).collect(),
            gauges: Gauge::of(plan, control),
            needed: needed(plan),
        }
    }

    /// Returns the checks that never decide.
    pub(crate) fn dry_run_of(plan: &Plan) -> BTreeSet<String> {
        let metrics = plan.settings.metrics.iter().filter(|metric| metric.dry_run);
        let names = metrics.map(crate::metric::Metric::check_name);
        plan.settings.analysis.dry_run.iter().cloned().chain(names).collect()
    }
}

fn needed(plan: &Plan) -> BTreeSet<String> {
    let metrics = plan.settings.metrics.iter().filter(|metric| metric.needed);
    let names = metrics.map(crate::metric::Metric::check_name);
    plan.settings.analysis.needed.iter().cloned().chain(names).collect()
}

// === impl Bound ===

impl Bound {
    fn check(&self, finding: Finding, values: [Option<f64>; 2], words: String) -> Check {
        let kind = match self.origin {
            Origin::Promise => "promise",
            Origin::Forecast => "forecast",
        };
        Check {
            name: format!("{kind}/{}/{}", self.route, self.metric.slug()),
            finding,
            dry_run: false,
            needed: false,
            values,
            interval: None,
            bound: Some(self.value),
            unit: self.metric.unit().to_owned(),
            words,
        }
    }

    fn origin_words(&self) -> &'static str {
        match self.origin {
            Origin::Promise => "promised",
            Origin::Forecast => "foretold",
        }
    }

    /// Holds the error rate to the bound.
    pub(super) fn errors(&self, control: &Route, candidate: &Route, alpha: f64) -> Check {
        let rate = |of: &Route| (of.requests > 0).then(|| of.failures as f64 / of.requests as f64);
        let values = [rate(control), rate(candidate)];
        let Some(found) = values[1] else {
            return self.check(Finding::NoData, values, "no request".to_owned());
        };
        let [lo, hi] = bounds::share(candidate.failures, candidate.requests, alpha);
        // A control that breaks it as well says that the candidate is not why.
        let excused = bounds::share(control.failures, control.requests, alpha)[1];
        let excused = control.requests > 0 && excused >= lo && values[0] > Some(self.value);
        let finding = match () {
            () if lo > self.value && !excused => Finding::Fail,
            () if hi <= self.value => Finding::Pass,
            () => Finding::Inconclusive,
        };
        let words = format!(
            "{:.2} % of {} requests fail, {} is at most {:.2} %",
            100.0 * found,
            candidate.requests,
            self.origin_words(),
            100.0 * self.value
        );
        Check { interval: Some([lo, hi]), ..self.check(finding, values, words) }
    }

    /// Holds a latency quantile to the bound: the share of requests above it tells.
    pub(super) fn quantile(
        &self,
        level: f64,
        control: &Route,
        candidate: &Route,
        alpha: f64,
    ) -> Check {
        let nanos = (self.value * 1e6) as u64;
        let quantile = |of: &Route| of.latency.quantile(level).map(|it| it as f64 / 1e6);
        let values = [quantile(control), quantile(candidate)];
        let Some(found) = values[1] else {
            return self.check(Finding::NoData, values, "no answered request".to_owned());
        };
        let above = |of: &Route| of.latency.count_above(nanos);
        let [lo, hi] = bounds::share(above(candidate), candidate.latency.count(), alpha);
        let allowed = 1.0 - level;
        let beside = bounds::share(above(control), control.latency.count(), alpha)[1];
        let excused = control.latency.count() > 0 && beside >= lo && values[0] > Some(self.value);
        let finding = match () {
            () if lo > allowed && !excused => Finding::Fail,
            () if hi <= allowed => Finding::Pass,
            () => Finding::Inconclusive,
        };
        let words = format!(
            "{} of {} requests took longer than the {} {:.0} ms ({} is {found:.0} ms)",
            above(candidate),
            candidate.latency.count(),
            self.origin_words(),
            self.value,
            self.metric.words()
        );
        let interval = bounds::quantile(&candidate.latency, level, alpha);
        let interval = interval.map(|ends| ends.map(|it| it / 1e6));
        Check { interval, ..self.check(finding, values, words) }
    }
}
