//! The renderings of one small report.

use expect_test::expect;
use prophecy_core::{Interval, Probability};
use prophecy_datasets::run::{Difference, DifferenceKind};
use prophecy_predictor::render::{html, junit, markdown, terminal};
use prophecy_predictor::report::{
    AaCheck, EvidenceSummary, Fidelity, Metric, Mitigation, Quantiles, Risk, RouteFidelity, SCHEMA,
};
use prophecy_predictor::{Claim, Inputs, Report, Verdict};

/// A name that is markup in every format.
const HOSTILE: &str = "GET /<script>&\"'|";

fn interval(lo: f64, hi: f64) -> Interval {
    Interval::try_new(lo, hi).expect("in order")
}

fn claim(route: &str, metric: Metric, probability: f64) -> Claim {
    let latency = metric == Metric::LatencyP95;
    let quantiles = |factor: f64| {
        let at = |value: f64| value * factor * if latency { 100.0 } else { 0.01 };
        let (p10, p90) = (at(0.85), at(1.15));
        Quantiles { p5: at(0.8), p10, p25: at(0.9), p50: at(1.0), p75: at(1.1), p90, p95: at(1.2) }
    };
    Claim {
        id: format!("web/{}/{}", route.replace(' ', "-"), metric.slug()),
        service: "web".to_owned(),
        route: route.to_owned(),
        metric,
        threshold: if latency { 250.0 } else { 0.02 },
        unit: if latency { "ms" } else { "share" }.to_owned(),
        bound: "promised".to_owned(),
        probability: Probability::clamped(probability),
        interval: interval(0.8 * probability, (1.1 * probability).min(1.0)),
        caused: Probability::clamped(probability),
        baseline: quantiles(1.0),
        candidate: quantiles(if latency { 3.0 } else { 1.0 }),
        because: vec![format!("own time of `{route}` in `web`: median 20 ms → 80 ms (+300 %)")],
        exchanges: [400, 390],
    }
}

fn report_of(system: &str, route: &str) -> Report {
    let verdict_reason =
        format!("web {route}: p95 latency will exceed 250 ms with probability 97 % (78–100)");
    Report {
        schema: SCHEMA.to_owned(),
        engine: "0.1.0".to_owned(),
        system: system.to_owned(),
        verdict: Verdict::NoGo,
        reasons: vec![verdict_reason],
        risk: Risk {
            score: 97,
            probability: Probability::clamped(0.97),
            interval: interval(0.8, 1.0),
            max_score: 20.0,
        },
        claims: vec![
            claim(route, Metric::LatencyP95, 0.97),
            claim(route, Metric::ErrorRate, 0.002),
        ],
        routes: Vec::new(),
        differences: vec![Difference {
            route: route.to_owned(),
            field: "$.price".to_owned(),
            kind: DifferenceKind::Missing,
            count: 12,
            of: 390,
            interval: interval(0.018, 0.053),
            noise_share: 0.0,
        }],
        mitigations: vec![Mitigation {
            action: format!("undo what changed the time of `{route}` in `web`"),
            probability: Probability::clamped(0.03),
            interval: interval(0.0, 0.1),
        }],
        evidence: EvidenceSummary {
            offered: 400,
            sent: 1_200,
            lost: 3,
            send_lag_ms_p50: 0.12,
            send_lag_ms_p99: 1.5,
            speed: 1.0,
            aa: AaCheck { noise: 0.021, passed: true },
            fidelity: Fidelity {
                passed: true,
                error: 0.06,
                held_out: true,
                routes: vec![RouteFidelity {
                    route: route.to_owned(),
                    exchanges: 160,
                    captured_ms: [52.0, 75.0, 90.0],
                    simulated_ms: [51.0, 77.0, 95.0],
                    range_ms: [[48.0, 54.0], [70.0, 84.0], [82.0, 110.0]],
                }],
            },
            ended: Vec::new(),
            deltas: vec![format!("own time of `{route}` in `web`: median 20 ms → 80 ms (+300 %)")],
            not_claimed: vec![format!("web {route}: 12 exchanges were captured")],
            notes: vec![format!("the workers of {system} are not known")],
        },
        inputs: Inputs {
            dataset: "a".repeat(64),
            baseline: "b".repeat(64),
            candidate: "c".repeat(64),
            policy: "synthetic".to_owned(),
            window: ["2026-01-05T09:00:00Z", "2026-01-05T09:00:30Z"].map(str::to_owned),
            exchanges: 400,
        },
        seed: 7,
        replications: 960,
    }
}

