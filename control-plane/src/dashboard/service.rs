//! `/services`: the risk profile of each service.

use prophecy_predictor::accuracy::Estimate;

use super::frame::{Context, Place, page};
use super::markup::Markup;
use super::rollout::{self, RolloutRow};
use super::tally::Group;
use super::{panel, words};

/// How risky changes of a service were.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The service.
    pub service: String,
    /// Deployments that ended.
    pub deployments: u64,
    /// The share of them that had to be taken back or broke a promise, with its 95 % interval.
    pub failure_rate: Estimate,
    /// The mean forecast risk of changes of it, if there was a forecast.
    pub mean_risk: Option<f64>,
    /// How true claims about it were.
    pub accuracy: Group,
    /// The claims most often broken: in words, and how often.
    pub broken: Vec<(String, u64)>,
    /// The last rollouts.
    pub rollouts: Vec<RolloutRow>,
}

/// Returns the page.
pub fn services(context: &Context, profiles: &[Profile]) -> String {
    let place = Place { title: "Services", path: "/services", live: false };
    page(context, &place, |main| {
        main.leaf("h1", &[], "Services");
        main.leaf(
            "p",
            &[("class", "lead")],
            "How risky changes were, and how well that was foreseen.",
        );
        if profiles.is_empty() {
            panel::empty(main, "No service was forecast yet.");
            return;
        }
        let rows: Vec<_> = profiles.iter().map(overview).collect();
        panel::table(
            main,
            "Risk by service, with 95 % intervals",
            &[
                ("service", false),
                ("deployments", true),
                ("change failure rate", true),
                ("mean risk", true),
                ("claims", true),
                ("Brier score", true),
                ("bias", true),
            ],
            &rows,
        );
        profiles.iter().for_each(|profile| detail(main, context, profile));
    })
}

fn overview(profile: &Profile) -> Vec<Markup> {
    let rate = profile.failure_rate;
    let words = match (rate.value, rate.lo, rate.hi) {
        (Some(value), Some(lo), Some(hi)) => {
            format!("{} ({})", words::percent(value), words::percents(lo, hi))
        }
        (Some(value), ..) => words::percent(value),
        _ => "–".to_owned(),
    };
    vec![
        Markup::of(&profile.service),
        Markup::of(&profile.deployments.to_string()),
        Markup::of(&words),
        Markup::of(&profile.mean_risk.map_or("–".to_owned(), words::percent)),
        Markup::of(&profile.accuracy.count.to_string()),
        panel::estimate(profile.accuracy.brier),
        panel::estimate(profile.accuracy.bias),
    ]
}

fn detail(main: &mut Markup, context: &Context, profile: &Profile) {
    main.element("section", &[], |section| {
        section.leaf("h2", &[], &profile.service);
        if profile.broken.is_empty() {
            section.leaf("p", &[("class", "lead")], "No claim about it was broken.");
        } else {
            section.leaf("h3", &[], "Most often broken");
            section.element("ul", &[], |list| {
                for (claim, count) in &profile.broken {
                    list.leaf("li", &[], &format!("{claim}: {count} times"));
                }
            });
        }
        if !profile.rollouts.is_empty() {
            let rows: Vec<_> =
                profile.rollouts.iter().map(|row| rollout::row(context, row)).collect();
            panel::table(
                section,
                &format!("Last rollouts of {}", profile.service),
                &[
                    ("rollout", false),
                    ("system", false),
                    ("strategy", false),
                    ("state", false),
                    ("weight", true),
                    ("changed", false),
                ],
                &rows,
            );
        }
    });
}
