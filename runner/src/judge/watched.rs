//! The samples of one gauge as they come, and what they say.

use super::excess::{Excess, Side};
use super::gauge::bounds_words;
use super::growth::Growth;
use super::{Check, Finding, Gauge, Rule, Sample};
use crate::metric::Worse;

/// Samples in a row that say something where no probability does.
const IN_A_ROW: u32 = 3;

/// A gauge under watch.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    gauge: Gauge,
    excess: Excess,
    growth: Growth,
    /// Sums of the samples of control and candidate, and how many there were.
    sums: [(f64, u64); 2],
    last: [Option<f64>; 2],
    /// Samples of the candidate in a row that lie beyond a bound, and that do not.
    beyond: u32,
    within: u32,
    /// Whether a bound was exceeded often enough, at any time.
    broken: bool,
    /// Moments in a row at which something was missing, and why.
    missed: (u32, String),
}

/// What is said of a gauge, and why.
type Said = (Finding, String);

// === impl Watched ===

impl Watched {
    pub(super) fn new(gauge: Gauge) -> Self {
        Self {
            gauge,
            excess: Excess::default(),
            growth: Growth::default(),
            sums: [(0.0, 0); 2],
            last: [None; 2],
            beyond: 0,
            within: 0,
            broken: false,
            missed: (0, String::new()),
        }
    }

    pub(super) fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    /// Takes what was seen at a moment; what is not finite was not seen.
    pub(super) fn observe(&mut self, sample: &Sample) {
        if sample.source != self.gauge.source {
            return;
        }
        self.last = sample.values.map(|value| value.filter(|value| value.is_finite()));
        for (sum, value) in self.sums.iter_mut().zip(self.last) {
            let Some(value) = value else { continue };
            sum.0 += value;
            sum.1 += 1;
        }
        let seen = match self.gauge.rule {
            Rule::Within { least, most } => self.last[1].map(|value| self.hold(value, least, most)),
            rule => self.last[0].zip(self.last[1]).map(|pair| self.compare(pair, rule)),
        };
        if seen.is_some() {
            self.missed.0 = 0;
        } else {
            self.miss(&sample.missing);
        }
    }

    /// Begins again after a while without samples.
    pub(super) fn interrupt(&mut self) {
        self.beyond = 0;
        self.miss("nothing yet since it was taken up");
    }

    fn miss(&mut self, why: &str) {
        self.missed.0 += 1;
        why.clone_into(&mut self.missed.1);
        self.within = 0;
        // What comes after a gap does not follow what came before it.
        self.excess.interrupt();
    }

    fn hold(&mut self, value: f64, least: Option<f64>, most: Option<f64>) {
        let beyond = least.is_some_and(|it| value < it) || most.is_some_and(|it| value > it);
        self.beyond = if beyond { self.beyond + 1 } else { 0 };
        self.within = if beyond { 0 } else { self.within + 1 };
        self.broken |= self.beyond >= IN_A_ROW;
    }

    fn compare(&mut self, (control, candidate): (f64, f64), rule: Rule) {
        let difference = candidate - control;
        match rule {
            Rule::Beside { worse, relative, absolute } => {
                let worse = if worse == Worse::Above { difference } else { -difference };
                self.excess.observe(worse - relative * control.abs() - absolute);
            }
            Rule::Growth { per_hour, .. } => {
                let allowed = per_hour * self.mean(0).unwrap_or(control).abs() / 3_600.0;
                self.growth.observe(difference, allowed);
            }
            Rule::Within { .. } => {}
        }
    }

    fn mean(&self, arm: usize) -> Option<f64> {
        let (sum, count) = self.sums[arm];
        (count > 0).then(|| sum / count as f64)
    }

    /// Says what can be said now.
    pub(super) fn check(&self, alpha: f64, miss: f64) -> Check {
        let (finding, words) = match self.gauge.rule {
            Rule::Beside { worse, relative, absolute } => {
                self.beside(worse, (relative, absolute), alpha, miss)
            }
            Rule::Growth { absolute, .. } => self.grown(absolute, alpha),
            Rule::Within { least, most } => self.bounded(least, most),
        };
        let values = match self.gauge.rule {
            Rule::Within { .. } => self.last,
            _ => [self.mean(0), self.mean(1)],
        };
        Check {
            name: self.gauge.name.clone(),
            finding: self.unless_missing(finding),
            dry_run: false,
            needed: false,
            values,
            interval: None,
            bound: match self.gauge.rule {
                Rule::Within { most, .. } => most,
                _ => None,
            },
            unit: self.gauge.unit.clone(),
            words: if self.missed.0 > 0 && finding != Finding::Fail {
                format!("{} in a row have no value ({})", self.missed.0, self.missed.1)
            } else {
                words
            },
        }
    }

    /// What is missing now does not pass on what was seen before.
    fn unless_missing(&self, finding: Finding) -> Finding {
        match (finding, self.missed.0) {
            (Finding::Fail, _) | (_, 0) => finding,
            (_, 1..IN_A_ROW) if finding != Finding::NoData => Finding::Inconclusive,
            _ => Finding::NoData,
        }
    }

