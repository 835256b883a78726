//! Events, health, counters.

use std::sync::Arc;

use axum::http::StatusCode;
use prophecy_store::{EventFilter, Page, RolloutFilter};
use serde_json::json;

use super::next;
use crate::call::{Call, Reply};
use crate::cloud_event::{data, structured};
use crate::feed;
use crate::gateway::App;
use crate::problem::Problem;
use crate::service::delivery;

pub(super) async fn health(app: &App) -> Result<Reply, Problem> {
    app.store.check().await?;
    let pending = delivery::pending(app).await?;
    Ok(Reply::ok(&json!({ "status": "ok", "store": "reachable", "queue": pending })))
}

pub(super) async fn metrics(app: &App) -> Result<Reply, Problem> {
    let filter = RolloutFilter { active: Some(true), ..RolloutFilter::default() };
    let active = app.store.list_rollouts(&filter, &Page::newest(1_000)).await?.len() as u64;
    let text = app.meter.text(delivery::pending(app).await?, active, app.tracer.dropped());
    Ok(Reply::text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text))
}

pub(super) async fn events(app: &App, call: &Call) -> Result<Reply, Problem> {
    let actor = call.actor()?;
    let limit = call.limit()?;
    let filter = EventFilter {
        seq: call.number("after")?.unwrap_or(0),
        subject: call.asked("subject"),
        event_type: call.asked("type"),
    };
    let found = app.store.events_since(&filter, limit).await?;
    let cursor = next(&found, limit, |event| event.seq.to_string());
    let seen = found.iter().filter(|event| feed::visible(actor, &data(event)));
    Ok(Reply::list(call, &seen.map(structured).collect::<Vec<_>>(), cursor))
}

pub(super) fn stream(app: &Arc<App>, call: &Call) -> Result<Reply, Problem> {
    let after = resume(call)?;
    Ok(Reply::stream(feed::events(Arc::clone(app), call.actor()?.clone(), after)))
}

/// Returns after which message a stream goes on.
pub(super) fn resume(call: &Call) -> Result<u64, Problem> {
    let Some(last) = call.headers.get("last-event-id") else {
        return Ok(call.number("after")?.unwrap_or(0));
    };
    last.to_str()
        .ok()
        .and_then(|last| last.parse().ok())
        .filter(|last| i64::try_from(*last).is_ok())
        .ok_or_else(|| Problem::malformed("`last-event-id` is not the id of a message"))
}
