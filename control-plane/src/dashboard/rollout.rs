//! `/rollouts` and `/rollouts/{id}`, which follows a rollout while it runs.

use prophecy_core::Timestamp;

use super::frame::{Context, Place, page};
use super::markup::{Markup, segment};
use super::sequence::{self, Check};
use super::{controls, panel, words};

pub use super::controls::Action;
pub use super::sequence::{Check as RolloutCheck, Look};

/// A rollout in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutRow {
    /// Its id.
    pub id: String,
    /// The system.
    pub system: String,
    /// Where it is deployed.
    pub environment: String,
    /// The strategy in words.
    pub strategy: String,
    /// The state as stored.
    pub state: String,
    /// Whether it has ended, and how well.
    pub end: End,
    /// The share of requests that the candidate gets.
    pub weight: f64,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It runs.
    Running,
    /// The candidate is in production.
    Succeeded,
    /// The candidate was taken back, or never got there.
    Failed,
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is over and went well.
    Done,
    /// It runs.
    Current,
    /// It is yet to come.
    Ahead,
    /// It is over and went badly.
    Failed,
}

/// A stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// The candidate's share of requests in it.
    pub weight: f64,
    /// How far it is.
    pub progress: Progress,
    /// How long it took or has taken, without waiting for people \[s\].
    pub work_seconds: Option<f64>,
    /// How long it waited for people \[s\].
    pub human_seconds: f64,
    /// The verdict, in words.
    pub verdict: Option<String>,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// How serious: `info`, `warning`, `error`.
    pub level: String,
    /// The line.
    pub text: String,
}

/// An approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Who.
    pub by: String,
    /// Of which stage.
    pub stage: String,
    /// Of which revision.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
}

/// A rollout with all that is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutView {
    /// What the list shows too.
    pub summary: RolloutRow,
    /// The revision that is shown; an action names it.
    pub revision: u64,
    /// Why it is where it is, if there is a reason.
    pub reason: Option<String>,
    /// The prediction that gated it.
    pub prediction: Option<String>,
    /// The stages in order.
    pub stages: Vec<Stage>,
    /// Baseline against canary, by check.
    pub checks: Vec<Check>,
    /// The end of the log.
    pub log: Vec<LogLine>,
    /// The approvals.
    pub approvals: Vec<Approval>,
    /// What may be done now.
    pub actions: Vec<Action>,
}

