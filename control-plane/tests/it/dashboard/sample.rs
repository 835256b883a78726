//! Seeded sample data: a forecaster that is good, but not perfect.

use prophecy_control_plane::dashboard::accuracy::accuracy;
use prophecy_control_plane::dashboard::audit::{AuditRow, Chain, audit};
use prophecy_control_plane::dashboard::notice::{Refusal, login, refusal};
use prophecy_control_plane::dashboard::prediction::{
    ClaimView, PredictionList, PredictionRow, PredictionView, prediction, predictions,
};
use prophecy_control_plane::dashboard::rollout::{
    Action, Approval, End, LogLine, Look, Progress, RolloutCheck, RolloutRow, RolloutView, Stage,
    rollout, rollouts,
};
use prophecy_control_plane::dashboard::service::{Profile, services};
use prophecy_control_plane::dashboard::tally::{Accuracy, Filter, Scored, ScoredClaim};
use prophecy_control_plane::dashboard::what_if::{Answer, Choice, Question, WhatIf, what_if};
use prophecy_control_plane::dashboard::{Context, Viewer};
use prophecy_core::{Seed, Timestamp};
use prophecy_predictor::Verdict;
use prophecy_predictor::report::{Metric, Quantiles};
use prophecy_simulator::replication::{Estimate, RouteSummary, ServiceSummary, Summary};

/// The time at which the pages are looked at.
pub(crate) const NOW: Timestamp = Timestamp(1_780_000_000_000_000_000);

fn before(seconds: i64) -> Timestamp {
    Timestamp(NOW.0 - seconds * 1_000_000_000)
}

/// Someone who may do anything.
pub(crate) fn context() -> Context {
    let viewer = Viewer {
        name: "ana".to_owned(),
        role: "admin".to_owned(),
        may_deploy: true,
        may_administer: true,
    };
    Context { now: NOW, viewer: Some(viewer), nonce: "n0nce".to_owned(), csrf: "c5rf".to_owned() }
}

fn around(median: f64) -> Quantiles {
    let at = |factor: f64| median * factor;
    Quantiles {
        p5: at(0.7),
        p10: at(0.76),
        p25: at(0.87),
        p50: median,
        p75: at(1.15),
        p90: at(1.31),
        p95: at(1.43),
    }
}

/// Makes predictions over a year, each with so many claims; nine in ten are settled.
pub(crate) fn scored(count: usize, claims: usize, name: &str) -> Vec<Scored> {
    let metrics = [
        Metric::LatencyP95,
        Metric::LatencyP99,
        Metric::ErrorRate,
        Metric::Memory,
        Metric::LatencyMean,
    ];
    let services = [name, "storefront", "inventory", "search"];
    let mut luck = Seed(7).stream(0, 0, "sample");
    let mut predictions = Vec::new();
    for index in 0..count {
        let settled = count < 10 || luck.uniform() < 0.9;
        let made: Vec<ScoredClaim> = (0..claims)
            .map(|claim| {
                let metric = metrics[claim % metrics.len()];
                let median = if metric == Metric::ErrorRate {
                    0.004
                } else {
                    20.0 * (1.0 + 8.0 * luck.uniform().powi(3))
                };
                let probability = luck.uniform().powi(3);
                // A little too sure: the truth is nearer to even than what is said.
                let breached = luck.uniform() < 0.04 + 0.88 * probability;
                let measured = median * (0.22 * luck.normal()).exp();
                ScoredClaim {
                    service: services[(index + claim) % services.len()].to_owned(),
                    route: format!("POST /{name}"),
                    metric,
                    probability,
                    forecast: around(median),
                    measured: settled.then_some(measured),
                    breached: settled.then_some(breached),
                }
            })
            .collect();
        let risk = made.iter().map(|claim| claim.probability).fold(0.0, f64::max);
        let harmful =
            made.iter().any(|claim| claim.breached == Some(true) && claim.probability > 0.2);
        predictions.push(Scored {
            id: format!("pr-{index:05}-{name}"),
            system: if index % 3 == 0 { "billing".to_owned() } else { name.to_owned() },
            created_at: before((count - index) as i64 * 360 * 86_400 / count as i64),
            verdict: match risk {
                _ if index % 17 == 0 => Verdict::NotEnoughEvidence,
                risk if risk > 0.5 => Verdict::NoGo,
                _ => Verdict::Go,
            },
            risk,
            harmful: settled.then_some(harmful),
            cause: (index % 2 == 0).then(|| format!("a cache of {name} was cold")),
            claims: made,
        });
    }
    predictions
}

