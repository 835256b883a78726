//! Who wants to be told, and where that may be.

use std::net::{IpAddr, SocketAddr};

use axum::http::Uri;
use prophecy_core::Timestamp;
use prophecy_store::{Delivery, DeliveryState, Webhook};
use serde::Deserialize;

use crate::gateway::App;
use crate::problem::Problem;
use crate::token::new_id;

/// A receiver to be registered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookRequest {
    pub(crate) url: String,
    /// Types of events, or beginnings of them that end with `*`.
    pub(crate) events: Vec<String>,
}

/// Registers a receiver; the secret is shown this once.
pub(crate) async fn create(
    app: &App,
    request: &WebhookRequest,
    now: Timestamp,
) -> Result<(Webhook, String), Problem> {
    if resolve(app, &request.url).await.is_none() {
        return Err(Problem::invalid(
            "`url` must be `http://` to loopback or to a host that the server allows",
        ));
    }
    let sound = |event: &String| {
        event.len() <= 128
            && event.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-*".contains(&b))
    };
    if request.events.is_empty() || request.events.len() > 64 || !request.events.iter().all(sound) {
        return Err(Problem::invalid("`events` must be 1 to 64 types of events"));
    }
    let webhook = Webhook {
        id: new_id(now),
        url: request.url.clone(),
        events_json: serde_json::to_string(&request.events).map_err(|_| Problem::internal())?,
        secret_sealed: "derived:1".to_owned(),
        created_at: now,
        disabled_at: None,
    };
    app.store.insert_webhook(&webhook).await?;
    let secret = secret(app, &webhook.id);
    Ok((webhook, secret))
}

/// Returns the signing secret of a webhook. It is derived from the server's key, and stored nowhere.
pub(crate) fn secret(app: &App, webhook_id: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("prophecy control-plane webhook secret v1");
    hasher.update(&app.key);
    hasher.update(webhook_id.as_bytes());
    format!("whsec_{}", hasher.finalize().to_hex())
}

/// Returns whether a webhook wants an event.
pub(crate) fn wants(webhook: &Webhook, event_type: &str) -> bool {
    let wanted: Vec<String> = serde_json::from_str(&webhook.events_json).unwrap_or_default();
    webhook.disabled_at.is_none()
        && wanted.iter().any(|wanted| {
            wanted
                .strip_suffix('*')
                .map_or(wanted == event_type, |start| event_type.starts_with(start))
        })
}

/// Returns the address behind a URL, if deliveries may go there. The name is looked up here, and the
/// answer is what is connected to, so that it cannot change between the check and the use.
pub(crate) async fn resolve(app: &App, url: &str) -> Option<(Uri, SocketAddr)> {
    let uri: Uri = url.parse().ok()?;
    if uri.scheme_str() != Some("http") || url.contains('@') || url.len() > 2_000 {
        return None;
    }
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(80);
    let listed = app.limits.webhook_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(&host));
    if let Ok(address) = host.parse::<IpAddr>() {
        return (listed || address.is_loopback()).then_some((uri, (address, port).into()));
    }
    if !listed && !host.eq_ignore_ascii_case("localhost") {
        return None;
    }
    let mut found = tokio::net::lookup_host((host.as_str(), port)).await.ok()?;
    let address = found.find(|address| listed || address.ip().is_loopback())?;
    Some((uri, address))
}

/// Makes a delivery due now, for one attempt more.
pub(crate) async fn redeliver(
    app: &App,
    webhook_id: &str,
    delivery_id: &str,
    now: Timestamp,
) -> Result<Delivery, Problem> {
    let known = app.store.get_delivery(delivery_id).await?;
    if known.webhook_id != webhook_id {
        return Err(Problem::not_found("delivery"));
    }
    // Refused by the store where an attempt has begun meanwhile.
    let again = Delivery { next_at: now, state: DeliveryState::Pending, ..known };
    app.store.update_delivery(&again).await?;
    Ok(again)
}
