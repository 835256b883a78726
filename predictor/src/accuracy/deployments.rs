//! Probabilities: ours, and those that others would have given from the same evidence.

use std::collections::BTreeMap;

use prophecy_core::Seed;
use prophecy_datasets::TrialRecords;
use prophecy_datasets::trials::Deployment;

use super::bootstrap::estimate;
use super::truth::{Label, Labels};
use super::{Decomposition, Reliability, Scores, Wrong};
use crate::score::{self, Corp};

/// A smoke test alarms where a 99th percentile is worse by this factor.
const SMOKE_FACTOR: f64 = 1.2;

/// A canary judge lets pass from this score on.
const JUDGE_PASS: f64 = 95.0;

/// A forecast of certainty that is wrong would cost without bound.
const CERTAINTY: f64 = 0.99;

/// Runs of the null distribution of the miscalibration, and of the consistency band.
const NULL_DRAWS: u32 = 400;

/// What a forecaster decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Something will happen.
    Alarm,
    /// Nothing will happen.
    AllClear,
    /// That it cannot tell.
    Nothing,
}

/// One forecast with what came of it.
#[derive(Clone, Copy, Debug)]
struct Item {
    probability: f64,
    /// What forecasts are put in order by.
    rank: f64,
    said: Said,
    happened: bool,
    same_build: bool,
}

// === impl Said ===

impl Said {
    fn of(alarm: bool) -> Self {
        if alarm { Self::Alarm } else { Self::AllClear }
    }
}

/// Scores the forecasts of deployments, ours first.
pub(super) fn score(records: &TrialRecords, labels: &Labels, seed: Seed) -> Vec<Scores> {
    let pairs: Vec<(&Deployment, bool)> = records
        .deployments
        .iter()
        .zip(&labels.deployments)
        .filter(|(_, label)| **label != Label::Undecidable)
        .map(|(deployment, label)| (deployment, *label == Label::Harmful))
        .collect();
    let item = |(deployment, happened): &(&Deployment, bool), probability: f64, rank, alarm| Item {
        probability,
        rank,
        said: Said::of(alarm),
        happened: *happened,
        same_build: deployment.change == "same-build",
    };
    let ours = pairs.iter().map(|pair| {
        let (deployment, _) = pair;
        let said = match deployment.verdict.as_str() {
            "no_go" => Said::Alarm,
            "go" => Said::AllClear,
            _ => Said::Nothing,
        };
        Item { said, ..item(pair, deployment.risk, deployment.risk, false) }
    });
    let mut before = (0.5, 1.0);
    let base_rate = pairs.iter().map(|pair| {
        let rate = before.0 / before.1;
        before = (before.0 + f64::from(u8::from(pair.1)), before.1 + 1.0);
        item(pair, rate, rate, rate > 0.5)
    });
    let base_rate: Vec<Item> = base_rate.collect();
    let smoke = pairs.iter().map(|pair| {
        let ratio = pair.0.smoke_ratio.unwrap_or(1.0);
        let alarm = ratio > SMOKE_FACTOR;
        item(pair, if alarm { CERTAINTY } else { 1.0 - CERTAINTY }, ratio, alarm)
    });
    let judge = pairs.iter().map(|pair| {
        let score = pair.0.judge_score.unwrap_or(100.0);
        let probability = 1.0 - score / 100.0;
        item(pair, probability, probability, score < JUDGE_PASS)
    });
    let alone = |items: Vec<Item>| items.into_iter().map(|item| vec![item]).collect::<Vec<_>>();
    vec![
        scores("prophecy", &alone(ours.collect()), seed),
        scores("base rate", &alone(base_rate), seed),
        scores("smoke test", &alone(smoke.collect()), seed),
        scores("canary judge", &alone(judge.collect()), seed),
    ]
}

/// Scores the forecasts of single claims.
pub(super) fn score_claims(
    records: &TrialRecords,
    labels: &Labels,
    seed: Seed,
) -> (Scores, Reliability) {
    let same: Vec<&str> = records
        .deployments
        .iter()
        .filter(|deployment| deployment.change == "same-build")
        .map(|deployment| deployment.trial.as_str())
        .collect();
    let mut groups: BTreeMap<&str, Vec<Item>> = BTreeMap::new();
    for (claim, label) in records.claims.iter().zip(&labels.claims) {
        let (Some(probability), Some(label)) = (claim.probability, *label) else { continue };
        if label == Label::Undecidable {
            continue;
        }
        groups.entry(&claim.trial).or_default().push(Item {
            probability,
            rank: probability,
            said: Said::of(probability > 0.5),
            happened: label == Label::Harmful,
            same_build: same.contains(&claim.trial.as_str()),
        });
    }
    let groups: Vec<Vec<Item>> = groups.into_values().collect();
    let pairs: Vec<(f64, bool)> =
        groups.iter().flatten().map(|item| (item.probability, item.happened)).collect();
    let forecasts: Vec<f64> = pairs.iter().map(|pair| pair.0).collect();
    let mut stream = seed.stream(0, 0, "consistency band");
    let band = score::consistency_band(&forecasts, 0.9, &mut || stream.uniform(), NULL_DRAWS);
    let steps = score::recalibrated(&pairs)
        .into_iter()
        .map(|bin| (bin.lo, bin.hi, bin.frequency, bin.count));
    let reliability = Reliability { steps: steps.collect(), band };
    (scores("claims", &groups, seed), reliability)
}

