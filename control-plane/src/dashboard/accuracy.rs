//! `/`: how true the forecasts were, the first thing to know about them.

use super::frame::{Context, Place, page};
use super::markup::{Markup, segment};
use super::panel::{self, Column, Figure};
use super::tally::{Accuracy, Filter, Group};
use super::{chart, words};
use prophecy_predictor::Verdict;

/// Returns the page.
pub fn accuracy(context: &Context, view: &Accuracy, filter: &Filter) -> String {
    let place = Place { title: "Accuracy", path: "/", live: false };
    page(context, &place, |main| {
        main.leaf("h1", &[], "How true the prophecy is");
        main.leaf(
            "p",
            &[("class", "lead")],
            &format!("{} predictions, {} with an outcome.", view.predictions, view.settled),
        );
        filters(main, view, filter);
        if view.overall.count == 0 && view.settled == 0 {
            empty(main, view);
            return;
        }
        tiles(main, view);
        calibration(main, view);
        time(main, view);
        misses(main, view, context);
        groups(main, view);
    })
}

fn filters(main: &mut Markup, view: &Accuracy, filter: &Filter) {
    let same =
        |names: &[String]| names.iter().map(|it| (it.clone(), it.clone())).collect::<Vec<_>>();
    let families = ["latency", "errors", "memory"].map(str::to_owned);
    let spans = [
        ("7", "last 7 days"),
        ("30", "last 30 days"),
        ("90", "last 90 days"),
        ("365", "last year"),
    ];
    let spans: Vec<_> =
        spans.iter().map(|(days, words)| ((*days).to_owned(), (*words).to_owned())).collect();
    let days = filter.days.map(|days| days.to_string());
    let attributes =
        [("method", "get"), ("action", "/"), ("class", "filters"), ("aria-label", "Filter")];
    main.element("form", &attributes, |form| {
        panel::choice(form, "System", "system", &same(&view.systems), filter.system.as_deref());
        panel::choice(
            form,
            "Service",
            "service",
            &same(&view.all_services),
            filter.service.as_deref(),
        );
        panel::choice(form, "Family", "family", &same(&families), filter.family.as_deref());
        panel::choice(form, "Time", "days", &spans, days.as_deref());
        form.leaf("button", &[("type", "submit")], "Show");
    });
}

fn empty(main: &mut Markup, view: &Accuracy) {
    let words = if view.predictions == 0 {
        "No prediction matches. Make a report with `prophecy report`, and send it to this server."
    } else {
        "There are predictions, but none was settled, so nothing can be said about how true they are."
    };
    main.element("section", &[("class", "card empty")], |card| {
        card.leaf("h2", &[], "No outcome yet");
        card.element("p", &[], |p| panel::typed(p, words));
        card.element("p", &[], |p| {
            panel::typed(p, "After a deployment, record what happened with `prophecy outcome`.");
        });
    });
}

fn tiles(main: &mut Markup, view: &Accuracy) {
    let tile = |estimate: prophecy_predictor::accuracy::Estimate, name| {
        let spread = estimate.hi.zip(estimate.lo).map_or(0.0, |(hi, lo)| (hi - lo) / 2.0);
        let value = estimate.value.map_or("–".to_owned(), |it| words::rounded(it, spread));
        let range = match (estimate.lo, estimate.hi) {
            (Some(lo), Some(hi)) => {
                format!(
                    "95 % interval {} to {}",
                    words::rounded(lo, spread),
                    words::rounded(hi, spread)
                )
            }
            _ => "too few for an interval".to_owned(),
        };
        (value, name, range)
    };
    let ninety = view.coverage.iter().find(|row| row.of == "latency" && row.stated > 0.85);
    let inside = ninety.map_or(
        ("–".to_owned(), "of latencies inside their 90 % interval", "none was measured".to_owned()),
        |row| {
            let [lo, hi] = row.accepted;
            let range = format!("{} accepted", words::percents(lo, hi));
            (
                words::percent(row.found.value.unwrap_or(f64::NAN)),
                "of latencies inside their 90 % interval",
                range,
            )
        },
    );
    let events = format!("{} of them came true", view.overall.events);
    panel::tiles(
        main,
        &[
            tile(view.overall.brier, "Brier score; 0 is perfect"),
            tile(view.skill, "skill over the base rate"),
            inside,
            (view.overall.count.to_string(), "claims settled", events),
        ],
    );
}

