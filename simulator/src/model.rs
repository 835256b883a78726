//! The model of a system: stations, what their routes cost, and which calls they make.
//!
//! A model is data (`model.json`, schema `prophecy.model/1`): fitted by [`model_of`](crate::model_of)
//! or written by hand. What a model means is defined by the engine, see [`scenario`](crate::scenario).

mod check;
mod law;

pub use check::CheckModelError;
pub use law::Law;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The schema of `model.json`.
pub const SCHEMA: &str = "prophecy.model/1";

/// A system as the engine sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The name of the system.
    pub system: String,
    /// The service that clients call.
    pub entry: String,
    /// The services, by name.
    pub services: BTreeMap<String, Station>,
}

/// One service: equal replicas, each with its own workers, queue and connection pools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Station {
    /// Instances; requests are spread over them in turn.
    pub replicas: u32,
    /// Requests that one replica works on at once; without it there is no limit and no queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// Requests that may wait for a worker of one replica; one more is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_limit: Option<u32>,
    /// Calls that one replica may have in flight at once, by called service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<String, u32>,
    /// What each route costs and calls.
    pub routes: BTreeMap<String, RouteModel>,
}

/// What a request of one route does at its station.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteModel {
    /// Own time as ascending, equally likely values: the empirical quantile function. A uniform `u`
    /// draws the value at index `⌊u·n⌋`. May be empty only if there is a `law`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_nanos: Vec<u64>,
    /// Own time as a law, in place of `own_nanos`; for models written by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub law: Option<Law>,
    /// The probability that a request fails by itself, at the end of its own time.
    #[serde(default)]
    pub failure: f64,
    /// The calls it makes, in this order. Neighbors marked `parallel` start together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallModel>,
}

/// Calls from one route to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallModel {
    /// The called service.
    pub service: String,
    /// The called route.
    pub route: String,
    /// `counts[k]` is the probability that a request makes `k` such calls.
    pub counts: Vec<f64>,
    /// The calls start together, with those of `parallel` neighbors, and the caller waits for all;
    /// otherwise one starts when the one before is answered.
    #[serde(default)]
    pub parallel: bool,
    /// When the caller gives up, counted from when it asks for a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_nanos: Option<u64>,
    /// How often a failed call is tried again, at once.
    #[serde(default)]
    pub retries: u32,
    /// The probability that the caller fails if this call failed.
    #[serde(default = "certain")]
    pub failure_spreads: f64,
}

/// Why a model was refused.
#[derive(Clone, Debug, Error)]
pub enum ReadModelError {
    /// The text is not JSON, or not of the form of a model.
    #[error("cannot read the model: line {line}, column {column}: {message}")]
    Json {
        /// Where reading stopped.
        line: usize,
        /// Where reading stopped.
        column: usize,
        /// What was found against what was expected.
        message: String,
    },
    /// A number is out of range, or a name is not defined.
    #[error("cannot use the model: {0}")]
    Check(#[from] CheckModelError),
}

// === impl Model ===

impl Model {
    /// Reads a checked model.
    ///
    /// # Errors
    ///
    /// [`ReadModelError`] if the text is not a model, or the model does not pass [`Model::check`].
    pub fn from_json(text: &str) -> Result<Self, ReadModelError> {
        let model: Self = serde_json::from_str(text).map_err(|error| {
            let full = error.to_string();
            let message = full.split(" at line ").next().unwrap_or(&full).to_owned();
            ReadModelError::Json { line: error.line(), column: error.column(), message }
        })?;
        model.check()?;
        Ok(model)
    }

    /// Writes the model, indented, with a final newline.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("a model is made of strings, numbers and maps with string keys");
        text.push('\n');
        text
    }

    /// Returns a route of a service, if both exist.
    pub fn route(&self, service: &str, route: &str) -> Option<&RouteModel> {
        self.services.get(service)?.routes.get(route)
    }
}

// === impl Station ===

impl Station {
    /// Returns one replica without limits and routes.
    pub fn unlimited() -> Self {
        Self {
            replicas: 1,
            workers: None,
            queue_limit: None,
            pools: BTreeMap::new(),
            routes: BTreeMap::new(),
        }
    }
}

// === impl RouteModel ===

impl RouteModel {
    /// Returns a route that never fails and calls nothing, from samples of its own time.
    pub fn empirical(mut own_nanos: Vec<u64>) -> Self {
        own_nanos.sort_unstable();
        Self { own_nanos, law: None, failure: 0.0, calls: Vec::new() }
    }

    /// Returns a route that never fails and calls nothing, from the law of its own time.
    pub fn lawful(law: Law) -> Self {
        Self { own_nanos: Vec::new(), law: Some(law), failure: 0.0, calls: Vec::new() }
    }
}

// === impl CallModel ===

impl CallModel {
    /// Returns exactly one call that is never given up or tried again, and whose failure spreads.
    pub fn once(service: impl Into<String>, route: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            route: route.into(),
            counts: vec![0.0, 1.0],
            parallel: false,
            timeout_nanos: None,
            retries: 0,
            failure_spreads: 1.0,
        }
    }
}

fn certain() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: &str = r#"{
      "schema": "prophecy.model/1", "system": "shop", "entry": "front",
      "services": {
        "front": { "replicas": 2, "workers": 4, "queue_limit": 8, "pools": { "back": 2 },
          "routes": { "GET /": { "own_nanos": [1, 2, 2, 9], "failure": 0.01, "calls": [
            { "service": "back", "route": "GET /b", "counts": [0.25, 0.75], "timeout_nanos": 50 } ] } } },
        "back": { "replicas": 1,
          "routes": { "GET /b": { "law": { "kind": "exponential", "mean_nanos": 7.5 } } } }
      } }"#;

    #[test]
    fn survives_a_round_trip_through_json() {
        let model = Model::from_json(PAIR).expect("valid");
        assert_eq!(Model::from_json(&model.to_json()).expect("written by us"), model);
        let call = &model.route("front", "GET /").expect("defined").calls[0];
        assert_eq!((call.retries, call.failure_spreads, call.parallel), (0, 1.0, false));
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let check = |from: &str, to: &str, expected: &str| {
            assert!(PAIR.contains(from), "{from}");
            let error = Model::from_json(&PAIR.replacen(from, to, 1)).expect_err(to);
            assert_eq!(error.to_string(), format!("cannot {expected}"));
        };
        check(
            "\"entry\"",
            "\"entrance\"",
            "read the model: line 2, column 65: unknown field `entrance`, expected one of \
             `schema`, `system`, `entry`, `services`",
        );
        check(
            "model/1",
            "model/2",
            "use the model: `schema` is `prophecy.model/2`; it needs `prophecy.model/1`",
        );
        check(
            "\"front\", ",
            "\"door\", ",
            "read the model: line 2, column 71: expected value",
        );
    }
}
