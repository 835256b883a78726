//! Rollouts: their records, their logs, their steering.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use prophecy_store::RolloutFilter;

use super::next;
use crate::call::{Call, Reply};
use crate::control::Verb;
use crate::feed;
use crate::gateway::App;
use crate::problem::Problem;
use crate::service::steering;
use crate::view::view;

pub(super) async fn list(app: &App, call: &Call) -> Result<Reply, Problem> {
    let actor = call.actor()?;
    let page = call.page()?;
    let active = match call.asked("active").as_deref() {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(Problem::malformed("`active` is `true` or `false`")),
    };
    let filter = RolloutFilter {
        system: call.asked("system"),
        environment: call.asked("environment"),
        active,
        ..RolloutFilter::default()
    };
    let found = app.store.list_rollouts(&filter, &page).await?;
    let cursor = next(&found, page.limit, |rollout| rollout.id.clone());
    let seen = found.iter().filter(|one| actor.scope.holds(&one.system, &one.environment));
    Ok(Reply::list(call, &seen.map(view).collect::<Vec<_>>(), cursor))
}

pub(super) async fn create(app: &App, call: &Call) -> Result<Reply, Problem> {
    let key = call.headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let (rollout, new) = steering::create(app, call.actor()?, call.json()?, key).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    let place = format!("/api/v1/rollouts/{}", rollout.id);
    Ok(shown(status, &rollout).with(header::LOCATION, &place))
}

pub(super) async fn get(app: &App, call: &Call) -> Result<Reply, Problem> {
    let rollout = steering::get(app, call.actor()?, call.parameter("id")).await?;
    Ok(shown(StatusCode::OK, &rollout))
}

pub(super) async fn steer(app: &App, call: &Call) -> Result<Reply, Problem> {
    let verb =
        Verb::of(call.parameter("verb")).ok_or_else(|| Problem::not_found("act of steering"))?;
    let seen = if call.body.is_empty() {
        steering::Steering { revision: None, stage: None, reason: None }
    } else {
        call.json()?
    };
    let tag = call.headers.get(header::IF_MATCH).map(|tag| tag.to_str().unwrap_or(""));
    let id = call.parameter("id");
    let rollout = steering::steer(app, call.actor()?, id, verb, &seen, tag).await?;
    Ok(shown(StatusCode::OK, &rollout))
}

pub(super) async fn steps(app: &App, call: &Call) -> Result<Reply, Problem> {
    let rollout = steering::get(app, call.actor()?, call.parameter("id")).await?;
    let steps = app.store.list_steps(&rollout.id).await?;
    Ok(Reply::list(call, &steps.iter().map(view).collect::<Vec<_>>(), None))
}

pub(super) async fn verdicts(app: &App, call: &Call) -> Result<Reply, Problem> {
    let rollout = steering::get(app, call.actor()?, call.parameter("id")).await?;
    let verdicts = app.store.list_verdicts(&rollout.id).await?;
    Ok(Reply::list(call, &verdicts.iter().map(view).collect::<Vec<_>>(), None))
}

pub(super) async fn logs(app: &App, call: &Call) -> Result<Reply, Problem> {
    let rollout = steering::get(app, call.actor()?, call.parameter("id")).await?;
    let (after, limit) = (call.number("after")?.unwrap_or(0), call.limit()?);
    let lines = app.rollouts.logs(rollout.id, after, limit).await?;
    let cursor = next(&lines, limit, |line| line.seq.to_string());
    Ok(Reply::list(call, &lines.iter().map(view).collect::<Vec<_>>(), cursor))
}

pub(super) async fn stream(app: &Arc<App>, call: &Call) -> Result<Reply, Problem> {
    let actor = call.actor()?;
    let rollout = steering::get(app, actor, call.parameter("id")).await?;
    let after = super::telling::resume(call)?;
    Ok(Reply::stream(feed::logs(Arc::clone(app), actor.clone(), rollout.id, after)))
}

pub(super) async fn approvals(app: &App, call: &Call) -> Result<Reply, Problem> {
    let rollout = steering::get(app, call.actor()?, call.parameter("id")).await?;
    let approvals = app.store.list_approvals(&rollout.id).await?;
    Ok(Reply::list(call, &approvals.iter().map(view).collect::<Vec<_>>(), None))
}

pub(super) async fn approve(app: &App, call: &Call) -> Result<Reply, Problem> {
    let request = call.json()?;
    let id = call.parameter("id");
    let approval = steering::approve(app, call.actor()?, id, &request, call.now).await?;
    Ok(Reply::json(StatusCode::CREATED, &view(&approval)))
}

fn shown(status: StatusCode, rollout: &prophecy_store::Rollout) -> Reply {
    Reply::json(status, &view(rollout)).with(header::ETAG, &format!("\"r{}\"", rollout.revision))
}