fn calibration(main: &mut Markup, view: &Accuracy) {
    main.element("section", &[], |section| {
        section.leaf("h2", &[], "Calibration");
        section.leaf(
            "p",
            &[("class", "lead")],
            "Whether what was said with 30 % came true three times in ten.",
        );
        section.element("div", &[("class", "figures")], |figures| {
            let steps = view.reliability.steps.iter().map(|(from, to, frequency, count)| {
                let name = format!("{:.1}–{:.1} %", 100.0 * from, 100.0 * to);
                vec![
                    Markup::of(&name),
                    Markup::of(&words::percent(*frequency)),
                    Markup::of(&count.to_string()),
                ]
            });
            panel::figure(
                figures,
                &Figure {
                    title: "Reliability",
                    picture: chart::reliability(&view.reliability),
                    words: "How often claims came true, by forecast (CORP). At each forecast, \
                a calibrated forecaster stays inside the band 9 times in 10.",
                    columns: &[("forecast", false), ("came true", true), ("claims", true)],
                    rows: steps.collect(),
                },
            );
            if let Some(picture) = chart::scatter(&view.points) {
                let shown = format!(
                    "{} of {} latencies; a ring lay outside its 90 % interval. The \
                table has 50 of them.",
                    view.points.len(),
                    view.point_count
                );
                let every = view.points.len().div_ceil(50).max(1);
                let rows = view.points.iter().step_by(every).map(|point| {
                    [
                        format!("{:.1} ms", point.measured),
                        format!("{:.1} ms", point.predicted),
                        if point.inside { "inside" } else { "outside" }.to_owned(),
                    ]
                    .iter()
                    .map(|cell| Markup::of(cell))
                    .collect()
                });
                panel::figure(
                    figures,
                    &Figure {
                        title: "Foretold against measured",
                        picture,
                        words: &shown,
                        columns: &[
                            ("measured", true),
                            ("foretold", true),
                            ("90 % interval", false),
                        ],
                        rows: rows.collect(),
                    },
                );
            }
            coverage(figures, view);
        });
    });
}

