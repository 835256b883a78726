//! `/predictions` and `/predictions/{id}`.

use prophecy_core::Timestamp;
use prophecy_predictor::Verdict;
use prophecy_predictor::report::{Metric, Quantiles};

use super::chart::{self, Bars};
use super::frame::{Context, Place, csrf, page};
use super::markup::{Markup, segment};
use super::{panel, words};

/// A prediction in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionRow {
    /// Its id.
    pub id: String,
    /// The system.
    pub system: String,
    /// Where it is to be deployed.
    pub environment: String,
    /// What was said.
    pub verdict: Verdict,
    /// The probability that a promise is broken.
    pub risk: f64,
    /// Its 90 % interval.
    pub interval: [f64; 2],
    /// Whether a promise was broken; nothing without an outcome.
    pub harmful: Option<bool>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

/// A page of the list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PredictionList {
    /// The predictions, newest first.
    pub rows: Vec<PredictionRow>,
    /// Systems that can be chosen.
    pub systems: Vec<String>,
    /// The system chosen.
    pub system: Option<String>,
    /// The verdict chosen, as reports write it.
    pub verdict: Option<String>,
    /// The cursor of the newer page.
    pub newer: Option<String>,
    /// The cursor of the older page.
    pub older: Option<String>,
}

/// A claim with its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimView {
    /// The service.
    pub service: String,
    /// The route.
    pub route: String,
    /// What is measured.
    pub metric: Metric,
    /// The bound.
    pub threshold: f64,
    /// The probability that it is exceeded.
    pub probability: f64,
    /// Its 90 % interval.
    pub interval: [f64; 2],
    /// The forecast with the baseline.
    pub baseline: Quantiles,
    /// The forecast with the candidate.
    pub candidate: Quantiles,
    /// What was measured.
    pub measured: Option<f64>,
    /// Whether the bound was exceeded.
    pub breached: Option<bool>,
    /// Why it is forecast, in sentences.
    pub because: Vec<String>,
}

/// A prediction with its claims.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionView {
    /// What the list shows too.
    pub summary: PredictionRow,
    /// The digests of baseline and candidate.
    pub builds: [String; 2],
    /// The reasons of the verdict, in sentences.
    pub reasons: Vec<String>,
    /// The claims, the most probable first.
    pub claims: Vec<ClaimView>,
    /// The rollout that it gated.
    pub rollout: Option<String>,
}

/// Returns the list.
pub fn predictions(context: &Context, view: &PredictionList) -> String {
    let place = Place { title: "Predictions", path: "/predictions", live: false };
    page(context, &place, |main| {
        main.leaf("h1", &[], "Predictions");
        main.leaf(
            "p",
            &[("class", "lead")],
            "What was said before each deployment, and what came of it.",
        );
        let attributes = [
            ("method", "get"),
            ("action", "/predictions"),
            ("class", "filters"),
            ("aria-label", "Filter"),
        ];
        main.element("form", &attributes, |form| {
            let systems: Vec<_> = view.systems.iter().map(|it| (it.clone(), it.clone())).collect();
            let verdicts = [Verdict::Go, Verdict::NoGo, Verdict::NotEnoughEvidence]
                .map(|it| (it.as_str().to_owned(), words::verdict(it).to_owned()));
            panel::choice(form, "System", "system", &systems, view.system.as_deref());
            panel::choice(form, "Verdict", "verdict", &verdicts, view.verdict.as_deref());
            form.leaf("button", &[("type", "submit")], "Show");
        });
        main.element("section", &[], |section| list(section, context, view));
    })
}

fn list(section: &mut Markup, context: &Context, view: &PredictionList) {
    if view.rows.is_empty() {
        panel::empty(
            section,
            "No prediction here. Send a report of `prophecy report` to this server.",
        );
        return;
    }
    let rows: Vec<Vec<Markup>> = view
        .rows
        .iter()
        .map(|row| {
            vec![
                panel::link(&format!("/predictions/{}", segment(&row.id)), &row.id),
                Markup::of(&format!("{} in {}", row.system, row.environment)),
                panel::badge(row.verdict),
                risk(row),
                outcome(row.harmful),
                Markup::with(|m| {
                    m.add(&words::time(context.now, row.created_at));
                    if row.revoked_at.is_some() {
                        m.text(" ");
                        m.add(&panel::tag("unsure", "revoked"));
                    }
                }),
            ]
        })
        .collect();
    panel::table(
        section,
        "Predictions, newest first; the bar is the 90 % interval of the risk",
        &[
            ("prediction", false),
            ("system", false),
            ("verdict", false),
            ("risk", false),
            ("outcome", false),
            ("made", false),
        ],
        &rows,
    );
    let address = |direction: &str, cursor: &Option<String>| {
        cursor.as_ref().map(|cursor| {
            let mut address = format!("/predictions?{direction}={}", segment(cursor));
            for (name, value) in [("system", &view.system), ("verdict", &view.verdict)] {
                if let Some(value) = value {
                    address.push_str(&format!("&{name}={}", segment(value)));
                }
            }
            address
        })
    };
    let (newer, older) = (address("before", &view.newer), address("after", &view.older));
    panel::pages(section, newer.as_deref(), older.as_deref());
}

fn risk(row: &PredictionRow) -> Markup {
    Markup::with(|m| {
        m.add(&chart::probability(row.risk, row.interval[0], row.interval[1]));
        m.text(&format!(" {}", words::percent(row.risk)));
    })
}

/// Writes what became of a deployment.
pub(super) fn outcome(harmful: Option<bool>) -> Markup {
    match harmful {
        Some(true) => panel::tag("bad", "harmful"),
        Some(false) => panel::tag("good", "harmless"),
        None => Markup::of("not yet known"),
    }
}

