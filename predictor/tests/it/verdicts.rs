//! What the forecast says about changes whose effect is known.

use std::time::Duration;

use prophecy_predictor::outcome::settle;
use prophecy_predictor::report::{Metric, ReadReportError};
use prophecy_predictor::{Claim, Evidence, Report, Verdict};
use prophecy_simulator::observation::Workers;

use crate::synthetic::{Build, ITEMS, ORDERS, evidence, evidence_of, promising, report};

/// Less than what production takes.
const TIGHT: Duration = Duration::from_millis(40);

fn claim<'a>(report: &'a Report, route: &str, metric: Metric) -> &'a Claim {
    let mut claims = report.claims.iter();
    claims.find(|claim| claim.route == route && claim.metric == metric).expect("it is claimed")
}

fn slow() -> Build {
    Build { items_factor: 4.0, ..Build::default() }
}

/// Asserts that there is no answer, and that the reasons say why.
fn check_no_answer(evidence: &Evidence, words: &str) {
    let report = report(evidence, 2);
    assert_eq!(report.verdict, Verdict::NotEnoughEvidence, "{words}: {:?}", report.reasons);
    assert!(report.reasons.iter().any(|reason| reason.contains(words)), "{:?}", report.reasons);
}

#[test]
fn lets_a_build_pass_that_is_the_same() {
    let verdicts: Vec<Verdict> =
        (0..12).map(|seed| report(&evidence(seed, &Build::default()), 2).verdict).collect();
    assert!(!verdicts.contains(&Verdict::NoGo), "{verdicts:?}");
    let passed = verdicts.iter().filter(|verdict| **verdict == Verdict::Go).count();
    assert!(passed >= 9, "{verdicts:?}");
}

/// Production takes about 75 ms at the 95th percentile: a promise of 40 ms is broken with any build.
#[test]
fn does_not_blame_a_build_for_what_production_breaks_already() {
    for seed in 0..12 {
        let evidence = promising(evidence(seed, &Build::default()), TIGHT);
        let report = report(&evidence, 2);
        assert_ne!(report.verdict, Verdict::NoGo, "{:?}", report.reasons);
        let late = claim(&report, ITEMS, Metric::LatencyP95);
        assert!(late.probability.get() > 0.95 && late.caused.get() < 0.2, "{late:?}");
        assert!(late.because.iter().any(|why| why.contains("without the change")), "{late:?}");
    }
}

#[test]
fn blames_a_build_that_makes_a_broken_promise_clearly_worse() {
    let report = report(&promising(evidence(1, &slow()), TIGHT), 2);
    assert_eq!(report.verdict, Verdict::NoGo, "{:?}", report.reasons);
    assert!(claim(&report, ITEMS, Metric::LatencyP95).caused.get() > 0.95);
}

#[test]
fn stops_a_route_that_takes_four_times_as_long() {
    let report = report(&evidence(1, &slow()), 2);
    assert_eq!(report.verdict, Verdict::NoGo, "{:?}", report.reasons);
    let late = claim(&report, ITEMS, Metric::LatencyP95);
    assert!(late.probability.get() > 0.95, "{late:?}");
    assert!(late.because.iter().any(|sentence| sentence.contains(ITEMS)), "{late:?}");
    let untouched = claim(&report, ORDERS, Metric::LatencyP95);
    assert!(untouched.probability.get() < 0.05, "{untouched:?}");
    let undo = &report.mitigations[0];
    assert!(undo.action.contains("undo") && undo.action.contains(ITEMS), "{undo:?}");
    assert!(undo.probability.get() < 0.2, "{undo:?}");
}

#[test]
fn a_faster_build_passes() {
    let build = Build { items_factor: 0.5, ..Build::default() };
    let report = report(&evidence(1, &build), 2);
    assert_eq!(report.verdict, Verdict::Go, "{:?}", report.reasons);
    let claim = claim(&report, ITEMS, Metric::LatencyP95);
    assert!(claim.candidate.p50 < claim.baseline.p50, "{claim:?}");
}

#[test]
fn expects_errors_where_the_candidate_failed_three_in_a_hundred() {
    let build = Build { items_failure: 0.03, ..Build::default() };
    let report = report(&evidence(1, &build), 2);
    let broken = claim(&report, ITEMS, Metric::ErrorRate);
    assert!(broken.probability.get() > 0.7, "{broken:?}");
    assert!(broken.because.iter().any(|sentence| sentence.contains("fails")), "{broken:?}");
    let untouched = claim(&report, ORDERS, Metric::ErrorRate);
    assert!(untouched.probability.get() < 0.1, "{untouched:?}");
}