/// Returns the list.
pub fn rollouts(context: &Context, rows: &[RolloutRow], older: Option<&str>) -> String {
    let place = Place { title: "Rollouts", path: "/rollouts", live: false };
    page(context, &place, |main| {
        main.leaf("h1", &[], "Rollouts");
        main.element("section", &[], |section| {
            if rows.is_empty() {
                panel::empty(section, "No rollout yet. `prophecy rollout start` begins one.");
                return;
            }
            let rows: Vec<_> = rows.iter().map(|row| self::row(context, row)).collect();
            panel::table(
                section,
                "Rollouts, newest first",
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
            let older = older.map(|cursor| format!("/rollouts?after={}", segment(cursor)));
            panel::pages(section, None, older.as_deref());
        });
    })
}

/// Writes a rollout as the cells of a row.
pub(super) fn row(context: &Context, row: &RolloutRow) -> Vec<Markup> {
    vec![
        panel::link(&format!("/rollouts/{}", segment(&row.id)), &row.id),
        Markup::of(&format!("{} in {}", row.system, row.environment)),
        Markup::of(&row.strategy),
        state(row),
        Markup::of(&words::weight(row.weight)),
        words::time(context.now, row.updated_at),
    ]
}

fn state(row: &RolloutRow) -> Markup {
    let tone = match row.end {
        End::Running => "unsure",
        End::Succeeded => "good",
        End::Failed => "bad",
    };
    panel::tag(tone, &row.state.replace('_', " "))
}

/// Returns the page of one rollout.
pub fn rollout(context: &Context, view: &RolloutView) -> String {
    let summary = &view.summary;
    let title = format!("Rollout {}", summary.id);
    let live = summary.end == End::Running;
    let place = Place { title: &title, path: "/rollouts", live };
    page(context, &place, |main| {
        let events = format!("/rollouts/{}/events", segment(&summary.id));
        let attributes = [("id", "rollout"), ("data-events", events.as_str())];
        main.element("div", if live { &attributes[..] } else { &attributes[..1] }, |all| {
            all.leaf("h1", &[], &format!("{} to {}", summary.system, summary.environment));
            block(all, "state", |state| head(state, context, view));
            block(all, "controls", |block| controls::controls(block, context, view));
            block(all, "stages", |block| stages(block, &view.stages));
            block(all, "checks", |block| sequence::checks(block, context, &view.checks));
            block(all, "approvals", |block| approvals(block, context, &view.approvals));
            block(all, "log", |block| log(block, context, &view.log));
        });
    })
}

/// Adds a part that is renewed while the rollout runs.
fn block(all: &mut Markup, id: &'static str, fill: impl FnOnce(&mut Markup)) {
    all.element("div", &[("id", id), ("data-live", "")], fill);
}

fn head(into: &mut Markup, context: &Context, view: &RolloutView) {
    let summary = &view.summary;
    into.element("p", &[("class", "lead"), ("role", "status")], |lead| {
        lead.add(&state(summary));
        lead.text(&format!(" {}, revision {}, changed ", summary.strategy, view.revision));
        lead.add(&words::time(context.now, summary.updated_at));
        if let Some(reason) = &view.reason {
            lead.text(&format!(". {reason}"));
        }
    });
    let done = view.stages.iter().filter(|stage| stage.progress == Progress::Done).count();
    let sum = |of: fn(&Stage) -> f64| words::seconds(view.stages.iter().map(of).sum());
    panel::tiles(
        into,
        &[
            (
                words::weight(summary.weight),
                "of requests go to the candidate",
                format!("stage {} of {}", (done + 1).min(view.stages.len()), view.stages.len()),
            ),
            (
                sum(|stage| stage.work_seconds.unwrap_or(0.0)),
                "at work",
                "shifting, settling, observing".to_owned(),
            ),
            (
                sum(|stage| stage.human_seconds),
                "waiting for people",
                "approvals and pauses".to_owned(),
            ),
        ],
    );
    if let Some(id) = &view.prediction {
        into.element("p", &[], |p| {
            p.text("Gated by prediction ");
            p.add(&panel::link(&format!("/predictions/{}", segment(id)), id));
        });
    }
}

fn stages(into: &mut Markup, stages: &[Stage]) {
    into.element("section", &[], |section| {
        section.leaf("h2", &[], "Stages");
        section.element("ol", &[("class", "stepper")], |list| {
            for stage in stages {
                let (class, words) = match stage.progress {
                    Progress::Done => ("done", "done"),
                    Progress::Current => ("current", "running"),
                    Progress::Ahead => ("ahead", "to come"),
                    Progress::Failed => ("failed", "failed"),
                };
                let attributes = [("class", class), ("aria-current", "step")];
                let shown = if stage.progress == Progress::Current { 2 } else { 1 };
                list.element("li", &attributes[..shown], |item| {
                    item.leaf(
                        "strong",
                        &[],
                        &format!("{}: {}", stage.name, words::weight(stage.weight)),
                    );
                    item.leaf("span", &[], stage.verdict.as_deref().unwrap_or(words));
                    let work = stage
                        .work_seconds
                        .map_or(String::new(), |s| format!("{} at work", words::seconds(s)));
                    item.leaf("small", &[], &work);
                    if stage.human_seconds > 0.0 {
                        item.leaf(
                            "small",
                            &[],
                            &format!("{} waiting for people", words::seconds(stage.human_seconds)),
                        );
                    }
                });
            }
        });
    });
}

fn approvals(into: &mut Markup, context: &Context, approvals: &[Approval]) {
    if approvals.is_empty() {
        return;
    }
    into.element("section", &[], |section| {
        section.leaf("h2", &[], "Approvals");
        let rows: Vec<_> = approvals
            .iter()
            .map(|it| {
                vec![
                    Markup::of(&it.by),
                    Markup::of(&it.stage),
                    Markup::of(&it.revision.to_string()),
                    words::time(context.now, it.at),
                ]
            })
            .collect();
        panel::table(
            section,
            "Signed approvals",
            &[("by", false), ("stage", false), ("revision", true), ("when", false)],
            &rows,
        );
    });
}

fn log(into: &mut Markup, context: &Context, lines: &[LogLine]) {
    into.element("section", &[], |section| {
        section.leaf("h2", &[], "Log");
        let attributes = [
            ("class", "card scroll"),
            ("role", "log"),
            ("aria-label", "The last lines"),
            ("tabindex", "0"),
        ];
        section.element("div", &attributes, |card| {
            if lines.is_empty() {
                card.text("Nothing was logged.");
                return;
            }
            card.element("ol", &[("class", "log")], |list| {
                for line in lines {
                    let class = match line.level.as_str() {
                        "error" => "bad",
                        "warning" => "unsure",
                        _ => "info",
                    };
                    list.element("li", &[], |item| {
                        item.add(&words::time(context.now, line.at));
                        item.leaf(
                            "span",
                            &[("class", class)],
                            &format!(" {}: {}", line.level, line.text),
                        );
                    });
                }
            });
        });
    });
}
