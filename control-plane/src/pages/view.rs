//! From records to what the pages show.

use std::collections::{BTreeMap, BTreeSet};

use prophecy_core::proportion::wilson_95;
use prophecy_core::{Seed, Timestamp};
use prophecy_predictor::accuracy::Estimate;
use prophecy_predictor::report::{Metric, Quantiles, Report};
use prophecy_predictor::{Claim, Verdict};
use prophecy_runner::judge::Judgement;
use prophecy_runner::plan::Plan;
use prophecy_runner::strategy::WHOLE;
use prophecy_store::{
    Approval, Audit, LogLine, OutcomeClaim, Prediction, PublicStatus, Rollout, SettledClaim, Step,
};

use crate::dashboard::audit::AuditRow;
use crate::dashboard::prediction::{ClaimView, PredictionRow, PredictionView};
use crate::dashboard::rollout::{
    self, Action, End, Look, Progress, RolloutCheck, RolloutRow, RolloutView, Stage,
};
use crate::dashboard::service::Profile;
use crate::dashboard::tally::{Accuracy, Filter, Group, Scored, ScoredClaim};

/// Looks that a picture shows at most.
const LOOKS: usize = 200;

/// Rollouts of a service that its profile lists.
const LAST: usize = 5;

pub(super) fn prediction_row(one: &Prediction, outcomes: &[OutcomeClaim]) -> PredictionRow {
    PredictionRow {
        id: one.id.clone(),
        system: one.system.clone(),
        environment: one.environment.clone(),
        verdict: verdict(&one.verdict),
        risk: one.risk,
        interval: [one.risk_lo, one.risk_hi],
        harmful: harmful(outcomes.iter().map(|claim| claim.breached)),
        created_at: one.created_at,
        revoked_at: one.revoked_at,
    }
}

pub(super) fn prediction(
    one: &Prediction,
    report: &str,
    registered: &[prophecy_store::Claim],
    outcomes: &[OutcomeClaim],
    rollout: Option<String>,
) -> PredictionView {
    let report = Report::from_json(report).ok();
    let settled: BTreeMap<&str, &OutcomeClaim> =
        outcomes.iter().map(|claim| (claim.claim_id.as_str(), claim)).collect();
    let outcome = |id: &str| settled.get(id).copied();
    let mut claims: Vec<ClaimView> = match &report {
        Some(report) => {
            report.claims.iter().map(|claim| claim_view(claim, outcome(&claim.id))).collect()
        }
        // Of a deployment that was recorded elsewhere only the claims are known.
        None => registered
            .iter()
            .filter_map(|claim| registered_view(claim, outcome(&claim.claim_id)))
            .collect(),
    };
    claims.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    PredictionView {
        summary: prediction_row(one, outcomes),
        builds: [one.baseline_digest.clone(), one.candidate_digest.clone()],
        reasons: report.map(|report| report.reasons).unwrap_or_default(),
        claims,
        rollout,
    }
}

fn claim_view(claim: &Claim, settled: Option<&OutcomeClaim>) -> ClaimView {
    ClaimView {
        service: claim.service.clone(),
        route: claim.route.clone(),
        metric: claim.metric,
        threshold: claim.threshold,
        probability: claim.probability.get(),
        interval: claim.interval.into(),
        baseline: claim.baseline,
        candidate: claim.candidate,
        measured: settled.map(|settled| settled.measured),
        breached: settled.map(|settled| settled.breached),
        because: claim.because.clone(),
    }
}

fn registered_view(
    claim: &prophecy_store::Claim,
    settled: Option<&OutcomeClaim>,
) -> Option<ClaimView> {
    Some(ClaimView {
        service: claim.service.clone(),
        route: claim.route.clone(),
        metric: Metric::of_slug(&claim.metric)?,
        threshold: claim.threshold,
        probability: claim.probability,
        interval: [claim.probability; 2],
        baseline: quantiles(claim),
        candidate: quantiles(claim),
        measured: settled.map(|settled| settled.measured),
        breached: settled.map(|settled| settled.breached),
        because: Vec::new(),
    })
}