fn scores(name: &str, groups: &[Vec<Item>], seed: Seed) -> Scores {
    let all: Vec<Item> = groups.iter().flatten().copied().collect();
    let of = |measure: fn(&[Item]) -> Option<f64>| estimate(groups, seed, measure);
    let pairs: Vec<(f64, bool)> =
        all.iter().map(|item| (item.probability, item.happened)).collect();
    let corp = Corp::of(&pairs);
    let forecasts: Vec<f64> = pairs.iter().map(|pair| pair.0).collect();
    let mut stream = seed.stream(0, 0, "miscalibration of the calibrated");
    let null = score::miscalibration_null(&forecasts, 0.95, &mut || stream.uniform(), NULL_DRAWS);
    Scores {
        forecaster: name.to_owned(),
        count: all.len() as u64,
        events: all.iter().filter(|item| item.happened).count() as u64,
        precision: of(|items| share(items, |item| item.said == Said::Alarm, |item| item.happened)),
        recall: of(|items| share(items, |item| item.happened, |item| item.said == Said::Alarm)),
        let_through: of(|items| {
            share(items, |item| item.happened, |item| item.said == Said::AllClear)
        }),
        false_alarms: of(|items| {
            share(items, |item| item.same_build, |item| item.said == Said::Alarm)
        }),
        capture_at_tenth: of(|items| score::capture_at(0.1, &ranked(items))),
        auc: of(|items| score::auc(&ranked(items))),
        brier: of(|items| mean(items, |item| score::brier(item.probability, item.happened))),
        log_score: of(|items| mean(items, |item| log_score(item.probability, item.happened))),
        brier_skill: of(|items| skill(items, score::brier)),
        log_skill: of(|items| skill(items, log_score)),
        corp: Decomposition {
            miscalibration: corp.miscalibration,
            discrimination: corp.discrimination,
            uncertainty: corp.uncertainty,
            miscalibration_null: null,
        },
    }
}

fn share(items: &[Item], among: fn(&Item) -> bool, is: fn(&Item) -> bool) -> Option<f64> {
    let chosen = items.iter().filter(|item| among(item));
    let count = chosen.clone().count();
    (count > 0).then(|| chosen.filter(|item| is(item)).count() as f64 / count as f64)
}

fn ranked(items: &[Item]) -> Vec<(f64, bool)> {
    items.iter().map(|item| (item.rank, item.happened)).collect()
}

fn mean(items: &[Item], of: impl Fn(&Item) -> f64) -> Option<f64> {
    (!items.is_empty()).then(|| items.iter().map(of).sum::<f64>() / items.len() as f64)
}

fn log_score(probability: f64, happened: bool) -> f64 {
    score::log_score(probability.clamp(1.0 - CERTAINTY, CERTAINTY), happened)
}

/// Returns the skill against the base rate of the same items; nothing if all came out alike.
fn skill(items: &[Item], rule: impl Fn(f64, bool) -> f64) -> Option<f64> {
    let base = mean(items, |item| f64::from(u8::from(item.happened)))?;
    let reference = mean(items, |item| rule(base, item.happened))?;
    let ours = mean(items, |item| rule(item.probability, item.happened))?;
    (base > 0.0 && base < 1.0).then(|| score::skill(ours, reference))
}

/// Returns the deployments that were judged wrongly, the surest first.
pub(super) fn wrong(records: &TrialRecords, labels: &Labels) -> Vec<Wrong> {
    let mut wrong: Vec<Wrong> = records
        .deployments
        .iter()
        .zip(&labels.deployments)
        .filter(|(deployment, label)| match label {
            Label::Harmful => deployment.verdict != "no_go",
            Label::Harmless => deployment.verdict == "no_go",
            Label::Undecidable => false,
        })
        .map(|(deployment, label)| Wrong {
            trial: deployment.trial.clone(),
            change: deployment.change.clone(),
            detail: deployment.detail.clone(),
            verdict: deployment.verdict.clone(),
            risk: deployment.risk,
            label: *label,
            why: furthest_off(records, deployment),
        })
        .collect();
    let miss = |wrong: &Wrong| match wrong.label {
        Label::Harmful => 1.0 - wrong.risk,
        Label::Harmless | Label::Undecidable => wrong.risk,
    };
    wrong.sort_by(|a, b| miss(b).total_cmp(&miss(a)).then(a.trial.cmp(&b.trial)));
    wrong
}

/// Returns the claim of a deployment whose forecast was furthest from what was measured, in words.
fn furthest_off(records: &TrialRecords, deployment: &Deployment) -> String {
    let claims = records.claims.iter().filter(|claim| claim.trial == deployment.trial);
    let missed = claims.filter_map(|claim| {
        let (bound, probability) = (claim.threshold?, claim.probability?);
        let measured = claim.measured?;
        let miss = (f64::from(u8::from(measured > bound)) - probability).abs();
        Some((miss, claim, bound, measured))
    });
    let worst = missed.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.claim.cmp(&a.1.claim)));
    worst.map_or_else(String::new, |(_, claim, bound, measured)| {
        let number = |value: f64| {
            if claim.metric.starts_with("latency") {
                format!("{value:.1} ms")
            } else {
                format!("{:.2} %", 100.0 * value)
            }
        };
        format!(
            "{} {}: foretold {} ({} – {}), measured {}, bound {}",
            claim.route,
            claim.metric,
            number(claim.p50),
            number(claim.p5),
            number(claim.p95),
            number(measured),
            number(bound)
        )
    })
}