/// Returns the page of one prediction.
pub fn prediction(context: &Context, view: &PredictionView) -> String {
    let summary = &view.summary;
    let title = format!("Prediction {}", summary.id);
    let place = Place { title: &title, path: "/predictions", live: false };
    page(context, &place, |main| {
        main.leaf("h1", &[], &format!("{}: {}", summary.system, words::verdict(summary.verdict)));
        main.element("p", &[("class", "lead")], |lead| {
            lead.text(&format!("{}, made ", summary.id));
            lead.add(&words::time(context.now, summary.created_at));
            if let Some(at) = summary.revoked_at {
                lead.text(", revoked ");
                lead.add(&words::time(context.now, at));
            }
        });
        panel::tiles(
            main,
            &[
                (
                    words::percent(summary.risk),
                    "probability that a promise is broken",
                    format!(
                        "90 % interval {}",
                        words::percents(summary.interval[0], summary.interval[1])
                    ),
                ),
                (
                    view.claims.len().to_string(),
                    "claims",
                    format!(
                        "{} settled",
                        view.claims.iter().filter(|it| it.breached.is_some()).count()
                    ),
                ),
                (
                    match summary.harmful {
                        Some(true) => "harmful",
                        Some(false) => "harmless",
                        None => "open",
                    }
                    .to_owned(),
                    "outcome",
                    summary.environment.clone(),
                ),
            ],
        );
        main.element("section", &[], |section| facts(section, view));
        main.element("section", &[], |section| {
            section.leaf("h2", &[], "Claims");
            section.leaf(
                "p",
                &[("class", "lead")],
                "Point: median; thick: half; thin: 90 %. Dashed: the bound. Ring: \
                what was measured.",
            );
            section.element("div", &[("class", "figures")], |figures| {
                view.claims.iter().for_each(|claim| self::claim(figures, claim));
            });
            if view.claims.is_empty() {
                section.leaf("p", &[], "No claim could be made.");
            }
        });
        if context.may_deploy() && summary.revoked_at.is_none() {
            revoke(main, context, &summary.id);
        }
    })
}

fn facts(section: &mut Markup, view: &PredictionView) {
    section.leaf("h2", &[], "Why");
    section.element("ul", &[], |list| {
        view.reasons.iter().for_each(|reason| list.leaf("li", &[], reason));
    });
    section.element("dl", &[], |dl| {
        for (name, digest) in ["Baseline", "Candidate"].into_iter().zip(&view.builds) {
            dl.leaf("dt", &[], name);
            dl.element("dd", &[], |dd| dd.leaf("code", &[], digest));
        }
        if let Some(rollout) = &view.rollout {
            dl.leaf("dt", &[], "Rollout");
            dl.element("dd", &[], |dd| {
                dd.add(&panel::link(&format!("/rollouts/{}", segment(rollout)), rollout));
            });
        }
    });
    let address = format!("/api/v1/predictions/{}/report", segment(&view.summary.id));
    section.element("p", &[], |p| p.add(&panel::link(&address, "The full report")));
}

fn claim(figures: &mut Markup, claim: &ClaimView) {
    let title = format!("{} {}", claim.service, claim.route);
    let value = |it| Markup::of(&words::value(claim.metric, it));
    let rows = [("now", &claim.baseline), ("then", &claim.candidate)].map(|(name, q)| {
        vec![Markup::of(name), value(q.p5), value(q.p25), value(q.p50), value(q.p75), value(q.p95)]
    });
    let measured = match (claim.measured, claim.breached) {
        (Some(it), Some(true)) => {
            format!(" Measured {}: it came true.", words::value(claim.metric, it))
        }
        (Some(it), Some(false)) => {
            format!(" Measured {}: it did not.", words::value(claim.metric, it))
        }
        (Some(it), None) => {
            format!(" Measured {}, which decides nothing.", words::value(claim.metric, it))
        }
        (None, _) => " Not yet measured.".to_owned(),
    };
    let words = format!(
        "{} above {}: {}, 90 % interval {}.{measured} {}",
        claim.metric.words(),
        words::value(claim.metric, claim.threshold),
        words::percent(claim.probability),
        words::percents(claim.interval[0], claim.interval[1]),
        claim.because.join(" ")
    );
    let bars = Bars {
        metric: claim.metric,
        baseline: &claim.baseline,
        candidate: &claim.candidate,
        threshold: claim.threshold,
        measured: claim.measured,
    };
    panel::figure(
        figures,
        &panel::Figure {
            title: &title,
            picture: chart::bars(&bars),
            words: &words,
            columns: &[
                ("", false),
                ("5 %", true),
                ("25 %", true),
                ("median", true),
                ("75 %", true),
                ("95 %", true),
            ],
            rows: rows.into(),
        },
    );
}

fn revoke(main: &mut Markup, context: &Context, id: &str) {
    let action = format!("/predictions/{}/revoke", segment(id));
    main.element("section", &[], |section| {
        section.leaf("h2", &[], "Revoke");
        section.leaf(
            "p",
            &[("class", "lead")],
            "A revoked prediction opens no gate. It stays on record and is still scored.",
        );
        section.element(
            "form",
            &[("method", "post"), ("action", &action), ("class", "filters")],
            |form| {
                csrf(form, context);
                panel::field(
                    form,
                    "Reason",
                    &[
                        ("type", "text"),
                        ("name", "reason"),
                        ("required", "required"),
                        ("maxlength", "200"),
                    ],
                );
                form.leaf(
                    "button",
                    &[("type", "submit"), ("class", "danger")],
                    "Revoke the prediction",
                );
            },
        );
    });
}