    fn beside(&self, worse: Worse, tolerated: (f64, f64), alpha: f64, miss: f64) -> Said {
        let [Some(control), Some(candidate)] = [self.mean(0), self.mean(1)] else {
            return (Finding::NoData, "no moment has a sample of both arms".to_owned());
        };
        let unit = &self.gauge.unit;
        let margin = tolerated.0 * control.abs() + tolerated.1;
        let than = if worse == Worse::Above { "more" } else { "less" };
        let means =
            format!("a mean of {candidate:.2} {unit} beside {control:.2} {unit} of the control");
        if let Some(evidence) = self.excess.shown(Side::Above, 1.0 / alpha) {
            return (
                Finding::Fail,
                format!(
                    "{means}, {than} than the {margin:.2} {unit} that are tolerated explain; chance makes that so at most once in {evidence:.0} times"
                ),
            );
        }
        if self.excess.shown(Side::Below, 1.0 / miss).is_some() {
            return (Finding::Pass, format!("{means}, within {margin:.2} {unit} of it"));
        }
        let count = self.excess.count();
        (
            Finding::Inconclusive,
            format!(
                "{means} in {count} samples: too few to say that it is within {margin:.2} {unit}"
            ),
        )
    }

    /// Growth is shown, or it is not: no while without it says that there is none.
    fn grown(&self, absolute: f64, alpha: f64) -> Said {
        let [Some(control), Some(_)] = [self.mean(0), self.mean(1)] else {
            return (Finding::NoData, "no moment has a sample of both arms".to_owned());
        };
        let (grown, unit) = (self.growth.grown(), &self.gauge.unit);
        let words = format!("{grown:.2} {unit} more beside the control than at first");
        let evidence = self.growth.evidence();
        // What is shown to grow and has not come to anything yet can wait.
        if evidence >= 1.0 / alpha && grown >= absolute.max(0.1 * control.abs()) {
            return (
                Finding::Fail,
                format!(
                    "{words}, and growing; chance makes that so at most once in {evidence:.0} times"
                ),
            );
        }
        (Finding::Inconclusive, words)
    }

