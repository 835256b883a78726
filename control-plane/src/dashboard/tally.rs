//! The aggregation behind the accuracy and service pages: one pass over what was forecast.

use std::collections::{BTreeMap, BTreeSet};

use prophecy_core::{Seed, Timestamp};
use prophecy_predictor::accuracy::{Coverage, Estimate, Point, Reliability};
use prophecy_predictor::report::{Metric, Quantiles};
use prophecy_predictor::{Verdict, score};

use super::words;

/// Points that the scatter shows at most.
pub const POINTS: usize = 2_000;

/// Misses that are listed at most.
const MISSES: usize = 20;

/// Numbers that the consistency band may draw.
const BAND_NUMBERS: usize = 4_000_000;

/// A prediction with what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Its id.
    pub id: String,
    /// The system.
    pub system: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it said.
    pub verdict: Verdict,
    /// The probability that a promise is broken.
    pub risk: f64,
    /// Whether one was; nothing without an outcome.
    pub harmful: Option<bool>,
    /// Why it went as it went, if known.
    pub cause: Option<String>,
    /// Its claims.
    pub claims: Vec<ScoredClaim>,
}

/// A claim with what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredClaim {
    /// The service.
    pub service: String,
    /// The route.
    pub route: String,
    /// What is measured.
    pub metric: Metric,
    /// The probability that the bound is exceeded.
    pub probability: f64,
    /// The forecast of the metric.
    pub forecast: Quantiles,
    /// What was measured.
    pub measured: Option<f64>,
    /// Whether the bound was exceeded.
    pub breached: Option<bool>,
}

/// Which predictions and claims are counted; an absent field counts all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this system.
    pub system: Option<String>,
    /// Only claims about this service.
    pub service: Option<String>,
    /// Only claims of this family: `latency`, `errors` or `memory`.
    pub family: Option<String>,
    /// Only of the last so many days.
    pub days: Option<u32>,
}

/// Scores of a group of claims.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Claims that were settled.
    pub count: u64,
    /// Of those, the ones that came true.
    pub events: u64,
    /// The mean Brier score.
    pub brier: Estimate,
    /// The mean forecast minus the share that came true; above 0 is too gloomy.
    pub bias: Estimate,
}

/// The scores of one month.
#[derive(Clone, Debug, PartialEq)]
pub struct Month {
    /// The month, as `2026-03`.
    pub name: String,
    /// Its scores.
    pub group: Group,
    /// One minus the Brier score over that of the base rate of all; above 0 knows something.
    pub skill: Estimate,
}

/// A prediction that went wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Miss {
    /// The prediction.
    pub id: String,
    /// The system.
    pub system: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// What was said.
    pub verdict: Verdict,
    /// With this probability of harm.
    pub risk: f64,
    /// Whether it was harmful.
    pub harmful: bool,
    /// Why, in words.
    pub cause: String,
}

/// All that the accuracy page shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accuracy {
    /// Predictions counted.
    pub predictions: u64,
    /// Predictions with an outcome.
    pub settled: u64,
    /// For go, no-go and not enough evidence: predictions, settled, harmful.
    pub verdicts: [[u64; 3]; 3],
    /// All claims.
    pub overall: Group,
    /// Skill of all claims against their base rate.
    pub skill: Estimate,
    /// The reliability diagram.
    pub reliability: Reliability,
    /// By month.
    pub months: Vec<Month>,
    /// Coverage of the intervals.
    pub coverage: Vec<Coverage>,
    /// Predicted and measured latencies.
    pub points: Vec<Point>,
    /// Latencies measured, of which the points are a part.
    pub point_count: u64,
    /// The surest wrong predictions.
    pub misses: Vec<Miss>,
    /// By service.
    pub services: BTreeMap<String, Group>,
    /// By family of metrics.
    pub families: BTreeMap<&'static str, Group>,
    /// Systems that can be chosen.
    pub systems: Vec<String>,
    /// Services that can be chosen.
    pub all_services: Vec<String>,
}