#[test]
fn expects_rejections_where_the_candidate_rejected_some() {
    let build = Build { orders_rejected: 0.05, ..Build::default() };
    let report = report(&evidence(1, &build), 2);
    let rejected = claim(&report, ORDERS, Metric::ClientErrorRate);
    assert!(rejected.probability.get() > 0.9, "{rejected:?}");
    assert!(rejected.because.iter().any(|sentence| sentence.contains("4xx")), "{rejected:?}");
}

/// The arms' calls hardly overlap enough to hurt a median; the queue is what the simulation adds.
#[test]
fn foresees_the_queue_at_a_pool_of_one() {
    let build = Build { pool: Some(1), ..Build::default() };
    let report = report(&evidence(1, &build), 2);
    assert_eq!(report.verdict, Verdict::NoGo, "{:?}", report.reasons);
    let late = claim(&report, ITEMS, Metric::LatencyP95);
    assert!(late.because.iter().any(|sentence| sentence.contains("`db` at once")), "{late:?}");
    let widen = report.mitigations.iter().find(|mitigation| mitigation.action.contains("widen"));
    assert!(widen.expect("it is proposed").probability.get() < 0.2);
}

/// 4 KiB for each of 40 requests a second are 560 MiB in an hour; the limit is 256 MiB.
#[test]
fn foresees_the_end_of_a_leak() {
    let build = Build { leak_bytes: 4_096.0, ..Build::default() };
    let report = report(&evidence(1, &build), 2);
    assert_eq!(report.verdict, Verdict::NoGo, "{:?}", report.reasons);
    let full = claim(&report, "", Metric::Memory);
    assert!((550.0..700.0).contains(&full.candidate.p50), "{full:?}");
    assert!(full.baseline.p50 < 100.0, "{full:?}");
    assert!(full.because.iter().any(|sentence| sentence.contains("memory of `web`")), "{full:?}");
    let fix = &report.mitigations[0];
    assert!(fix.action.contains("memory") && fix.probability.get() < 0.2, "{fix:?}");
}

/// Half the traffic leaves half the bytes behind.
#[test]
fn a_leak_grows_with_the_traffic() {
    let build = Build { leak_bytes: 2_048.0, ..Build::default() };
    let report = report(&evidence(1, &build), 2);
    let quiet = report.mitigations.iter().find(|mitigation| mitigation.action.contains("half"));
    assert!(quiet.expect("340 MiB become 200 MiB").probability.get() < 0.2);
}

#[test]
fn does_not_claim_about_memory_that_the_baseline_was_not_measured_for() {
    let mut evidence = evidence(1, &Build { leak_bytes: 4_096.0, ..Build::default() });
    evidence.baseline.services.get_mut("web").expect("it is there").memory.clear();
    let report = report(&evidence, 2);
    assert!(report.claims.iter().all(|claim| claim.metric != Metric::Memory));
}

#[test]
fn ten_exchanges_are_not_enough() {
    check_no_answer(&evidence_of(1, &Build::default(), 250_000_000), "a promise cannot be judged");
}

/// Nobody said how many workers there are, and never did a request wait for one: a build that holds them
/// two and a half times as long may find too few, and one that does not change cannot.
#[test]
fn workers_that_were_never_seen_to_bind_may_do_so() {
    let with_most_at_once = |build: &Build, most: u32| {
        let mut evidence = promising(evidence(1, build), Duration::from_millis(130));
        for arm in [
            &mut evidence.production,
            &mut evidence.baseline,
            &mut evidence.baseline_again,
            &mut evidence.candidate,
        ] {
            arm.services.get_mut("web").expect("it is there").most_at_once = most;
        }
        report(&evidence, 2)
    };
    let late = |report: &Report| claim(report, ORDERS, Metric::LatencyP95).probability.get();
    let held_longer = Build { items_factor: 2.5, ..Build::default() };
    let (unknown, known) =
        (with_most_at_once(&held_longer, 1), with_most_at_once(&held_longer, 10_000));
    assert!(late(&known) < 0.02, "{}", late(&known));
    assert!((0.05..0.95).contains(&late(&unknown)), "{}", late(&unknown));
    let equal = with_most_at_once(&Build::default(), 1);
    assert!(equal.risk.probability.get() < 0.1, "{:?}", equal.risk);
}

