//! Tokens, webhooks, the audit log.

use axum::http::StatusCode;
use prophecy_store::{DeliveryState, StoreError};
use serde_json::{Value, json};

use super::next;
use crate::call::{Call, Reply};
use crate::gateway::App;
use crate::problem::Problem;
use crate::service::{access, webhook};
use crate::view::{self, view};

pub(super) async fn tokens(app: &App, call: &Call) -> Result<Reply, Problem> {
    let actor = call.actor()?;
    let page = call.page()?;
    let found = app.store.list_tokens(&page).await?;
    let cursor = next(&found, page.limit, |token| token.id.clone());
    let seen = found.iter().filter(|token| access::sees(actor, token));
    Ok(Reply::list(call, &seen.map(view::token).collect::<Vec<_>>(), cursor))
}

pub(super) async fn create_token(app: &App, call: &Call) -> Result<Reply, Problem> {
    let request = call.json()?;
    let (token, text) = access::create(app, call.actor()?, &request, call.now).await?;
    Ok(with_secret(view::token(&token), &text))
}

pub(super) async fn revoke_token(app: &App, call: &Call) -> Result<Reply, Problem> {
    let token = access::revoke(app, call.actor()?, call.parameter("id"), call.now).await?;
    Ok(Reply::ok(&view::token(&token)))
}

pub(super) async fn webhooks(app: &App, call: &Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let found = app.store.list_webhooks(&page).await?;
    let cursor = next(&found, page.limit, |webhook| webhook.id.clone());
    Ok(Reply::list(call, &found.iter().map(view).collect::<Vec<_>>(), cursor))
}

pub(super) async fn create_webhook(app: &App, call: &Call) -> Result<Reply, Problem> {
    let request = call.json()?;
    let (webhook, secret) = webhook::create(app, &request, call.now).await?;
    Ok(with_secret(view(&webhook), &secret))
}

pub(super) async fn webhook(app: &App, call: &Call) -> Result<Reply, Problem> {
    Ok(Reply::ok(&view(&app.store.get_webhook(call.parameter("id")).await?)))
}

pub(super) async fn delete_webhook(app: &App, call: &Call) -> Result<Reply, Problem> {
    app.store.disable_webhook(call.parameter("id"), call.now).await?;
    webhook(app, call).await
}

pub(super) async fn deliveries(app: &App, call: &Call) -> Result<Reply, Problem> {
    let page = call.page()?;
    let state = match call.asked("state").as_deref() {
        None => None,
        Some("pending") => Some(DeliveryState::Pending),
        Some("delivered") => Some(DeliveryState::Delivered),
        Some("dead") => Some(DeliveryState::Dead),
        Some(_) => {
            return Err(Problem::malformed("`state` is `pending`, `delivered` or `dead`"));
        }
    };
    let webhook = app.store.get_webhook(call.parameter("id")).await?;
    let found = app.store.list_deliveries(Some(&webhook.id), state, &page).await?;
    let cursor = next(&found, page.limit, |delivery| delivery.id.clone());
    Ok(Reply::list(call, &found.iter().map(view).collect::<Vec<_>>(), cursor))
}

pub(super) async fn redeliver(app: &App, call: &Call) -> Result<Reply, Problem> {
    let (id, delivery) = (call.parameter("id"), call.parameter("delivery"));
    let again = webhook::redeliver(app, id, delivery, call.now).await?;
    Ok(Reply::ok(&view(&again)))
}

pub(super) async fn audit(app: &App, call: &Call) -> Result<Reply, Problem> {
    let (after, limit) = (call.number("after")?.unwrap_or(0), call.limit()?);
    let found = app.store.list_audit(after, limit).await?;
    let cursor = next(&found, limit, |entry| entry.seq.to_string());
    Ok(Reply::list(call, &found.iter().map(view).collect::<Vec<_>>(), cursor))
}

pub(super) async fn verify_audit(app: &App) -> Result<Reply, Problem> {
    match app.store.verify_audit().await {
        Ok(chain) => {
            Ok(Reply::ok(&json!({ "intact": true, "entries": chain.entries, "head": chain.head })))
        }
        Err(StoreError::Corrupt { what, reason }) => {
            Ok(Reply::ok(&json!({ "intact": false, "what": what, "reason": reason })))
        }
        Err(error) => Err(error.into()),
    }
}

fn with_secret(mut shown: Value, secret: &str) -> Reply {
    shown["secret"] = Value::String(secret.to_owned());
    Reply::json(StatusCode::CREATED, &shown)
}
