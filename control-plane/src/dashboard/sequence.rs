//! Baseline against canary over time: small multiples with confidence sequences.

use prophecy_core::Timestamp;

use super::chart::{self, Plane};
use super::frame::Context;
use super::markup::Markup;
use super::panel::{self, Figure};
use super::words;

/// An estimate at one time, with an interval that may be looked at as often as one likes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// When.
    pub at: Timestamp,
    /// The estimate.
    pub value: f64,
    /// The low end.
    pub lo: f64,
    /// The high end.
    pub hi: f64,
}

/// A check of the canary.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What is compared.
    pub name: String,
    /// The unit of its values.
    pub unit: String,
    /// The baseline over time.
    pub baseline: Vec<Look>,
    /// The canary over time.
    pub canary: Vec<Look>,
    /// What the canary must not exceed, if there is a bound.
    pub bound: Option<f64>,
    /// The verdict, in words.
    pub verdict: String,
}

/// Adds a picture for each check.
pub(super) fn checks(into: &mut Markup, context: &Context, checks: &[Check]) {
    into.element("section", &[], |section| {
        section.leaf("h2", &[], "Baseline against canary");
        if checks.is_empty() {
            section.leaf(
                "p",
                &[("class", "lead")],
                "Nothing was observed yet; without data nothing is promoted.",
            );
            return;
        }
        section.leaf(
            "p",
            &[("class", "lead")],
            "Solid: canary, with its confidence sequence; dashed grey: baseline; dashed red: the bound.",
        );
        section.element("div", &[("class", "figures")], |figures| {
            for check in checks {
                let words = latest(check);
                panel::figure(
                    figures,
                    &Figure {
                        title: &check.name,
                        picture: picture(check, &words),
                        words: &words,
                        columns: &[("at", false), ("baseline", true), ("canary", true)],
                        rows: rows(context, check),
                    },
                );
            }
        });
    });
}

fn latest(check: &Check) -> String {
    let of =
        |looks: &[Look]| looks.last().map_or("no data".to_owned(), |look| interval(check, look));
    format!("{}. Canary {}; baseline {}.", check.verdict, of(&check.canary), of(&check.baseline))
}

fn interval(check: &Check, look: &Look) -> String {
    let spread = (look.hi - look.lo) / 2.0;
    if spread <= 0.0 {
        return format!("{} {}", words::rounded(look.value, look.value / 100.0), check.unit);
    }
    let number = |value| words::rounded(value, spread);
    format!("{} {} ({} to {})", number(look.value), check.unit, number(look.lo), number(look.hi))
}

fn picture(check: &Check, words: &str) -> Markup {
    let looks = || check.baseline.iter().chain(&check.canary);
    let minutes = |at: Timestamp, from: Timestamp| (at.0 - from.0) as f64 / 60e9;
    let Some(first) = looks().map(|look| look.at).min() else { return Markup::default() };
    let last = looks().map(|look| minutes(look.at, first)).fold(0.1, f64::max);
    let ends = || looks().flat_map(|look| [look.lo, look.hi, look.value]).chain(check.bound);
    let top = ends().filter(|it| it.is_finite()).fold(0.0, f64::max);
    let top = if top > 0.0 { chart::nice(top) } else { 1.0 };
    let mut plane = Plane::new((400.0, 230.0), (0.0, last), (0.0, top));
    for tick in 0..=4 {
        let share = f64::from(tick) / 4.0;
        plane.row(top * share, &words::rounded(top * share, top / 20.0));
        let at = last * share;
        let words = if last < 4.0 { format!("{:.0} s", 60.0 * at) } else { format!("{at:.0} min") };
        plane.column(at, &words);
    }
    for (class, looks) in [("before", &check.baseline), ("after", &check.canary)] {
        let band: Vec<_> = looks.iter().map(|it| (minutes(it.at, first), it.lo, it.hi)).collect();
        let line: Vec<_> = looks.iter().map(|it| (minutes(it.at, first), it.value)).collect();
        plane.area(&format!("band {class}"), &band);
        plane.path(&format!("curve {class}"), &line);
    }
    if let Some(bound) = check.bound {
        plane.path("bound", &[(0.0, bound), (last, bound)]);
    }
    plane.name(&check.unit);
    plane.end(&format!("{}: {words}", check.name))
}

/// The last looks of both sides, paired from the end.
fn rows(context: &Context, check: &Check) -> Vec<Vec<Markup>> {
    let count = check.canary.len().max(check.baseline.len()).min(50);
    let back =
        |looks: &[Look], index: usize| looks.len().checked_sub(index + 1).map(|at| looks[at]);
    let pairs = (0..count).map(|index| (back(&check.baseline, index), back(&check.canary, index)));
    pairs
        .map(|(baseline, canary)| {
            let cell = |look: Option<Look>| {
                Markup::of(&look.map_or("no data".to_owned(), |look| interval(check, &look)))
            };
            let at = canary.or(baseline).map(|look| words::time(context.now, look.at));
            vec![at.unwrap_or_default(), cell(baseline), cell(canary)]
        })
        .collect()
}