/// Sums of Brier scores and forecasts; claims of one prediction stand and fall together.
#[derive(Clone, Debug, Default)]
struct Sums {
    count: u64,
    events: u64,
    /// Per prediction: its claims, the sum of scores, the sum of forecast minus truth.
    clusters: Vec<(f64, f64, f64)>,
    last: usize,
}

/// What the pass collects.
#[derive(Default)]
struct Pass {
    overall: Sums,
    months: BTreeMap<(i64, i64), Sums>,
    services: BTreeMap<String, Sums>,
    families: BTreeMap<&'static str, Sums>,
    pairs: Vec<(f64, bool)>,
    inside: [[u64; 4]; 2],
    points: Vec<Point>,
}

// === impl Filter ===

impl Filter {
    fn keeps(&self, scored: &Scored, now: Timestamp) -> bool {
        let oldest =
            self.days.map(|days| now.0.saturating_sub(i64::from(days) * 86_400 * 1_000_000_000));
        self.system.as_ref().is_none_or(|system| *system == scored.system)
            && oldest.is_none_or(|oldest| scored.created_at.0 >= oldest)
    }

    fn keeps_claim(&self, claim: &ScoredClaim) -> bool {
        self.service.as_ref().is_none_or(|service| *service == claim.service)
            && self.family.as_ref().is_none_or(|name| name == family(claim.metric))
    }
}

// === impl Sums ===

impl Sums {
    fn add(&mut self, prediction: usize, probability: f64, happened: bool) {
        if self.clusters.is_empty() || self.last != prediction {
            self.clusters.push((0.0, 0.0, 0.0));
            self.last = prediction;
        }
        self.count += 1;
        self.events += u64::from(happened);
        let cluster = self.clusters.last_mut().expect("one was pushed");
        cluster.0 += 1.0;
        cluster.1 += score::brier(probability, happened);
        cluster.2 += probability - f64::from(u8::from(happened));
    }

    fn group(&self) -> Group {
        Group {
            count: self.count,
            events: self.events,
            brier: self.ratio(|cluster| cluster.1),
            bias: self.ratio(|cluster| cluster.2),
        }
    }

    /// A mean over claims with its 95 % interval. The variance is that of a ratio of sums over
    /// predictions (linearized), so claims of one prediction do not count as independent.
    fn ratio(&self, of: impl Fn(&(f64, f64, f64)) -> f64) -> Estimate {
        if self.count == 0 {
            return Estimate::default();
        }
        let claims = self.count as f64;
        let mean = self.clusters.iter().map(&of).sum::<f64>() / claims;
        let n = self.clusters.len() as f64;
        if n < 2.0 {
            return Estimate { value: Some(mean), lo: None, hi: None };
        }
        let squares: f64 =
            self.clusters.iter().map(|cluster| (of(cluster) - mean * cluster.0).powi(2)).sum();
        let half = 1.96 * (n / (n - 1.0) * squares).sqrt() / claims;
        Estimate { value: Some(mean), lo: Some(mean - half), hi: Some(mean + half) }
    }
}

// === impl Pass ===

impl Pass {
    fn add(&mut self, index: usize, scored: &Scored, claim: &ScoredClaim) {
        if let Some(happened) = claim.breached {
            let p = claim.probability;
            self.overall.add(index, p, happened);
            self.months.entry(words::month(scored.created_at)).or_default().add(index, p, happened);
            if !self.services.contains_key(&claim.service) {
                self.services.insert(claim.service.clone(), Sums::default());
            }
            let service = self.services.get_mut(&claim.service).expect("just inserted");
            service.add(index, p, happened);
            self.families.entry(family(claim.metric)).or_default().add(index, p, happened);
            self.pairs.push((p, happened));
        }
        let Some(measured) = claim.measured else { return };
        let q = &claim.forecast;
        let latency = family(claim.metric) == "latency";
        let found = &mut self.inside[usize::from(!latency)];
        found[0] += 1;
        for (slot, [lo, hi]) in [[q.p25, q.p75], [q.p10, q.p90], [q.p5, q.p95]].iter().enumerate() {
            found[slot + 1] += u64::from((*lo..=*hi).contains(&measured));
        }
        if latency {
            let inside = (q.p5..=q.p95).contains(&measured);
            self.points.push(Point { predicted: q.p50, measured, inside });
        }
    }
}

