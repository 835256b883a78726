//! Hooks on the way: asked, or told.

use std::time::Duration;

use tokio::time::sleep;

use super::{Executor, Site};
use crate::abort::chain;
use crate::hook::{Delivery, Effect, Hook, HookKind, HookRequest};
use crate::journal::Entry;
use crate::plan::Plan;
use crate::strategy::Weight;

/// How long to wait before a hook is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// What hooks of a rollout need to be called.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    site: Site,
    hooks: Vec<Hook>,
    request: HookRequest,
}

// === impl Executor ===

impl Executor {
    /// Returns what calls this rollout's hooks.
    pub(super) fn caller(&self, weight: Weight) -> Result<Caller, String> {
        Caller::of(&self.site, &self.plan, self.journal.last(), weight)
    }

    /// Asks every hook of a kind; waits as long as one wants that.
    pub(super) async fn ask(&self, kind: HookKind, weight: Weight) -> Result<(), String> {
        self.caller(weight)?.ask(kind).await
    }

    /// Tells the hooks that listen to events; nobody waits for them.
    pub(super) fn tell(&self, entry: &Entry) {
        let Ok(mut caller) = Caller::of(&self.site, &self.plan, Some(entry), Weight::ZERO) else {
            return;
        };
        caller.request.message = Some(entry.reason.clone());
        for hook in caller.hooks.iter().filter(|hook| hook.kind() == HookKind::Event) {
            drop(caller.site.sender.notify(hook, &caller.request));
        }
    }
}

// === impl Caller ===

impl Caller {
    fn of(site: &Site, plan: &Plan, entry: Option<&Entry>, weight: Weight) -> Result<Self, String> {
        let hooks = plan.settings.hooks.iter().cloned().map(crate::hook::HookSpec::open);
        let hooks: Vec<Hook> = hooks.collect::<Result<_, _>>().map_err(|error| chain(&error))?;
        let services: Vec<&str> = plan.components.iter().map(|it| it.service.as_str()).collect();
        let request = HookRequest {
            rollout: plan.id.clone(),
            service: services.join(","),
            environment: plan.environment.clone(),
            revision: entry.map_or(0, |entry| entry.revision),
            stage: entry.map_or_else(String::new, |entry| entry.state.to_string()),
            weight_millipercent: weight.parts(),
            candidate_digest: plan.candidate.digest.clone(),
            message: None,
        };
        Ok(Self { site: site.clone(), hooks, request })
    }

    async fn ask(&self, kind: HookKind) -> Result<(), String> {
        for hook in self.hooks.iter().filter(|hook| hook.kind() == kind) {
            loop {
                let Delivery { answer, effect, .. } =
                    self.site.sender.deliver(hook, &self.request).await;
                match effect {
                    Effect::Proceed => break,
                    Effect::Wait => sleep(AGAIN).await,
                    Effect::Fail | Effect::RollBack => {
                        return Err(format!("hook `{}` does not agree: {answer:?}", hook.name()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Asks the hooks that may end the rollout, again and again; returns which one did.
    pub(super) async fn told_to_go_back(&self) -> String {
        let hooks: Vec<&Hook> =
            self.hooks.iter().filter(|hook| hook.kind() == HookKind::Rollback).collect();
        if hooks.is_empty() {
            return std::future::pending().await;
        }
        loop {
            for hook in &hooks {
                let delivery = self.site.sender.deliver(hook, &self.request).await;
                if delivery.effect == Effect::RollBack {
                    return format!("hook `{}` says to roll back", hook.name());
                }
            }
            sleep(AGAIN).await;
        }
    }
}
