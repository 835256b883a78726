//! The bench is honest: forecasters whose worth is known get the scores that they deserve.

use prophecy_core::{Philox, Seed};
use prophecy_datasets::TrialRecords;
use prophecy_datasets::trials::{Deployment, TrialClaim};
use prophecy_predictor::accuracy::{Label, Labels, Scoreboard, scoreboard};
use prophecy_predictor::render::accuracy::{page, terminal};

const TRIALS: u32 = 300;

/// What a forecaster says, given the chance that a deployment is harmful and whether it will be.
type Forecaster = fn(chance: f64, will_be: bool) -> f64;

fn says_half(_: f64, _: bool) -> f64 {
    0.5
}

fn says_the_truth(_: f64, will_be: bool) -> f64 {
    f64::from(u8::from(will_be))
}

fn says_the_chance(chance: f64, _: bool) -> f64 {
    chance
}

/// Says 3 % where the chance is 25 %, and 97 % where it is 75 %.
fn is_too_sure(chance: f64, _: bool) -> f64 {
    if chance < 0.5 { 0.03 } else { 0.97 }
}

/// Deployments with a chance of 25 % or 75 % to exceed a bound of 100 ms clearly, and what a
/// forecaster said of them. A fifth are equal builds, which do no harm.
fn records(forecaster: Forecaster) -> TrialRecords {
    let mut records = TrialRecords::default();
    for index in 0..TRIALS {
        let mut stream = Seed(11).stream(index, 0, "trial");
        let same = index % 5 == 0;
        let chance = if stream.uniform() < 0.5 { 0.25 } else { 0.75 };
        let chance = if same { 0.0 } else { chance };
        let happens = stream.uniform() < chance;
        let said = forecaster(chance, happens);
        let trial = format!("test/{index:04}");
        let verdict = if said > 0.5 { "no_go" } else { "go" };
        records.deployments.push(Deployment {
            trial: trial.clone(),
            change: if same { "same-build" } else { "slower" }.to_owned(),
            known: same.then(|| "harmless".to_owned()),
            verdict: verdict.to_owned(),
            risk: said,
            utilization_after: Some(stream.uniform()),
            smoke_ratio: Some(if happens { 1.5 } else { 1.1 }),
            judge_score: Some(100.0),
            ..Deployment::default()
        });
        records.claims.extend(claims(&trial, said, happens, &mut stream));
    }
    records
}

/// A claim, and a number of which the forecast is a standard lognormal around 80 ms, as is the truth.
fn claims(trial: &str, said: f64, happens: bool, stream: &mut Philox) -> [TrialClaim; 2] {
    let measured = if happens { 180.0 } else { 60.0 };
    let at = |deviations: f64| 80.0 * (0.2 * deviations).exp();
    let number = TrialClaim {
        trial: trial.to_owned(),
        claim: "front/GET /a/latency-p95".to_owned(),
        route: "GET /a".to_owned(),
        metric: "latency-p95".to_owned(),
        p5: at(-1.644_854),
        p10: at(-1.281_552),
        p25: at(-0.674_490),
        p50: at(0.0),
        p75: at(0.674_490),
        p90: at(1.281_552),
        p95: at(1.644_854),
        before: Some(at(stream.normal())),
        measured: Some(at(stream.normal())),
        exchanges: 300,
        ..TrialClaim::default()
    };
    let claim = TrialClaim {
        threshold: Some(100.0),
        probability: Some(said),
        caused: Some(said),
        measured: Some(measured),
        before: Some(60.0),
        evidence_exceeded: Some(if happens { 1e6 } else { 1e-3 }),
        evidence_kept: Some(if happens { 1e-3 } else { 1e6 }),
        ..number.clone()
    };
    [claim, number]
}

fn board(forecaster: Forecaster) -> Scoreboard {
    scoreboard(&records(forecaster), Seed(1))
}

#[test]
fn one_who_always_says_half_knows_nothing_and_is_not_praised() {
    let board = board(says_half);
    let ours = &board.deployments[0];
    assert_eq!(ours.brier.value, Some(0.25));
    assert_eq!(ours.auc.value, Some(0.5));
    assert!(ours.corp.discrimination.abs() < 1e-12, "{ours:?}");
    assert_eq!(ours.recall.value, Some(0.0));
    assert_eq!(ours.precision.value, None, "there was no alarm");
    assert!(ours.brier_skill.value.expect("both came about") <= 0.0);
}

#[test]
fn one_who_always_says_the_truth_is_perfect() {
    let board = board(says_the_truth);
    for scores in [&board.deployments[0], &board.claims] {
        assert_eq!(scores.brier.value, Some(0.0), "{scores:?}");
        assert_eq!(scores.brier_skill.value, Some(1.0));
        assert_eq!((scores.precision.value, scores.recall.value), (Some(1.0), Some(1.0)));
        assert_eq!(scores.auc.value, Some(1.0));
        assert!(scores.corp.miscalibration.abs() < 1e-12);
        assert!((scores.corp.discrimination - scores.corp.uncertainty).abs() < 1e-12);
    }
    assert_eq!(board.deployments[0].false_alarms.value, Some(0.0));
    assert!(board.wrong.is_empty());
}