// === impl Accuracy ===

impl Accuracy {
    /// Aggregates predictions, which may come in any order. `seed` is that of the consistency band.
    ///
    /// # Determinism
    ///
    /// Depends on the arguments alone.
    pub fn of(predictions: &[Scored], filter: &Filter, now: Timestamp, seed: Seed) -> Self {
        let mut all = Self::default();
        let mut pass = Pass::default();
        let mut systems: BTreeSet<&str> = BTreeSet::new();
        let mut services: BTreeSet<&str> = BTreeSet::new();
        for (index, scored) in predictions.iter().enumerate() {
            systems.insert(&scored.system);
            services.extend(scored.claims.iter().map(|claim| claim.service.as_str()));
            if filter.keeps(scored, now) {
                all.count(scored);
                let kept = scored.claims.iter().filter(|claim| filter.keeps_claim(claim));
                kept.for_each(|claim| pass.add(index, scored, claim));
            }
        }
        all.systems = systems.into_iter().map(str::to_owned).collect();
        all.all_services = services.into_iter().map(str::to_owned).collect();
        all.misses.sort_by(|a, b| surprise(b).total_cmp(&surprise(a)).then(a.id.cmp(&b.id)));
        all.misses.truncate(MISSES);
        all.finish(pass, seed);
        all
    }

    fn count(&mut self, scored: &Scored) {
        self.predictions += 1;
        let row = &mut self.verdicts[match scored.verdict {
            Verdict::Go => 0,
            Verdict::NoGo => 1,
            Verdict::NotEnoughEvidence => 2,
        }];
        row[0] += 1;
        let Some(harmful) = scored.harmful else { return };
        self.settled += 1;
        row[1] += 1;
        row[2] += u64::from(harmful);
        let wrong =
            matches!((scored.verdict, harmful), (Verdict::Go, true) | (Verdict::NoGo, false));
        if wrong {
            self.misses.push(Miss {
                id: scored.id.clone(),
                system: scored.system.clone(),
                created_at: scored.created_at,
                verdict: scored.verdict,
                risk: scored.risk,
                harmful,
                cause: scored.cause.clone().unwrap_or_else(|| furthest_off(scored)),
            });
        }
    }

    fn finish(&mut self, pass: Pass, seed: Seed) {
        let base = pass.overall.events as f64 / pass.overall.count.max(1) as f64;
        let climate = base * (1.0 - base);
        self.overall = pass.overall.group();
        self.skill = skill(self.overall.brier, climate);
        self.months = pass
            .months
            .iter()
            .map(|((year, month), sums)| {
                let group = sums.group();
                let skill = skill(group.brier, climate);
                Month { name: format!("{year:04}-{month:02}"), group, skill }
            })
            .collect();
        self.services =
            pass.services.iter().map(|(name, sums)| (name.clone(), sums.group())).collect();
        self.families = pass.families.iter().map(|(name, sums)| (*name, sums.group())).collect();
        self.reliability = reliability(&pass.pairs, seed);
        self.coverage = coverage(&pass.inside);
        self.point_count = pass.points.len() as u64;
        self.points = thinned(pass.points);
    }
}

/// Returns the family of a metric.
pub fn family(metric: Metric) -> &'static str {
    match metric {
        Metric::LatencyMean | Metric::LatencyP50 | Metric::LatencyP95 | Metric::LatencyP99 => {
            "latency"
        }
        Metric::ErrorRate | Metric::ClientErrorRate => "errors",
        Metric::Memory => "memory",
    }
}