fn coverage(figures: &mut Markup, view: &Accuracy) {
    if view.coverage.is_empty() {
        return;
    }
    let rows = view.coverage.iter().map(|row| {
        let found =
            row.found.value.map_or("–".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        let accepted = format!("{:.1}–{:.1} %", 100.0 * row.accepted[0], 100.0 * row.accepted[1]);
        let name = format!("{:.0} % of {}", 100.0 * row.stated, row.of);
        [name, found, accepted, row.count.to_string()].iter().map(|cell| Markup::of(cell)).collect()
    });
    panel::figure(
        figures,
        &Figure {
            title: "Coverage of intervals",
            picture: chart::coverage(&view.coverage),
            words: "The share of measured values inside their interval, with what a \
                right interval shows in 19 of 20 samples of this size (band). A \
                ring is outside.",
            columns: &[("stated", false), ("found", true), ("accepted", true), ("values", true)],
            rows: rows.collect(),
        },
    );
}

fn time(main: &mut Markup, view: &Accuracy) {
    if view.months.is_empty() {
        return;
    }
    main.element("section", &[], |section| {
        section.leaf("h2", &[], "Over time");
        section.element("div", &[("class", "figures")], |figures| {
            let brier: Vec<_> =
                view.months.iter().map(|it| (it.name.as_str(), it.group.brier)).collect();
            let skill: Vec<_> = view.months.iter().map(|it| (it.name.as_str(), it.skill)).collect();
            let top = brier.iter().filter_map(|it| it.1.hi.or(it.1.value)).fold(0.1, f64::max);
            let bottom =
                skill.iter().filter_map(|it| it.1.lo.or(it.1.value)).fold(0.0, f64::min).max(-2.0);
            let label = "by month, with the 95 % interval";
            for (title, values, range, words) in [
                (
                    "Brier score by month",
                    &brier,
                    (0.0, chart::nice(top).min(1.0)),
                    "Lower is better; lines are 95 % intervals that treat a \
                prediction's claims as one.",
                ),
                (
                    "Skill by month",
                    &skill,
                    (bottom, 1.0),
                    "Against always saying the base rate of all; above 0 knows \
                something.",
                ),
            ] {
                let rows = values.iter().zip(&view.months).map(|((name, value), month)| {
                    vec![
                        Markup::of(name),
                        panel::estimate(*value),
                        Markup::of(&month.group.count.to_string()),
                    ]
                });
                panel::figure(
                    figures,
                    &Figure {
                        title,
                        picture: chart::series(values, range, &format!("{title}, {label}")),
                        words,
                        columns: &[
                            ("month", false),
                            ("value (95 % interval)", true),
                            ("claims", true),
                        ],
                        rows: rows.collect(),
                    },
                );
            }
        });
    });
}

fn misses(main: &mut Markup, view: &Accuracy, context: &Context) {
    main.element("section", &[], |section| {
        section.leaf("h2", &[], "Misses");
        if view.misses.is_empty() {
            section.leaf("p", &[("class", "lead")], "No go was harmful, and no no-go harmless.");
            return;
        }
        let rows: Vec<_> = view
            .misses
            .iter()
            .map(|miss| {
                vec![
                    panel::link(&format!("/predictions/{}", segment(&miss.id)), &miss.id),
                    Markup::of(&miss.system),
                    Markup::with(|m| {
                        m.add(&panel::badge(miss.verdict));
                        m.text(&format!(" {}", words::percent(miss.risk)));
                    }),
                    Markup::of(if miss.harmful { "harmful" } else { "harmless" }),
                    Markup::of(&miss.cause),
                    words::time(context.now, miss.created_at),
                ]
            })
            .collect();
        panel::table(
            section,
            "Predictions that were wrong, the surest first, with the cause or \
                the claim furthest off",
            &[
                ("prediction", false),
                ("system", false),
                ("foretold", false),
                ("was", false),
                ("why", false),
                ("made", false),
            ],
            &rows,
        );
    });
}

fn groups(main: &mut Markup, view: &Accuracy) {
    const COLUMNS: [Column; 5] = [
        ("", false),
        ("claims", true),
        ("came true", true),
        ("Brier score (95 %)", true),
        ("bias (95 %)", true),
    ];
    let columns = |name: &'static str| {
        let mut columns = COLUMNS;
        columns[0].0 = name;
        columns
    };
    let row = |name: &str, group: &Group| {
        vec![
            Markup::of(name),
            Markup::of(&group.count.to_string()),
            Markup::of(&group.events.to_string()),
            panel::estimate(group.brier),
            panel::estimate(group.bias),
        ]
    };
    main.element("section", &[], |section| {
        section.leaf("h2", &[], "By service and by kind of claim");
        section.leaf(
            "p",
            &[("class", "lead")],
            "Bias is the mean forecast minus the share that came true: above 0 \
                is too gloomy, below 0 too hopeful.",
        );
        let services: Vec<_> = view.services.iter().map(|(name, group)| row(name, group)).collect();
        panel::table(section, "By service", &columns("service"), &services);
        section.fixed("<br/>");
        let families: Vec<_> = view.families.iter().map(|(name, group)| row(name, group)).collect();
        panel::table(section, "By family of metrics", &columns("family"), &families);
        section.fixed("<br/>");
        let verdicts = [Verdict::Go, Verdict::NoGo, Verdict::NotEnoughEvidence];
        let verdicts: Vec<Vec<Markup>> = verdicts
            .iter()
            .zip(&view.verdicts)
            .map(|(verdict, counts)| {
                let mut cells = vec![panel::badge(*verdict)];
                cells.extend(counts.iter().map(|count| Markup::of(&count.to_string())));
                cells
            })
            .collect();
        panel::table(
            section,
            "Verdicts",
            &[("verdict", false), ("predictions", true), ("settled", true), ("harmful", true)],
            &verdicts,
        );
    });
}
