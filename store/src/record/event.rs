//! What others are told: events, who wants them, and whether they got them.

use prophecy_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::nanos;

/// An event before it has a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEvent {
    /// Unique; see [`crate::sortable_id`].
    pub id: String,
    /// Its type, such as `deployment.started`.
    pub event_type: String,
    /// What sent it.
    pub source: String,
    /// What it is about, such as the id of a rollout.
    pub subject: String,
    /// When it happened.
    #[serde(with = "nanos")]
    pub at: Timestamp,
    /// Its data.
    pub data_json: String,
}

/// An event with its place in the order of all events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up by one; who has read up to a number has missed nothing below it.
    pub seq: u64,
    /// The event itself.
    #[serde(flatten)]
    pub event: NewEvent,
}

/// Somebody who wants to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Sorts by time.
    pub id: String,
    /// Where to post.
    pub url: String,
    /// The types wanted, a JSON list.
    pub events_json: String,
    /// The signing secret, sealed by the caller: the store never sees it open.
    pub secret_sealed: String,
    /// When it was registered.
    #[serde(with = "nanos")]
    pub created_at: Timestamp,
    /// When it was switched off.
    #[serde(with = "nanos::optional", default)]
    pub disabled_at: Option<Timestamp>,
}

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be tried at `next_at`.
    Pending,
    /// Taken by its receiver.
    Delivered,
    /// Given up.
    Dead,
}

/// One event on its way to one webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Sorts by time.
    pub id: String,
    /// The receiver.
    pub webhook_id: String,
    /// The event.
    pub event_seq: u64,
    /// How often it was tried; claiming it counts.
    pub attempt: u64,
    /// When it is to be tried next.
    #[serde(with = "nanos")]
    pub next_at: Timestamp,
    /// How far it is.
    pub state: DeliveryState,
    /// The status of the last answer.
    #[serde(default)]
    pub last_status: Option<u16>,
    /// Why the last attempt failed.
    #[serde(default)]
    pub last_error: Option<String>,
}