/// Rows of the list of predictions.
pub(crate) fn prediction_rows(name: &str) -> Vec<PredictionRow> {
    let verdicts = [Verdict::Go, Verdict::NoGo, Verdict::NotEnoughEvidence];
    (0..12_i32)
        .map(|index| {
            let risk = [0.03, 0.81, 0.34, 0.12][index as usize % 4];
            PredictionRow {
                id: format!("pr-{index:04}-{name}"),
                system: name.to_owned(),
                environment: "production".to_owned(),
                verdict: verdicts[index as usize % 3],
                risk,
                interval: [risk * 0.6, (risk * 1.5).min(0.97)],
                harmful: [Some(false), Some(true), None][index as usize % 3],
                created_at: before(i64::from(index * index) * 4_000 + 50),
                revoked_at: (index == 5).then(|| before(600)),
            }
        })
        .collect()
}

fn prediction_view(name: &str) -> PredictionView {
    let claim =
        |metric: Metric, median: f64, threshold: f64, probability: f64, measured: Option<f64>| {
            ClaimView {
                service: name.to_owned(),
                route: "POST /checkout".to_owned(),
                metric,
                threshold,
                probability,
                interval: [probability * 0.7, (probability * 1.3).min(1.0)],
                baseline: around(median * 0.7),
                candidate: around(median),
                measured,
                breached: measured.map(|it| it > threshold),
                because: vec![format!("{name} calls inventory twice per request.")],
            }
        };
    PredictionView {
        summary: prediction_rows(name)[1].clone(),
        builds: ["b3:4f1c09aa".to_owned(), format!("b3:99e0 {name}")],
        reasons: vec![format!("p95 latency of {name} exceeds its bound with 81 %.")],
        claims: vec![
            claim(Metric::LatencyP95, 240.0, 200.0, 0.81, Some(252.0)),
            claim(Metric::ErrorRate, 0.006, 0.01, 0.12, Some(0.0071)),
            claim(Metric::Memory, 310.0, 512.0, 0.02, None),
        ],
        rollout: Some(format!("ro-7-{name}")),
    }
}

fn rollout_rows(name: &str) -> Vec<RolloutRow> {
    let states = [
        ("observe", End::Running, 0.05),
        ("succeeded", End::Succeeded, 1.0),
        ("rolled_back", End::Failed, 0.0),
    ];
    states
        .iter()
        .enumerate()
        .map(|(index, (state, end, weight))| RolloutRow {
            id: format!("ro-{index}-{name}"),
            system: name.to_owned(),
            environment: "production".to_owned(),
            strategy: "canary".to_owned(),
            state: (*state).to_owned(),
            end: *end,
            weight: *weight,
            updated_at: before(90 + 90_000 * index as i64),
        })
        .collect()
}

fn check(name: &str, unit: &str, level: f64, harm: f64, bound: Option<f64>) -> RolloutCheck {
    let mut luck = Seed(3).stream(0, level.to_bits(), "looks");
    let mut looks = |median: f64| {
        (1..=30)
            .map(|index| {
                let half = median * 0.9 / f64::from(index).sqrt();
                let value = median * (1.0 + 0.4 * luck.normal() / f64::from(index).sqrt()).max(0.0);
                Look {
                    at: before(900 - 30 * i64::from(index)),
                    value,
                    lo: (value - half).max(0.0),
                    hi: value + half,
                }
            })
            .collect()
    };
    let (baseline, canary) = (looks(level), looks(level * harm));
    RolloutCheck {
        name: name.to_owned(),
        unit: unit.to_owned(),
        baseline,
        canary,
        bound,
        verdict: "no difference found".to_owned(),
    }
}

/// The page of a rollout under way.
pub(crate) fn rollout_page(context: &Context, name: &str) -> String {
    let stage = |stage: &str, weight, progress, work, human, verdict: Option<&str>| Stage {
        name: stage.to_owned(),
        weight,
        progress,
        work_seconds: work,
        human_seconds: human,
        verdict: verdict.map(str::to_owned),
    };
    rollout(
        context,
        &RolloutView {
            summary: rollout_rows(name)[0].clone(),
            revision: 17,
            reason: Some(format!("{name} is observed")),
            prediction: Some(format!("pr-0001-{name}")),
            stages: vec![
                stage(
                    "first",
                    0.000_01,
                    Progress::Done,
                    Some(312.0),
                    0.0,
                    Some("passed: no difference found"),
                ),
                stage(
                    "second",
                    0.01,
                    Progress::Done,
                    Some(605.0),
                    1_830.0,
                    Some("passed after approval"),
                ),
                stage(name, 0.05, Progress::Current, Some(240.0), 0.0, None),
                stage("half", 0.5, Progress::Ahead, None, 0.0, None),
                stage("all", 1.0, Progress::Ahead, None, 0.0, None),
            ],
            checks: vec![
                check(&format!("error rate of {name}"), "%", 0.4, 1.1, Some(1.0)),
                check("p95 latency", "ms", 120.0, 1.3, Some(300.0)),
                check("p99 latency", name, 310.0, 1.0, None),
                check("memory", "MiB", 240.0, 1.05, Some(512.0)),
            ],
            log: (0..8)
                .map(|index| LogLine {
                    at: before(400 - 40 * index),
                    level: ["info", "info", "warning", "error"][index as usize % 4].to_owned(),
                    text: format!("{name}: shifted to 5 %, revision {index}"),
                })
                .collect(),
            approvals: vec![Approval {
                by: name.to_owned(),
                stage: "second".to_owned(),
                revision: 12,
                at: before(1_200),
            }],
            actions: vec![Action::Promote, Action::Pause, Action::Abort],
        },
    )
}

