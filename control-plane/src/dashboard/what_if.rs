//! `/what-if`: what a model does as things are, and with another load or more instances.

use prophecy_simulator::replication::{Estimate, Summary};

use super::frame::{Context, Place, page};
use super::markup::Markup;
use super::{panel, words};

/// A model that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its name.
    pub name: String,
    /// Its services, with their instances.
    pub services: Vec<(String, u32)>,
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    /// The model.
    pub model: String,
    /// The load as it is \[1/s\].
    pub now_hz: f64,
    /// The load as it would be \[1/s\].
    pub then_hz: f64,
    /// The service that would have other instances.
    pub service: Option<String>,
    /// How many.
    pub replicas: Option<u32>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// As it is.
    pub now: Summary,
    /// As it would be.
    pub then: Summary,
    /// Runs of each.
    pub runs: u32,
}

/// The page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WhatIf {
    /// What can be chosen.
    pub models: Vec<Choice>,
    /// What was asked.
    pub question: Option<Question>,
    /// The answer.
    pub answer: Option<Answer>,
    /// Why there is none.
    pub refused: Option<String>,
}

/// Returns the page.
pub fn what_if(context: &Context, view: &WhatIf) -> String {
    let place = Place { title: "What if", path: "/what-if", live: false };
    page(context, &place, |main| {
        main.leaf("h1", &[], "What if");
        main.leaf(
            "p",
            &[("class", "lead")],
            "What the system would do under another load, or with other instances: simulated, not tried.",
        );
        if view.models.is_empty() {
            panel::empty(
                main,
                "No model to ask. Start the server with `--model model.json`, from `prophecy fit`.",
            );
            return;
        }
        form(main, view);
        if let Some(refused) = &view.refused {
            main.leaf("p", &[("class", "card empty"), ("role", "alert")], refused);
        }
        if let Some(answer) = &view.answer {
            routes(main, answer);
            services(main, answer);
        }
    })
}

fn form(main: &mut Markup, view: &WhatIf) {
    let asked = view.question.clone().unwrap_or(Question {
        now_hz: 100.0,
        then_hz: 150.0,
        ..Question::default()
    });
    let attributes = [
        ("method", "get"),
        ("action", "/what-if"),
        ("class", "filters"),
        ("aria-label", "Question"),
    ];
    main.element("form", &attributes, |form| {
        let models: Vec<_> = view.models.iter().map(|it| &it.name).collect();
        select(form, "Model", "model", None, &models, &asked.model);
        let (now, then) = (asked.now_hz.to_string(), asked.then_hz.to_string());
        for (label, name, value) in
            [("Requests/s now", "now", &now), ("Requests/s then", "then", &then)]
        {
            let attributes = [
                ("type", "number"),
                ("name", name),
                ("min", "0.1"),
                ("step", "any"),
                ("required", "required"),
                ("value", value),
            ];
            panel::field(form, label, &attributes);
        }
        let mut services: Vec<_> =
            view.models.iter().flat_map(|it| &it.services).map(|(name, _)| name).collect();
        services.sort();
        services.dedup();
        let chosen = asked.service.clone().unwrap_or_default();
        select(form, "Instances of", "service", Some("as they are"), &services, &chosen);
        let replicas = asked.replicas.map_or(String::new(), |count| count.to_string());
        let attributes = [
            ("type", "number"),
            ("name", "replicas"),
            ("min", "1"),
            ("placeholder", "as many"),
            ("value", &replicas),
        ];
        panel::field(form, "How many", &attributes);
        form.leaf("button", &[("type", "submit"), ("class", "primary")], "Simulate");
    });
}

fn select(
    form: &mut Markup,
    label: &str,
    name: &'static str,
    none: Option<&str>,
    values: &[&String],
    chosen: &str,
) {
    form.element("label", &[], |it| {
        it.leaf("span", &[], label);
        it.element("select", &[("name", name)], |select| {
            if let Some(none) = none {
                select.leaf("option", &[("value", "")], none);
            }
            for value in values {
                if *value == chosen {
                    select.leaf("option", &[("value", value), ("selected", "selected")], value);
                } else {
                    select.leaf("option", &[("value", value)], value);
                }
            }
        });
    });
}

fn routes(main: &mut Markup, answer: &Answer) {
    let pairs = answer.now.routes.iter().filter_map(|now| {
        let then = answer
            .then
            .routes
            .iter()
            .find(|then| then.route == now.route && then.service == now.service)?;
        Some((now, then))
    });
    let rows: Vec<_> = pairs
        .map(|(now, then)| {
            let mut cells = vec![
                Markup::of(&format!("{} {}", now.service, now.route)),
                estimate(now.latency_ms_p50, " ms"),
                estimate(then.latency_ms_p50, " ms"),
                estimate(now.latency_ms_p99, " ms"),
                estimate(then.latency_ms_p99, " ms"),
            ];
            for rate in [now.error_rate, then.error_rate] {
                let percent =
                    Estimate { mean: 100.0 * rate.mean, half_width: 100.0 * rate.half_width };
                cells.push(estimate(percent, " %"));
            }
            cells
        })
        .collect();
    main.element("section", &[], |section| {
        section.leaf("h2", &[], "Routes");
        panel::table(
            section,
            &format!("Means of {} simulated runs with 95 % intervals", answer.runs),
            &[
                ("route", false),
                ("p50 now", true),
                ("p50 then", true),
                ("p99 now", true),
                ("p99 then", true),
                ("errors now", true),
                ("errors then", true),
            ],
            &rows,
        );
    });
}

fn services(main: &mut Markup, answer: &Answer) {
    let rows: Vec<_> = answer
        .now
        .services
        .iter()
        .zip(&answer.then.services)
        .map(|(now, then)| {
            let busy = |of: Option<Estimate>| {
                of.map_or_else(
                    || Markup::of("no limit"),
                    |of| {
                        let percent =
                            Estimate { mean: 100.0 * of.mean, half_width: 100.0 * of.half_width };
                        estimate(percent, " %")
                    },
                )
            };
            let saturated = then.saturated.map_or(Markup::default(), |share| {
                if share.mean > 0.0 {
                    panel::tag("bad", &format!("in {} of the runs", words::percent(share.mean)))
                } else {
                    panel::tag("good", "never")
                }
            });
            vec![
                Markup::of(&now.service),
                busy(now.utilization),
                busy(then.utilization),
                estimate(now.queue_mean, ""),
                estimate(then.queue_mean, ""),
                saturated,
            ]
        })
        .collect();
    main.element("section", &[], |section| {
        section.leaf("h2", &[], "Services");
        panel::table(
            section,
            "Workers held, requests that wait for one, and whether the service would be saturated",
            &[
                ("service", false),
                ("held now", true),
                ("held then", true),
                ("waiting now", true),
                ("waiting then", true),
                ("saturated then", false),
            ],
            &rows,
        );
    });
}

fn estimate(of: Estimate, unit: &str) -> Markup {
    let spread = if of.half_width.is_finite() { of.half_width } else { 0.0 };
    if of.mean.abs() + spread < 1e-9 {
        return Markup::of(&format!("0{unit}"));
    }
    let number = |value: f64| words::rounded(value, spread.max(of.mean.abs() / 200.0));
    Markup::of(&format!("{} ± {}{unit}", number(of.mean), number(spread)))
}