fn quantiles(claim: &prophecy_store::Claim) -> Quantiles {
    Quantiles {
        p5: claim.p5,
        p10: claim.p10,
        p25: claim.p25,
        p50: claim.p50,
        p75: claim.p75,
        p90: claim.p90,
        p95: claim.p95,
    }
}

/// Puts settled claims to their predictions.
pub(super) fn scored(predictions: Vec<Prediction>, settled: Vec<SettledClaim>) -> Vec<Scored> {
    let mut claims: BTreeMap<String, Vec<ScoredClaim>> = BTreeMap::new();
    for one in settled {
        let Some(metric) = Metric::of_slug(&one.claim.metric) else { continue };
        let (claim, measured, breached) = (one.claim, one.measured, one.breached);
        let scored = ScoredClaim {
            metric,
            probability: claim.probability,
            forecast: quantiles(&claim),
            service: claim.service,
            route: claim.route,
            measured: Some(measured),
            breached: Some(breached),
        };
        claims.entry(claim.prediction_id).or_default().push(scored);
    }
    let of = |one: Prediction| {
        let claims = claims.remove(&one.id).unwrap_or_default();
        Scored {
            verdict: verdict(&one.verdict),
            harmful: harmful(claims.iter().filter_map(|claim| claim.breached)),
            cause: cause(&claims),
            id: one.id,
            system: one.system,
            created_at: one.created_at,
            risk: one.risk,
            claims,
        }
    };
    predictions.into_iter().map(of).collect()
}

/// Says which claims came true, the least expected first.
fn cause(claims: &[ScoredClaim]) -> Option<String> {
    let mut broken: Vec<_> = claims.iter().filter(|claim| claim.breached == Some(true)).collect();
    broken.sort_by(|a, b| a.probability.total_cmp(&b.probability));
    let first = broken.first()?;
    let more =
        if broken.len() > 1 { format!(", and {} more", broken.len() - 1) } else { String::new() };
    Some(format!("{} of {} was broken{more}", first.metric.words(), first.route))
}

pub(super) fn rollout_row(one: &Rollout) -> RolloutRow {
    RolloutRow {
        id: one.id.clone(),
        system: one.system.clone(),
        environment: one.environment.clone(),
        strategy: one.strategy.replace('_', "-"),
        state: one.state.clone(),
        end: match one.public_status {
            PublicStatus::Success => End::Succeeded,
            PublicStatus::Failed | PublicStatus::Cancelled | PublicStatus::RolledBack => {
                End::Failed
            }
            _ => End::Running,
        },
        weight: share(one.weight),
        updated_at: one.updated_at,
    }
}

pub(super) fn rollout(
    one: &Rollout,
    steps: &[Step],
    verdicts: &[prophecy_store::Verdict],
    logs: &[LogLine],
    approvals: &[Approval],
    now: Timestamp,
) -> RolloutView {
    let plan: Option<Plan> = serde_json::from_str(&one.plan_json).ok();
    let log = logs.iter().map(|line| rollout::LogLine {
        at: line.at,
        level: if line.level == "warn" { "warning".to_owned() } else { line.level.clone() },
        text: line.text.clone(),
    });
    let approvals = approvals.iter().map(|approval| rollout::Approval {
        by: approval.approver.clone(),
        stage: (approval.stage + 1).to_string(),
        revision: approval.revision,
        at: approval.at,
    });
    let (log, approvals) = (log.collect(), approvals.collect());
    RolloutView {
        summary: rollout_row(one),
        revision: one.revision,
        reason: one.reason.clone(),
        prediction: one.prediction_id.clone(),
        stages: stages(one, plan.as_ref(), steps, now),
        checks: checks(one, verdicts),
        log,
        approvals,
        actions: actions(one),
    }
}