/// What simulated runs say together.
fn summary(name: &str) -> Summary {
    let of = |mean: f64| Estimate { mean, half_width: mean / 20.0 };
    Summary {
        routes: vec![RouteSummary {
            service: name.to_owned(),
            route: format!("GET {name}"),
            requests: of(3_000.0),
            latency_ms_p50: of(12.0),
            latency_ms_p95: of(45.0),
            latency_ms_p99: of(90.0),
            error_rate: of(0.01),
        }],
        services: vec![ServiceSummary {
            service: name.to_owned(),
            utilization: Some(of(0.7)),
            queue_mean: of(0.4),
            queue_max: of(9.0),
            saturated: Some(of(0.25)),
        }],
        hosts: Vec::new(),
    }
}

/// Every page, with a text in every field that is not ours.
pub(crate) fn pages(name: &str) -> Vec<(&'static str, String)> {
    let context = &{
        let mut context = context();
        name.clone_into(&mut context.csrf);
        let viewer = context.viewer.as_mut().expect("someone looks");
        (viewer.name, viewer.role) = (name.to_owned(), format!("{name} admin"));
        context
    };
    let nobody = Context { viewer: None, ..context.clone() };
    let filter = Filter::default();
    let scored = scored(1_200, 5, &format!("x{name}"));
    let view = Accuracy::of(&scored, &filter, NOW, Seed(1));
    let empty = Accuracy::of(&[], &filter, NOW, Seed(1));
    let rows = rollout_rows(name);
    let profiles: Vec<Profile> = view
        .services
        .iter()
        .map(|(service, group)| Profile {
            service: service.clone(),
            deployments: 42,
            failure_rate: prophecy_predictor::accuracy::Estimate {
                value: Some(0.12),
                lo: Some(0.05),
                hi: Some(0.25),
            },
            mean_risk: Some(0.21),
            accuracy: group.clone(),
            broken: vec![(format!("p95 latency of {name}"), 6)],
            rollouts: rows.clone(),
        })
        .collect();
    let list = PredictionList {
        rows: prediction_rows(name),
        systems: vec![name.to_owned()],
        system: Some(name.to_owned()),
        verdict: Some("no_go".to_owned()),
        newer: Some(name.to_owned()),
        older: Some(name.to_owned()),
    };
    let summary = summary(name);
    let asked = WhatIf {
        models: vec![Choice { name: name.to_owned(), services: vec![(name.to_owned(), 2)] }],
        question: Some(Question {
            model: name.to_owned(),
            now_hz: 100.0,
            then_hz: 150.0,
            service: Some(name.to_owned()),
            replicas: Some(4),
        }),
        answer: Some(Answer { now: summary.clone(), then: summary, runs: 16 }),
        refused: Some(format!("{name} has no model")),
    };
    let entries: Vec<AuditRow> = (0..6)
        .map(|index| AuditRow {
            sequence: 6 - index,
            at: before(index * 700),
            actor: name.to_owned(),
            action: format!("rollout.promote {name}"),
            object: name.to_owned(),
            hash: format!("9f2c77ab01{name}"),
        })
        .collect();
    vec![
        ("accuracy", accuracy(context, &view, &filter)),
        ("accuracy-empty", accuracy(context, &empty, &filter)),
        ("predictions", predictions(context, &list)),
        ("prediction", prediction(context, &prediction_view(name))),
        ("rollouts", rollouts(context, &rows, Some(name))),
        ("rollout", rollout_page(context, name)),
        ("services", services(context, &profiles)),
        ("what-if", what_if(context, &asked)),
        ("audit", audit(context, &entries, Chain::Whole(6), Some(name))),
        ("login", login(&nobody, true)),
        ("not-found", refusal(context, Refusal::NotFound, name)),
        ("forbidden", refusal(context, Refusal::Forbidden, name)),
        ("broken", refusal(&nobody, Refusal::Broken, name)),
    ]
}
