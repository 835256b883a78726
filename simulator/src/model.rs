//! The model of a system: what `model.json` holds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The schema that this version writes and reads.
pub const SCHEMA: &str = "prophecy.model/1";

/// A system as the engine sees it: stations, what each request costs there, and who calls whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The system's name.
    pub system: String,
    /// The service that clients call.
    pub entry: String,
    /// The services, by name.
    pub services: BTreeMap<String, Station>,
}

/// A service: replicas with workers, and a queue in front of each replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Station {
    /// Instances; requests go to them in turn.
    pub replicas: u32,
    /// Requests that one replica works on at once; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// Requests that may wait for a worker of one replica; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_limit: Option<u32>,
    /// Calls at once from one replica, by destination; absent: no limit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<String, u32>,
    /// What requests cost, by route.
    pub routes: BTreeMap<String, RouteModel>,
}

/// What a request on one route costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteModel {
    /// Ascending, equally likely values of the worker's own time \[ns\].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_nanos: Vec<u64>,
    /// A law of the own time instead of values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub law: Option<Law>,
    /// The probability that the service itself fails the request.
    #[serde(default)]
    pub failure: f64,
    /// The calls it makes, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallModel>,
}

/// A law of own times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Law {
    /// Always the same time.
    Constant {
        /// The time \[ns\].
        nanos: u64,
    },
    /// The exponential distribution.
    Exponential {
        /// Its mean \[ns\].
        mean_nanos: f64,
    },
    /// The log-normal distribution.
    Lognormal {
        /// Its median \[ns\].
        median_nanos: f64,
        /// The standard deviation of the logarithm.
        sigma: f64,
    },
}

/// Calls that a route makes to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallModel {
    /// The called service.
    pub service: String,
    /// The called route.
    pub route: String,
    /// `counts[k]` is the probability of `k` calls.
    pub counts: Vec<f64>,
    /// Whether the calls start together rather than one after another.
    #[serde(default)]
    pub parallel: bool,
    /// When the caller gives up \[ns\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_nanos: Option<u64>,
    /// How often a failed call is tried again.
    #[serde(default)]
    pub retries: u32,
    /// The probability that a failed call fails the caller's request.
    #[serde(default = "certain")]
    pub failure_spreads: f64,
}

/// Why a model was refused.
#[derive(Debug, Error)]
pub enum ReadModelError {
    /// The text is not a model.
    #[error("the model does not fit the format: {message}")]
    Format {
        /// What does not fit.
        message: String,
    },
    /// The schema is of another version.
    #[error("the model has schema `{found}`; this version reads `{SCHEMA}`")]
    Schema {
        /// What was found.
        found: String,
    },
    /// A value is out of range.
    #[error("{place}: {problem}")]
    Value {
        /// Where.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
}

// === impl Model ===

impl Model {
    /// Parses and checks `model.json`.
    ///
    /// # Errors
    ///
    /// Each variant of [`ReadModelError`].
    pub fn from_json(text: &str) -> Result<Self, ReadModelError> {
        let format =
            |error: serde_json::Error| ReadModelError::Format { message: error.to_string() };
        let value: serde_json::Value = serde_json::from_str(text).map_err(format)?;
        let found = value.get("schema").and_then(|schema| schema.as_str()).unwrap_or("none");
        if found != SCHEMA {
            return Err(ReadModelError::Schema { found: found.to_owned() });
        }
        let model: Self = serde_json::from_value(value).map_err(format)?;
        model.check()?;
        Ok(model)
    }

    /// Writes `model.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a model is plain data")
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    ///
    /// [`ReadModelError::Value`] for the first value that is out of range.
    pub fn check(&self) -> Result<(), ReadModelError> {
        if !self.services.contains_key(&self.entry) {
            return refuse("`entry`", format!("there is no service `{}`", self.entry));
        }
        for (name, station) in &self.services {
            if station.replicas == 0 || station.workers == Some(0) {
                return refuse(&format!("service `{name}`"), "has no worker".to_owned());
            }
            if station.pools.values().any(|limit| *limit == 0) {
                return refuse(&format!("service `{name}`"), "has an empty pool".to_owned());
            }
            for (route, route_model) in &station.routes {
                self.check_route(&format!("service `{name}`, route `{route}`"), route_model)?;
            }
        }
        self.check_cycles()
    }

    fn check_route(&self, place: &str, route: &RouteModel) -> Result<(), ReadModelError> {
        if route.own_nanos.is_empty() == route.law.is_none() {
            return refuse(place, "needs either `own_nanos` or `law`".to_owned());
        }
        if !route.own_nanos.is_sorted() {
            return refuse(place, "`own_nanos` does not ascend".to_owned());
        }
        if !(0.0..=1.0).contains(&route.failure) {
            return refuse(place, format!("`failure` is {}, not a probability", route.failure));
        }
        for call in &route.calls {
            let known = self.services.get(&call.service).map(|station| &station.routes);
            if !known.is_some_and(|routes| routes.contains_key(&call.route)) {
                return refuse(
                    place,
                    format!("calls `{} {}`, which is not there", call.service, call.route),
                );
            }
            let sum: f64 = call.counts.iter().sum();
            if call.counts.iter().any(|p| !(0.0..=1.0).contains(p)) || (sum - 1.0).abs() > 1e-6 {
                return refuse(place, format!("the `counts` of a call sum to {sum}, not 1"));
            }
            if !(0.0..=1.0).contains(&call.failure_spreads) {
                return refuse(place, "`failure_spreads` is not a probability".to_owned());
            }
        }
        Ok(())
    }

    fn check_cycles(&self) -> Result<(), ReadModelError> {
        let mut done = BTreeSet::new();
        for (service, station) in &self.services {
            for route in station.routes.keys() {
                self.visit(service, route, &mut Vec::new(), &mut done)?;
            }
        }
        Ok(())
    }

    fn visit<'a>(
        &'a self,
        service: &'a str,
        route: &'a str,
        path: &mut Vec<(&'a str, &'a str)>,
        done: &mut BTreeSet<(&'a str, &'a str)>,
    ) -> Result<(), ReadModelError> {
        if path.contains(&(service, route)) {
            return refuse(
                &format!("service `{service}`, route `{route}`"),
                "calls itself".to_owned(),
            );
        }
        if done.contains(&(service, route)) {
            return Ok(());
        }
        path.push((service, route));
        for call in &self.services[service].routes[route].calls {
            self.visit(&call.service, &call.route, path, done)?;
        }
        path.pop();
        done.insert((service, route));
        Ok(())
    }
}

fn refuse(place: &str, problem: String) -> Result<(), ReadModelError> {
    Err(ReadModelError::Value { place: place.to_owned(), problem })
}

fn certain() -> f64 {
    1.0
}