fn stages(one: &Rollout, plan: Option<&Plan>, steps: &[Step], now: Timestamp) -> Vec<Stage> {
    let now = one.ended_at.unwrap_or(now);
    let known: BTreeMap<u64, &Step> = steps.iter().map(|step| (step.step_index, step)).collect();
    let planned = plan.map(|plan| plan.stages.as_slice()).unwrap_or_default();
    let failed = rollout_row(one).end == End::Failed;
    let mut stages: Vec<Stage> = planned
        .iter()
        .map(|planned| {
            let step = known.get(&u64::from(planned.index));
            Stage {
                name: format!("step {}", planned.index + 1),
                weight: f64::from(planned.weight.parts()) / f64::from(WHOLE),
                progress: progress(step.copied(), failed),
                work_seconds: step.map(|step| seconds(step, now)),
                human_seconds: 0.0,
                verdict: step.and_then(|step| step.verdict.clone()),
            }
        })
        .collect();
    let last = known.get(&(planned.len() as u64)).copied();
    stages.push(Stage {
        name: "everything".to_owned(),
        weight: 1.0,
        progress: progress(last, failed),
        work_seconds: last.map(|step| seconds(step, now)),
        human_seconds: 0.0,
        verdict: last.and_then(|step| step.verdict.clone()),
    });
    stages
}

fn progress(step: Option<&Step>, failed: bool) -> Progress {
    match step {
        None => Progress::Ahead,
        Some(step) if step.state == "failed" => Progress::Failed,
        Some(step) if step.ended_at.is_some() => Progress::Done,
        Some(_) if failed => Progress::Failed,
        Some(_) => Progress::Current,
    }
}

fn seconds(step: &Step, now: Timestamp) -> f64 {
    step.ended_at.unwrap_or(now).nanos_since(step.started_at) as f64 / 1e9
}

/// Returns each check of the last step over time.
fn checks(one: &Rollout, verdicts: &[prophecy_store::Verdict]) -> Vec<RolloutCheck> {
    let stage = verdicts.iter().map(|verdict| verdict.stage).max().unwrap_or(one.stage);
    let of_stage: Vec<_> = verdicts.iter().filter(|verdict| verdict.stage == stage).collect();
    let stride = of_stage.len().div_ceil(LOOKS).max(1);
    let last = of_stage.len().saturating_sub(1);
    let mut order: Vec<String> = Vec::new();
    let mut checks: BTreeMap<String, RolloutCheck> = BTreeMap::new();
    let shown = of_stage
        .iter()
        .enumerate()
        .filter(|(index, _)| index % stride == 0 || *index == last)
        .map(|(_, verdict)| verdict);
    for verdict in shown {
        let judgement: Result<Judgement, _> = serde_json::from_str(&verdict.judgement_json);
        for check in judgement.map(|judgement| judgement.checks).unwrap_or_default() {
            let [control, candidate] = check.values;
            let shown = checks.entry(check.name.clone()).or_insert_with(|| {
                order.push(check.name.clone());
                RolloutCheck {
                    name: check.name.clone(),
                    unit: check.unit.clone(),
                    baseline: Vec::new(),
                    canary: Vec::new(),
                    bound: None,
                    verdict: String::new(),
                }
            });
            let look = |value: f64, interval: Option<[f64; 2]>| {
                let [lo, hi] = interval.unwrap_or([value, value]);
                Look { at: verdict.at, value, lo, hi }
            };
            shown.baseline.extend(control.map(|value| look(value, None)));
            shown.canary.extend(candidate.map(|value| look(value, check.interval)));
            shown.bound = check.bound;
            shown.verdict = check.words;
        }
    }
    let found = order.into_iter().filter_map(|name| checks.remove(&name));
    found.filter(|check| !check.canary.is_empty()).collect()
}

fn actions(one: &Rollout) -> Vec<Action> {
    match one.state.as_str() {
        "observing" => vec![Action::Promote, Action::Pause, Action::Abort],
        "paused" => vec![Action::Promote, Action::Resume, Action::Abort],
        "succeeded" => vec![Action::Rollback],
        "aborting" | "rolling_back" | "verifying" | "rolled_back" | "rollback_failed" => Vec::new(),
        _ => vec![Action::Abort],
    }
}

