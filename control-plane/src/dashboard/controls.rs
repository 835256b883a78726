//! What a viewer may do to a rollout: forms that name the revision that was seen.

use super::frame::{Context, csrf};
use super::markup::{Markup, segment};
use super::rollout::RolloutView;

/// Something that can be done to a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Go to the next stage.
    Promote,
    /// Stay in this stage.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Stop, and go back.
    Abort,
    /// Go back after the candidate was promoted.
    Rollback,
}

// === impl Action ===

impl Action {
    /// Returns the last segment of the path that the form is sent to.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Rollback => "rollback",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Promote => "Promote",
            Self::Pause => "Pause",
            Self::Resume => "Resume",
            Self::Abort => "Abort and go back",
            Self::Rollback => "Roll back",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Promote | Self::Resume => "primary",
            Self::Pause => "plain",
            Self::Abort | Self::Rollback => "danger",
        }
    }
}

/// Adds a form for each action that is possible.
pub(super) fn controls(into: &mut Markup, context: &Context, view: &RolloutView) {
    if !context.may_deploy() || view.actions.is_empty() {
        return;
    }
    let revision = view.revision.to_string();
    into.element(
        "div",
        &[("class", "actions"), ("role", "group"), ("aria-label", "Actions")],
        |group| {
            for action in &view.actions {
                let address = format!("/rollouts/{}/{}", segment(&view.summary.id), action.slug());
                group.element("form", &[("method", "post"), ("action", &address)], |form| {
                    csrf(form, context);
                    form.void(
                        "input",
                        &[("type", "hidden"), ("name", "revision"), ("value", &revision)],
                    );
                    form.leaf(
                        "button",
                        &[("type", "submit"), ("class", action.class())],
                        action.words(),
                    );
                });
            }
        },
    );
}
