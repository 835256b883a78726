//! How true stored forecasts were.

use prophecy_core::Seed;
use prophecy_predictor::score;
use prophecy_store::SettledClaim;
use serde_json::{Value, json};

/// Scores settled claims. Nothing is scored where nothing was settled.
///
/// Determinism: the same claims give the same answer.
pub(crate) fn score(claims: &[SettledClaim]) -> Value {
    let forecasts: Vec<(f64, bool)> =
        claims.iter().map(|settled| (settled.claim.probability, settled.breached)).collect();
    let corp = score::Corp::of(&forecasts);
    let defined = |value: f64| if forecasts.is_empty() { Value::Null } else { json!(value) };
    let skill = if corp.uncertainty > 0.0 {
        json!(1.0 - corp.score / corp.uncertainty)
    } else {
        Value::Null
    };
    let bins: Vec<Value> = score::recalibrated(&forecasts)
        .iter()
        .map(|bin| {
            json!({ "from": bin.lo, "to": bin.hi, "frequency": bin.frequency, "count": bin.count })
        })
        .collect();
    let log: f64 = forecasts
        .iter()
        .map(|(probability, came)| score::log_score(probability.clamp(0.01, 0.99), *came))
        .sum();
    json!({
        "schema": "prophecy.scoreboard/1",
        "claims": forecasts.len(),
        "events": forecasts.iter().filter(|(_, came)| *came).count(),
        "brier": defined(corp.score),
        "log_score": defined(log / forecasts.len().max(1) as f64),
        "brier_skill": skill,
        "auc": score::auc(&forecasts),
        "decomposition": {
            "miscalibration": defined(corp.miscalibration),
            "discrimination": defined(corp.discrimination),
            "uncertainty": defined(corp.uncertainty),
        },
        "reliability": { "steps": bins, "band": band(&forecasts) },
        "coverage": [coverage(claims, 0.5), coverage(claims, 0.8), coverage(claims, 0.9)],
    })
}

/// How often what was measured lay inside a central interval, with what chance allows.
fn coverage(claims: &[SettledClaim], stated: f64) -> Value {
    let inside = claims.iter().filter(|settled| {
        let claim = &settled.claim;
        let (lo, hi) = match stated {
            stated if stated < 0.6 => (claim.p25, claim.p75),
            stated if stated < 0.85 => (claim.p10, claim.p90),
            _ => (claim.p5, claim.p95),
        };
        (lo..=hi).contains(&settled.measured)
    });
    let count = claims.len();
    let found = (count > 0).then(|| inside.count() as f64 / count as f64);
    let (lo, hi) = score::binomial_band(count as u64, stated, 0.95);
    json!({ "stated": stated, "found": found, "accepted": [lo, hi], "count": count })
}

/// What a calibrated forecaster would show 9 times in 10.
fn band(forecasts: &[(f64, bool)]) -> Vec<Value> {
    let probabilities: Vec<f64> = forecasts.iter().map(|(probability, _)| *probability).collect();
    let mut luck = Seed(1).stream(0, 0, "scoreboard");
    score::consistency_band(&probabilities, 0.9, &mut || luck.uniform(), 200)
        .into_iter()
        .map(|(at, lo, hi)| json!([at, lo, hi]))
        .collect()
}