/// How sure a prediction was of what did not come.
fn surprise(miss: &Miss) -> f64 {
    if miss.harmful { 1.0 - miss.risk } else { miss.risk }
}

/// Names the claim whose forecast was furthest from the truth.
fn furthest_off(scored: &Scored) -> String {
    let off = |claim: &ScoredClaim| {
        claim.breached.map(|happened| score::brier(claim.probability, happened))
    };
    let settled = scored.claims.iter().filter_map(|claim| Some((off(claim)?, claim)));
    let Some((_, claim)) = settled.max_by(|a, b| a.0.total_cmp(&b.0)) else {
        return "no claim of it could be settled".to_owned();
    };
    let foretold = words::value(claim.metric, claim.forecast.p50);
    let measured = claim.measured.map_or("nothing".to_owned(), |it| words::value(claim.metric, it));
    format!(
        "{} of {} {}: {foretold} foretold, {measured} measured",
        claim.metric.words(),
        claim.service,
        claim.route
    )
}

fn skill(brier: Estimate, climate: f64) -> Estimate {
    if climate <= 0.0 {
        return Estimate::default();
    }
    let of = |score: Option<f64>| score.map(|score| score::skill(score, climate));
    Estimate { value: of(brier.value), lo: of(brier.hi), hi: of(brier.lo) }
}

/// The curve is exact; for the band, forecasts are rounded to half a percent, which no picture
/// shows.
fn reliability(pairs: &[(f64, bool)], seed: Seed) -> Reliability {
    let steps = score::recalibrated(pairs);
    let steps = steps.into_iter().map(|bin| (bin.lo, bin.hi, bin.frequency, bin.count)).collect();
    let forecasts: Vec<f64> = pairs.iter().map(|pair| (pair.0 * 200.0).round() / 200.0).collect();
    let draws = (BAND_NUMBERS / forecasts.len().max(1)).clamp(60, 400) as u32;
    let mut stream = seed.stream(0, 0, "consistency band");
    let band = score::consistency_band(&forecasts, 0.9, &mut || stream.uniform(), draws);
    Reliability { steps, band }
}

fn coverage(inside: &[[u64; 4]; 2]) -> Vec<Coverage> {
    let mut found = Vec::new();
    for (of, counts) in ["latency", "rates"].into_iter().zip(inside) {
        let count = counts[0];
        for (stated, hits) in [0.5, 0.8, 0.9].into_iter().zip(&counts[1..]) {
            if count == 0 {
                continue;
            }
            let share = *hits as f64 / count as f64;
            let (accepted_lo, accepted_hi) = score::binomial_band(count, stated, 0.95);
            let (lo, hi) = wilson(share, count as f64);
            found.push(Coverage {
                of: of.to_owned(),
                stated,
                found: Estimate { value: Some(share), lo: Some(lo), hi: Some(hi) },
                accepted: [accepted_lo, accepted_hi],
                count,
            });
        }
    }
    found
}

/// The 95 % interval of a share. Source: Wilson (1927), "Probable inference".
fn wilson(share: f64, count: f64) -> (f64, f64) {
    let z2 = 1.96 * 1.96 / count;
    let middle = (share + z2 / 2.0) / (1.0 + z2);
    let half = (z2 * (share * (1.0 - share) + z2 / 4.0)).sqrt() / (1.0 + z2);
    (middle - half, middle + half)
}

/// Keeps evenly spread points by their place in the order of measured values, so that the ends
/// stay.
fn thinned(mut points: Vec<Point>) -> Vec<Point> {
    if points.len() <= POINTS {
        return points;
    }
    points.sort_by(|a, b| {
        a.measured.total_cmp(&b.measured).then(a.predicted.total_cmp(&b.predicted))
    });
    let last = points.len() - 1;
    (0..POINTS).map(|index| points[index * last / (POINTS - 1)]).collect()
}