    fn bounded(&self, least: Option<f64>, most: Option<f64>) -> Said {
        let unit = &self.gauge.unit;
        let bounds = bounds_words(least, most, unit);
        let Some(last) = self.last[1] else {
            return (Finding::NoData, "no sample".to_owned());
        };
        if self.broken {
            return (
                Finding::Fail,
                format!(
                    "{last:.2} {unit}, and {IN_A_ROW} in a row were beyond; it is to be {bounds}"
                ),
            );
        }
        if self.within >= IN_A_ROW {
            return (Finding::Pass, format!("{last:.2} {unit}, which is {bounds}"));
        }
        (Finding::Inconclusive, format!("{last:.2} {unit}; it is to be {bounds}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prophecy_core::Seed;

    use super::super::{Judge, JudgeOptions};

    use super::*;
    use crate::slice::{Histogram, Slice};

    fn judge(gauges: Vec<Gauge>, needed: &[&str]) -> Judge {
        Judge::new(JudgeOptions {
            alpha: 0.01,
            miss: 0.05,
            minimum_requests: 1,
            errors: 0.01,
            latency: 0.2,
            compared: true,
            dry_run: BTreeSet::new(),
            bounds: Vec::new(),
            gauges,
            needed: needed.iter().map(|name| (*name).to_owned()).collect(),
        })
    }

    fn gauge(name: &str, rule: Rule) -> Gauge {
        Gauge { name: name.to_owned(), source: name.to_owned(), unit: "MiB".to_owned(), rule }
    }

    fn beside(relative: f64) -> Rule {
        Rule::Beside { worse: Worse::Above, relative, absolute: 0.0 }
    }

    fn sample(source: &str, control: f64, candidate: f64) -> Sample {
        Sample {
            source: source.to_owned(),
            values: [Some(control), Some(candidate)],
            missing: String::new(),
        }
    }

    fn missing(source: &str) -> Sample {
        Sample { source: source.to_owned(), values: [None; 2], missing: "no answer".to_owned() }
    }

    /// Ten gauges of alike arms, each arm's samples wandering for themselves, with nothing tolerated, for ten minutes
    /// and looked at thirty times. The whole of the alarms that may be false is spent in this one step. A thousand
    /// rollouts at 1 % have three standard errors of 0.95 %.
    #[test]
    fn ten_gauges_of_healthy_rollouts_are_seldom_taken_for_worse() {
        let names: Vec<String> = (0..10).map(|nth| format!("gauge/{nth}")).collect();
        let gauges: Vec<Gauge> = names.iter().map(|name| gauge(name, beside(0.0))).collect();
        for rho in [0.0_f64, 0.5, 0.9] {
            let stopped = (0..1_000).filter(|run| {
                let mut judge = judge(gauges.clone(), &[]);
                let mut stream = Seed(10).stream(*run, 0, "healthy");
                let mut states = [[0.0; 2]; 10].map(|state| state.map(|_: f64| stream.normal()));
                (1..=600).any(|second| {
                    for (state, name) in states.iter_mut().zip(&names) {
                        *state =
                            state.map(|it| rho * it + (1.0 - rho * rho).sqrt() * stream.normal());
                        judge.sample(&sample(name, 10.0 + state[0], 10.0 + state[1]));
                    }
                    second % 20 == 0 && judge.judgement().failure().is_some()
                })
            });
            let stopped = stopped.count();
            assert!(stopped <= 19, "{rho}: {stopped} of 1,000");
        }
    }

    #[test]
    fn what_is_needed_passes_only_on_what_it_shows_now() {
        let name = "gauge/memory";
        let mut judge = judge(vec![gauge(name, beside(0.5))], &[name, "gauge/absent"]);
        let finding = |judge: &Judge, name: &str| {
            let checks = judge.judgement().checks;
            checks.into_iter().find(|check| check.name == name).map(|check| check.finding)
        };
        assert_eq!(finding(&judge, name), Some(Finding::NoData));
        for second in 0..300 {
            judge.sample(&sample(name, 100.0, 101.0 + f64::from(second % 7)));
        }
        assert_eq!(finding(&judge, name), Some(Finding::Pass));
        assert_eq!(finding(&judge, "gauge/absent"), Some(Finding::NoData));
        assert!(!judge.judgement().passed());
        judge.sample(&missing(name));
        assert_eq!(finding(&judge, name), Some(Finding::Inconclusive));
        judge.sample(&sample(name, 100.0, f64::NAN));
        judge.sample(&missing(name));
        assert_eq!(finding(&judge, name), Some(Finding::NoData));
    }

    #[test]
    fn a_step_that_is_taken_up_goes_on_from_what_it_saw() {
        let name = "gauge/memory";
        let samples: Vec<Sample> = (0..300).map(|_| sample(name, 100.0, 101.0)).collect();
        let mut judge = judge(vec![gauge(name, beside(0.5))], &[name]);
        judge.take_up(&samples);
        let finding = |judge: &Judge| judge.judgement().checks.last().map(|check| check.finding);
        assert_eq!(finding(&judge), Some(Finding::Inconclusive), "nothing was seen since");
        judge.sample(&sample(name, 100.0, 101.0));
        assert_eq!(finding(&judge), Some(Finding::Pass));
    }

    #[test]
    fn a_bound_is_broken_by_three_in_a_row_and_stays_broken() {
        let rule = Rule::Within { least: Some(1.0), most: Some(5.0) };
        let mut judge = judge(vec![gauge("ceiling/memory", rule)], &["ceiling/memory"]);
        let mut look = |value: f64| {
            judge.sample(&sample("ceiling/memory", 100.0, value));
            judge.judgement().checks.last().map(|check| check.finding)
        };
        for value in [4.0, 6.0, 0.5, 4.0, 7.0, 7.0] {
            assert_eq!(look(value), Some(Finding::Inconclusive), "{value}");
        }
        assert_eq!(look(7.0), Some(Finding::Fail));
        for _ in 0..5 {
            assert_eq!(look(4.0), Some(Finding::Fail));
        }
    }

    #[test]
    fn twice_as_much_and_a_leak_are_stopped() {
        let growth = Rule::Growth { per_hour: 0.5, absolute: 32.0 };
        for (name, rule) in [("gauge/memory", beside(0.5)), ("growth/memory", growth)] {
            let mut judge = judge(vec![gauge(name, rule)], &[]);
            let mut stream = Seed(12).stream(0, 0, "worse");
            let stopped = (0..600).find(|second| {
                let more = if name.starts_with("growth") { f64::from(*second) } else { 100.0 };
                let [control, candidate] = [0.0, more].map(|it| 100.0 + it + stream.normal());
                judge.sample(&sample(name, control, candidate));
                judge.judgement().failure().is_some()
            });
            assert!(stopped.is_some_and(|second| second < 150), "{name}: {stopped:?}");
        }
    }

    fn slice(second: u64, failures: u64, latency_ms: u64) -> Slice {
        let mut latency = Histogram::default();
        (0..50).for_each(|nth| latency.record((latency_ms * 1_000 + nth) * 1_000));
        Slice { second, route: "GET /".to_owned(), requests: 50, failures, latency }
    }

    /// Seconds that go back by an hour, stand still and jump ahead.
    #[test]
    fn a_clock_that_jumps_changes_nothing_that_is_said() {
        const START: u64 = 1_700_000_000;
        let clock = |nth: u64| match nth {
            0..20 => START + nth,
            20..40 => START + nth - 3_600,
            40..60 => START,
            _ => START + 7_200 + nth,
        };
        let said = |failures: u64, latency_ms: u64| {
            let mut judge = judge(Vec::new(), &[]);
            assert!(!judge.judgement().passed());
            for second in (0..120).map(clock) {
                judge.observe(
                    second,
                    &[slice(second, 0, 10)],
                    &[slice(second, failures, latency_ms)],
                );
            }
            judge.judgement().finding
        };
        assert_eq!(said(0, 10), Finding::Pass);
        assert_eq!(said(5, 10), Finding::Fail);
        assert_eq!(said(0, 40), Finding::Fail);
    }
}
