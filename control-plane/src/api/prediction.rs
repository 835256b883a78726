//! Predictions, their gates, outcomes and scores.

use axum::http::{StatusCode, header};
use prophecy_predictor::{Report, render};
use prophecy_store::{PredictionFilter, SettledFilter};
use serde_json::{Value, json};

use super::next;
use crate::call::{Call, Reply};
use crate::gateway::App;
use crate::problem::Problem;
use crate::service::forecast::Registration;
use crate::service::{forecast, gate, outcome, scoreboard};
use crate::view::view;

const DAY: u64 = 86_400;
/// More settled claims than this are not scored at once; the newest are.
const SCORED: u32 = 100_000;

pub(super) async fn list(app: &App, call: &Call) -> Result<Reply, Problem> {
    let actor = call.actor()?;
    let page = call.page()?;
    let verdict = call.asked("verdict");
    let known = ["go", "no_go", "not_enough_evidence"];
    if verdict.as_deref().is_some_and(|verdict| !known.contains(&verdict)) {
        return Err(Problem::malformed(format!("`verdict` is one of {}", known.join(", "))));
    }
    let filter = PredictionFilter {
        system: call.asked("system"),
        environment: call.asked("environment"),
        verdict,
        ..PredictionFilter::default()
    };
    let found = app.store.list_predictions(&filter, &page).await?;
    let cursor = next(&found, page.limit, |prediction| prediction.id.clone());
    let seen = found.iter().filter(|one| actor.scope.holds(&one.system, &one.environment));
    Ok(Reply::list(call, &seen.map(view).collect::<Vec<_>>(), cursor))
}

pub(super) async fn create(app: &App, call: &Call) -> Result<Reply, Problem> {
    call.expect_json()?;
    let environment =
        call.asked("environment").ok_or_else(|| Problem::malformed("`environment` is missing"))?;
    forecast::name("environment", &environment)?;
    let registration = Registration {
        environment,
        window_seconds: call.number("window_seconds")?.unwrap_or(3_600),
        expires_in_seconds: call.number("expires_in_seconds")?.unwrap_or(7 * DAY),
    };
    let text =
        std::str::from_utf8(&call.body).map_err(|_| Problem::malformed("the body is not UTF-8"))?;
    let made = forecast::register(app, call.actor()?, &registration, text, call.now).await?;
    let place = format!("/api/v1/predictions/{}", made.id);
    Ok(Reply::json(StatusCode::CREATED, &view(&made)).with(header::LOCATION, &place))
}

pub(super) async fn get(app: &App, call: &Call) -> Result<Reply, Problem> {
    let prediction = forecast::get(app, call.actor()?, call.parameter("id")).await?;
    let claims = app.store.list_claims(&prediction.id).await?;
    let mut shown = view(&prediction);
    shown["claims"] = Value::Array(claims.iter().map(view).collect());
    Ok(Reply::ok(&shown))
}

pub(super) async fn report(app: &App, call: &Call) -> Result<Reply, Problem> {
    let prediction = forecast::get(app, call.actor()?, call.parameter("id")).await?;
    let text = app.store.get_report(&prediction.id).await?;
    match call.asked("format").as_deref() {
        None | Some("json") => Ok(Reply::text(StatusCode::OK, "application/json", text)),
        Some("html") => {
            let report = Report::from_json(&text).map_err(|_| Problem::internal())?;
            let page = render::html(&report);
            // The page is self-contained; a sandbox keeps it from acting as this origin.
            let policy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:";
            Ok(Reply::text(StatusCode::OK, "text/html; charset=utf-8", page)
                .with(header::CONTENT_SECURITY_POLICY, policy))
        }
        Some(_) => Err(Problem::malformed("`format` is `json` or `html`")),
    }
}

pub(super) async fn revoke(app: &App, call: &Call) -> Result<Reply, Problem> {
    let revoked = forecast::revoke(app, call.actor()?, call.parameter("id"), call.now).await?;
    Ok(Reply::ok(&view(&revoked)))
}

pub(super) async fn gates(app: &App, call: &Call) -> Result<Reply, Problem> {
    let gates = gate::list(app, call.actor()?, call.parameter("id"), call.now).await?;
    Ok(Reply::list(call, &gates, None))
}

pub(super) async fn decide(app: &App, call: &Call) -> Result<Reply, Problem> {
    let request = call.json()?;
    let decided = gate::decide(app, call.actor()?, &request, call.now).await?;
    Ok(Reply::json(StatusCode::CREATED, &decided))
}

pub(super) async fn outcomes(app: &App, call: &Call) -> Result<Reply, Problem> {
    let actor = call.actor()?;
    let page = call.page()?;
    let found = app.store.list_outcomes(&page).await?;
    let cursor = next(&found, page.limit, |outcome| outcome.prediction_id.clone());
    let mut seen = Vec::new();
    for outcome in &found {
        if actor.scope.is_everywhere()
            || forecast::get(app, actor, &outcome.prediction_id).await.is_ok()
        {
            seen.push(view(outcome));
        }
    }
    Ok(Reply::list(call, &seen, cursor))
}

pub(super) async fn settle(app: &App, call: &Call) -> Result<Reply, Problem> {
    let request = call.json()?;
    let (outcome, claims) = outcome::settle(app, call.actor()?, &request, call.now).await?;
    let mut shown = view(&outcome);
    shown["claims"] = json!(claims);
    let place = format!("/api/v1/outcomes/{}", outcome.prediction_id);
    Ok(Reply::json(StatusCode::CREATED, &shown).with(header::LOCATION, &place))
}

pub(super) async fn outcome(app: &App, call: &Call) -> Result<Reply, Problem> {
    let prediction = forecast::get(app, call.actor()?, call.parameter("id")).await?;
    let outcome = app.store.get_outcome(&prediction.id).await?;
    let claims = app.store.list_outcome_claims(&prediction.id).await?;
    let mut shown = view(&outcome);
    shown["claims"] = json!(claims);
    Ok(Reply::ok(&shown))
}

pub(super) async fn accuracy(app: &App, call: &Call) -> Result<Reply, Problem> {
    let actor = call.actor()?;
    let filter = SettledFilter {
        system: call.asked("system"),
        environment: call.asked("environment"),
        service: call.asked("service"),
        metric: call.asked("metric"),
        ..SettledFilter::default()
    };
    let mut claims = app.store.list_settled_claims(&filter, SCORED).await?;
    claims.retain(|settled| actor.scope.holds(&settled.system, &settled.environment));
    // Pooling and resampling take long enough to keep other requests waiting.
    let scored = tokio::task::spawn_blocking(move || scoreboard::score(&claims)).await;
    Ok(Reply::ok(&scored.map_err(|_| Problem::internal())?))
}