#[test]
fn the_summary_for_a_terminal() {
    expect![[r#"
        dataset    400 exchanges with `town`, 2026-01-05T09:00:00Z to 2026-01-05T09:00:30Z
                   made from a dataset whose policy keeps everything: for test systems only
        replay     400 requests to each arm, 3 lost, send lag p50 0.12 ms, p99 1.50 ms
        model      reproduces the captured present (median error 6 %, on held-out time); noise between equal arms 2.1 %
        forecast   960 simulated runs of each build, seed 7

          97 %  web GET /items  p95 latency    > 250 ms    now   100 ms, then 300 ms (240 ms – 360 ms)
         < 1 %  web GET /items  error rate     > 2.00 %    now   1.00 %, then 1.00 % (0.80 % – 1.20 %)

        because    own time of `GET /items` in `web`: median 20 ms → 80 ms (+300 %)

        answers    `GET /items` lacks `$.price` in 12 of 390 answers (1.8–5.3 %)

        instead    undo what changed the time of `GET /items` in `web` → risk 3 %

        risk 97 of 100 (90 % interval 80–100), limit 20
          web GET /items: p95 latency will exceed 250 ms with probability 97 % (78–100)
        verdict: no-go"#]].assert_eq(&terminal(&report_of("town", "GET /items")));
}

#[test]
fn the_report_for_a_pull_request() {
    expect![[r#"
        ## ⛔ town: no-go

        Risk **97** of 100 (90 % interval 80–100; limit 20)

        > **Synthetic**: made from a dataset whose policy keeps everything: for test systems only

        - web GET /items: p95 latency will exceed 250 ms with probability 97 % (78–100)

        | probability | claim | now | then (90 %) |
        | ---: | --- | ---: | ---: |
        | 97 % (78–100) | web GET /items: p95 latency > 250 ms | 100 ms | 300 ms (240 ms – 360 ms) |
        | < 1 % (0–0) | web GET /items: error rate > 2.00 % | 1.00 % | 1.00 % (0.80 % – 1.20 %) |

        **What changed**

        - own time of `GET /items` in `web`: median 20 ms → 80 ms (+300 %)

        **Changed answers**

        - `GET /items` lacks `$.price` in 12 of 390 answers (1.8–5.3 %)

        **Instead**

        - undo what changed the time of `GET /items` in `web`: risk 3 % remains

        <sub>400 requests to each of three arms, 3 lost, send lag p99 1.50 ms; model error 6 %; 960 simulated runs, seed 7; prophecy 0.1.0</sub>
    "#]].assert_eq(&markdown(&report_of("town", "GET /items")));
}

#[test]
fn the_report_for_a_continuous_integration_job() {
    expect![[r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="prophecy" tests="3" failures="1" errors="0">
          <testsuite name="town" tests="3" failures="1" errors="0">
            <testcase classname="town" name="verdict"><system-out>no_go
        web GET /items: p95 latency will exceed 250 ms with probability 97 % (78–100)</system-out></testcase>
            <testcase classname="web GET /items" name="web/GET-/items/latency-p95"><failure message="p95 latency">p95 latency exceeds 250 ms with probability 97 % (78–100)
        own time of `GET /items` in `web`: median 20 ms → 80 ms (+300 %)</failure></testcase>
            <testcase classname="web GET /items" name="web/GET-/items/error-rate"><system-out>error rate exceeds 2.00 % with probability 0 % (0–0)
        own time of `GET /items` in `web`: median 20 ms → 80 ms (+300 %)</system-out></testcase>
          </testsuite>
        </testsuites>
    "#]].assert_eq(&junit(&report_of("town", "GET /items")));
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let page = html(&report_of("town", "GET /items"));
    for foreign in ["<script", "http:", "https:", "//", "@import", "url(", "src=", "<link"] {
        assert!(!page.contains(foreign), "the page holds `{foreign}`");
    }
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
}

#[test]
fn names_do_not_steer_a_terminal() {
    let text = terminal(&report_of("town\u{9b}2J", "GET /\u{1b}[2J\u{7}bell"));
    assert!(text.contains("bell"));
    assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text:?}");
}

#[test]
fn names_do_not_become_markup_in_html() {
    let page = html(&report_of(HOSTILE, HOSTILE));
    assert!(!page.contains("<script"), "{page}");
    assert!(page.contains("GET /&lt;script&gt;&amp;&quot;&#39;|"));
}

/// Every `<` opens a known element, every `&` a known entity, and elements nest.
#[test]
fn names_do_not_become_markup_in_xml() {
    let xml = junit(&report_of(HOSTILE, HOSTILE));
    let mut open: Vec<&str> = Vec::new();
    let declared = xml.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    for piece in declared.expect("it is declared").split('<').skip(1) {
        let (tag, text) = piece.split_once('>').expect("every element is closed");
        assert!(!text.contains('>'), "{text}");
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).expect("it has a name");
        let known = ["testsuites", "testsuite", "testcase", "failure", "system-out"];
        assert!(known.contains(&name), "{tag}");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else {
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    let entities = ["amp;", "lt;", "gt;", "quot;", "#39;"];
    for after in xml.split('&').skip(1) {
        assert!(entities.iter().any(|entity| after.starts_with(entity)), "{after}");
    }
}

/// Outside of code, no name opens a tag; in the table, none opens a cell.
#[test]
fn names_do_not_become_markup_in_markdown() {
    let text = markdown(&report_of(HOSTILE, HOSTILE));
    for line in text.lines() {
        let outside: String = line.split('`').step_by(2).collect();
        assert!(!outside.contains("<script"), "{line}");
        if line.starts_with('|') {
            assert_eq!(line.replace("\\|", "").matches('|').count(), 5, "{line}");
        }
    }
    let unpaired = markdown(&report_of("town", "GET /`<script>"));
    assert!(unpaired.contains("web GET /`&lt;script>: p95 latency"), "{unpaired}");
}