/// Returns how risky the changes of each service were; `rollouts` come newest first.
pub(super) fn profiles(scored: &[Scored], rollouts: &[Rollout], now: Timestamp) -> Vec<Profile> {
    let tally = Accuracy::of(scored, &Filter::default(), now, Seed(7));
    let mut changed: BTreeMap<String, Vec<&Rollout>> = BTreeMap::new();
    for rollout in rollouts {
        let plan: Option<Plan> = serde_json::from_str(&rollout.plan_json).ok();
        let services: BTreeSet<String> =
            plan.iter().flat_map(|plan| &plan.components).map(|it| it.service.clone()).collect();
        for service in services {
            changed.entry(service).or_default().push(rollout);
        }
    }
    let groups: BTreeMap<_, _> = tally.services.into_iter().collect();
    let names: BTreeSet<String> = changed.keys().chain(groups.keys()).cloned().collect();
    names
        .into_iter()
        .map(|service| {
            let changes = changed.get(&service).map(Vec::as_slice).unwrap_or_default();
            Profile {
                accuracy: groups.get(&service).cloned().unwrap_or_default(),
                ..profile(service, changes, scored)
            }
        })
        .collect()
}

fn profile(service: String, changes: &[&Rollout], scored: &[Scored]) -> Profile {
    let rows: Vec<RolloutRow> = changes.iter().map(|rollout| rollout_row(rollout)).collect();
    let ended = rows.iter().filter(|row| row.end != End::Running).count() as u64;
    let failed = rows.iter().filter(|row| row.end == End::Failed).count() as u64;
    let mut broken: BTreeMap<String, u64> = BTreeMap::new();
    let (mut risk, mut foretold) = (0.0, 0_u32);
    let gated: BTreeSet<&str> =
        changes.iter().filter_map(|rollout| rollout.prediction_id.as_deref()).collect();
    for prediction in scored {
        let about = || prediction.claims.iter().filter(|claim| claim.service == service);
        if about().next().is_some() || gated.contains(prediction.id.as_str()) {
            risk += prediction.risk;
            foretold += 1;
        }
        for claim in about().filter(|claim| claim.breached == Some(true)) {
            *broken.entry(format!("{} of {}", claim.metric.words(), claim.route)).or_default() += 1;
        }
    }
    let mut broken: Vec<(String, u64)> = broken.into_iter().collect();
    broken.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), name.clone()));
    broken.truncate(LAST);
    Profile {
        service,
        deployments: ended,
        failure_rate: if ended == 0 {
            Estimate::default()
        } else {
            let interval = wilson_95(failed, ended);
            let value = Some(failed as f64 / ended as f64);
            Estimate { value, lo: Some(interval.lo()), hi: Some(interval.hi()) }
        },
        mean_risk: (foretold > 0).then(|| risk / f64::from(foretold)),
        accuracy: Group::default(),
        broken,
        rollouts: rows.into_iter().take(LAST).collect(),
    }
}

pub(super) fn audit_row(one: &Audit) -> AuditRow {
    AuditRow {
        sequence: one.seq as i64,
        at: one.entry.at,
        actor: one.entry.actor.clone(),
        action: one.entry.action.clone(),
        object: one.entry.object.clone(),
        hash: one.hash.clone(),
    }
}

fn verdict(text: &str) -> Verdict {
    match text {
        "go" => Verdict::Go,
        "no_go" => Verdict::NoGo,
        _ => Verdict::NotEnoughEvidence,
    }
}

/// Says whether anything that was promised was broken; nothing if nothing was settled.
fn harmful(mut breached: impl Iterator<Item = bool>) -> Option<bool> {
    let first = breached.next()?;
    Some(first || breached.any(|it| it))
}

fn share(parts: u64) -> f64 {
    parts as f64 / f64::from(WHOLE)
}