/// What a probe found takes the place of the draw: there are enough for a build that holds them longer, or there
/// are fewer than before. A range is the same for equal builds.
#[test]
fn workers_that_were_probed_are_known() {
    let probed = |build: &Build, production: [u32; 2], candidate: [u32; 2]| {
        let mut evidence = promising(evidence(1, build), Duration::from_millis(130));
        let arms = [
            (&mut evidence.production, production),
            (&mut evidence.baseline, production),
            (&mut evidence.baseline_again, production),
            (&mut evidence.candidate, candidate),
        ];
        for (arm, [least, most]) in arms {
            let web = arm.services.get_mut("web").expect("it is there");
            (web.most_at_once, web.workers) =
                (1, Workers::Probed { least, likeliest: least, most });
        }
        report(&evidence, 2)
    };
    let late = |report: &Report| claim(report, ORDERS, Metric::LatencyP95).probability.get();
    let held_longer = Build { items_factor: 2.5, ..Build::default() };
    let enough = probed(&held_longer, [32, 32], [32, 32]);
    assert!(late(&enough) < 0.02, "{}", late(&enough));
    let fewer = probed(&Build::default(), [32, 32], [1, 1]);
    assert!(late(&fewer) > 0.98, "{}", late(&fewer));
    let told = fewer.evidence.deltas.iter().any(|delta| delta.contains("1 requests at once"));
    assert!(told, "{:?}", fewer.evidence.deltas);
    let equal = probed(&Build::default(), [6, 9], [7, 9]);
    assert!(equal.risk.probability.get() < 0.1, "{:?}", equal.risk);
    let told = equal.evidence.deltas.iter().any(|delta| delta.contains("at once"));
    assert!(!told, "{:?}", equal.evidence.deltas);
}

/// That one promise cannot be judged does not save another that will be broken; it only never makes a go.
#[test]
fn what_cannot_be_judged_does_not_hide_what_is_broken() {
    let with_few_orders = |build: &Build| {
        let mut evidence = evidence(1, build);
        let web = evidence.candidate.services.get_mut("web").expect("it is there");
        web.routes.get_mut(ORDERS).expect("it was visited").truncate(40);
        report(&evidence, 2)
    };
    let report = with_few_orders(&slow());
    assert_eq!(report.verdict, Verdict::NoGo, "{:?}", report.reasons);
    let [broken, unjudged] = report.reasons.as_slice() else { panic!("{:?}", report.reasons) };
    assert!(broken.contains(ITEMS) && unjudged.contains(ORDERS), "{:?}", report.reasons);
    let report = with_few_orders(&Build::default());
    assert_eq!(report.verdict, Verdict::NotEnoughEvidence, "{:?}", report.reasons);
}

#[test]
fn a_replay_that_lost_requests_is_not_enough() {
    let mut evidence = evidence(1, &Build::default());
    evidence.run.arms[1].sent -= 100;
    check_no_answer(&evidence, "were lost");
}

#[test]
fn a_late_replay_is_not_enough() {
    let mut evidence = evidence(1, &Build::default());
    evidence.run.arms[2].send_lag_p99_nanos = 60_000_000;
    check_no_answer(&evidence, "send lag");
}

#[test]
fn two_unequal_arms_of_one_build_are_not_enough() {
    let mut evidence = evidence(1, &Build::default());
    evidence.baseline_again = super::synthetic::evidence(1, &slow()).candidate;
    check_no_answer(&evidence, "too noisy");
}

/// Latencies that no own time, call or queue explains.
#[test]
fn a_model_that_does_not_reproduce_the_present_is_not_enough() {
    let mut evidence = evidence(1, &Build::default());
    let web = evidence.production.services.get_mut("web").expect("it is there");
    for visit in web.routes.values_mut().flatten() {
        visit.latency_nanos *= 3;
    }
    check_no_answer(&evidence, "does not reproduce");
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let evidence = evidence(1, &slow());
    let one = report(&evidence, 1).to_json();
    for threads in [2, 4] {
        assert!(report(&evidence, threads).to_json() == one, "{threads} threads");
    }
}

#[test]
fn a_report_is_read_as_it_was_written() {
    let written = report(&evidence(1, &slow()), 2).to_json();
    let read = Report::from_json(&written).expect("just written");
    assert_eq!(read.to_json(), written);
    assert_eq!(read.verdict, Verdict::NoGo);
}

#[test]
fn refuses_a_report_of_another_schema() {
    let written = report(&evidence(1, &slow()), 2).to_json();
    let other = written.replace("prophecy.report/1", "prophecy.report/9");
    let refused = Report::from_json(&other).expect_err("the schema is unknown");
    assert!(
        matches!(&refused, ReadReportError::Schema { found } if found == "prophecy.report/9"),
        "{refused}"
    );
    let refused = Report::from_json("{").expect_err("it is cut");
    assert!(matches!(refused, ReadReportError::Format { .. }), "{refused}");
}

#[test]
fn settles_claims_by_what_came_true() {
    let evidence = evidence(1, &slow());
    let report = report(&evidence, 2);
    let late = claim(&report, ITEMS, Metric::LatencyP95);
    let settled = settle(late, &evidence.candidate).expect("the route was visited");
    assert!(settled.breached && settled.measured > 100.0, "{settled:?}");
    assert!(!settle(late, &evidence.baseline).expect("the route was visited").breached);
    assert_eq!(settle(claim(&report, "", Metric::Memory), &evidence.candidate), None);
}