/// One who says the chances is calibrated; one who doubts too little is not, and scores worse though
/// the order of its forecasts is the same.
#[test]
fn one_who_is_too_sure_is_found_out() {
    let (right, sure) = (board(says_the_chance), board(is_too_sure));
    let (right, sure) = (&right.deployments[0], &sure.deployments[0]);
    assert!(right.corp.miscalibration <= right.corp.miscalibration_null, "{right:?}");
    assert!(sure.corp.miscalibration > sure.corp.miscalibration_null, "{sure:?}");
    assert!(sure.brier.value > right.brier.value);
    assert!(sure.log_score.value > right.log_score.value);
    assert!(right.log_skill.value > Some(0.1) && sure.log_skill.value < Some(0.0));
}

/// The forecast of the numbers is right: the share inside lies in the band that is accepted, and the
/// error is that of a lognormal.
#[test]
fn a_right_interval_is_found_right() {
    let board = board(says_the_chance);
    let latency = board.coverage.iter().filter(|coverage| coverage.of == "latency");
    for coverage in latency {
        let found = coverage.found.value.expect("measured");
        assert!((coverage.accepted[0]..=coverage.accepted[1]).contains(&found), "{coverage:?}");
        assert_eq!(coverage.count, u64::from(TRIALS));
    }
    assert_eq!(board.ranks.iter().map(|bin| bin.count).sum::<u64>(), u64::from(TRIALS));
    let all = board.errors.iter().find(|band| band.metric == "latency-p95" && band.load == "all");
    let error = all.and_then(|band| band.median.value).expect("measured");
    // The median of |exp(0.2 z) - 1| is 0.134, with a standard error of 0.01 over 300.
    assert!((error - 0.134).abs() < 0.035, "{error}");
    let loads = board.errors.iter().filter(|band| band.metric == "latency-p95");
    let parts: u64 = loads.filter(|band| band.load != "all").map(|band| band.count).sum();
    assert_eq!(parts, u64::from(TRIALS));
}

/// The smoke test of these records sees everything; it is ranked above one who sees nothing.
#[test]
fn others_are_scored_by_the_same_rules() {
    let board = board(says_half);
    let [ours, base, smoke, judge] = &board.deployments[..] else { panic!("four forecasters") };
    assert_eq!((smoke.precision.value, smoke.recall.value), (Some(1.0), Some(1.0)));
    assert!(smoke.brier.value < ours.brier.value);
    assert_eq!(judge.recall.value, Some(0.0));
    // Learned from earlier trials alone, the base rate is no better than the sample's own.
    assert!(base.brier_skill.value.expect("both came about") <= 0.0);
}

#[test]
fn what_noise_covers_is_not_labelled() {
    let mut records = records(says_half);
    records.claims.iter_mut().filter(|claim| claim.threshold.is_some()).for_each(|claim| {
        claim.measured = Some(104.0);
        claim.evidence_exceeded = Some(1e6);
    });
    let labels = Labels::of(&records);
    assert!(labels.claims.iter().flatten().all(|label| *label == Label::Undecidable));
    let known = |label: &&Label| **label == Label::Harmless;
    assert_eq!(labels.deployments.iter().filter(known).count(), TRIALS as usize / 5);
    let board = scoreboard(&records, Seed(1));
    assert_eq!(board.counts.undecidable, u64::from(TRIALS) * 4 / 5);
    assert_eq!(board.claims.count, 0);
}

/// A promise that was broken before, and is broken as much as before, is nobody's fault.
#[test]
fn a_bound_that_was_broken_before_does_not_make_a_change_harmful() {
    let mut records = records(says_half);
    records.claims.iter_mut().filter(|claim| claim.threshold.is_some()).for_each(|claim| {
        claim.measured = Some(200.0);
        claim.before = Some(195.0);
        claim.evidence_exceeded = Some(1e6);
        claim.evidence_kept = Some(1e-6);
    });
    let labels = Labels::of(&records);
    assert!(labels.claims.iter().flatten().all(|label| *label == Label::Harmful));
    assert!(labels.deployments.iter().all(|label| *label == Label::Harmless));
}

#[test]
fn disturbed_and_failed_trials_are_counted_and_not_scored() {
    let mut records = records(says_the_truth);
    records.deployments[0].disturbed = true;
    "failed".clone_into(&mut records.deployments[1].verdict);
    let counts = scoreboard(&records, Seed(1)).counts;
    assert_eq!((counts.trials, counts.disturbed, counts.failed), (300, 1, 1));
    assert_eq!(counts.scored, 298);
    let nothing = TrialRecords { deployments: records.deployments[..1].to_vec(), claims: vec![] };
    let empty = scoreboard(&nothing, Seed(1));
    assert_eq!(empty.counts.scored, 0);
    assert!(terminal(&empty).contains("nothing to score") && page(&empty).ends_with("</html>"));
}

#[test]
fn the_same_records_give_the_same_scoreboard() {
    let board = || serde_json::to_string(&board(is_too_sure)).expect("plain data");
    assert_eq!(board(), board());
}

#[test]
fn names_do_not_become_markup() {
    let mut records = records(is_too_sure);
    for deployment in &mut records.deployments {
        deployment.detail = "<script>alert(1)</script>\u{1b}[2J".to_owned();
        deployment.machine = "<b>".to_owned();
    }
    let board = scoreboard(&records, Seed(1));
    assert!(!board.wrong.is_empty());
    let page = page(&board);
    assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains("http"));
    assert!(!terminal(&board).contains('\u{1b}'));
}
