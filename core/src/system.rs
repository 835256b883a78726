//! The system manifest: services, how to run them, and what is promised of them.
//!
//! A manifest is YAML. One that `extends` another holds the changed parts only: maps are merged key
//! by key, everything else is replaced. Reading files is the caller's; see [`System::from_layers`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::probability::Probability;
use crate::time::parse_duration;

/// A system: services and how they call each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct System {
    /// Always `prophecy/v1`.
    pub api_version: ApiVersion,
    /// Always `System`.
    pub kind: Kind,
    /// The name used in reports.
    pub name: String,
    /// The service that clients call.
    pub entry: String,
    /// The services, by name.
    pub services: BTreeMap<String, Service>,
    /// Machines shared by services, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<String, Host>,
    /// Services of others, stood in for by captured behaviour, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<String, Dependency>,
    /// What is promised.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slo: Vec<Slo>,
}

/// The version of the manifest format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiVersion {
    /// The first and only one.
    #[serde(rename = "prophecy/v1")]
    V1,
}

/// The kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A system manifest.
    System,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// How to start it; this or `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// Where it runs already; this or `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Instances in production; the twin runs one.
    #[serde(default = "one")]
    pub replicas: u32,
    /// Requests that one instance works on at once, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Requests that may wait for a worker of one instance, if bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// Resident memory at which an instance is killed, if limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<ByteSize>,
    /// The machine it shares with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// How to start a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Program and arguments. `{port}`, `{data}` and `{<service>.url}` are filled in.
    pub command: Vec<String>,
    /// The working directory, relative to the manifest.
    #[serde(default = "here")]
    pub cwd: String,
    /// Environment variables, filled in like the command.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// When it counts as started; by default when its port accepts a connection.
    #[serde(default)]
    pub ready: Ready,
}

/// When a service counts as started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ready {
    /// A path that must answer with a status below 400; without it, an accepted connection is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// How long it may take.
    pub within: Span,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Processor cores.
    pub cores: f64,
}

/// A service of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// Host and port in production.
    pub address: String,
}

/// A promise about one route of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// The service.
    pub service: String,
    /// The route: method and path template.
    pub route: String,
    /// The bound on the median latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_p50: Option<Span>,
    /// The bound on the 95th percentile of latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_p95: Option<Span>,
    /// The bound on the 99th percentile of latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_p99: Option<Span>,
    /// The bound on the share of failed requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<Share>,
}

/// A duration written as `250ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

/// A share written as `1%` or `0.01`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "f64")]
pub struct Share(pub Probability);

/// A number of bytes written as `256MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "u64")]
pub struct ByteSize(pub u64);

/// Why a manifest was refused.
#[derive(Clone, Debug, Error)]
pub enum ReadSystemError {
    /// The text is not YAML.
    #[error("the manifest is not valid YAML: {message}")]
    Yaml {
        /// What the YAML reader says, with the line.
        message: String,
    },
    /// A field is missing, unknown or of the wrong form.
    #[error("the manifest does not fit the format: {message}")]
    Format {
        /// What does not fit.
        message: String,
    },
    /// A name is used but not defined.
    #[error("{place} names the {kind} `{name}`, which the manifest does not define")]
    Undefined {
        /// Where it is used.
        place: String,
        /// What it should be.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A service cannot be started, or could be in two ways.
    #[error("service `{service}` needs either `run` or `url`, and has {found}")]
    Start {
        /// The service.
        service: String,
        /// What it has.
        found: &'static str,
    },
    /// A number is out of range.
    #[error("{place} is {found}; it needs {expected}")]
    Range {
        /// Where it is.
        place: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
}

// === impl System ===

impl System {
    /// Parses a manifest that extends no other.
    ///
    /// # Errors
    ///
    /// Each variant of [`ReadSystemError`].
    pub fn from_yaml(text: &str) -> Result<Self, ReadSystemError> {
        Self::from_layers(&[text])
    }

    /// Merges manifests, the extended one first, and parses the result.
    ///
    /// # Errors
    ///
    /// Each variant of [`ReadSystemError`].
    pub fn from_layers(texts: &[&str]) -> Result<Self, ReadSystemError> {
        let mut merged = Value::Null;
        for text in texts {
            let mut layer = yaml_value(text)?;
            if let Some(fields) = layer.as_object_mut() {
                fields.remove("extends");
            }
            merge(&mut merged, layer);
        }
        let system: Self = serde_json::from_value(merged)
            .map_err(|error| ReadSystemError::Format { message: error.to_string() })?;
        system.check()?;
        Ok(system)
    }

    /// Returns the promises about a service's route.
    pub fn slo_of(&self, service: &str, route: &str) -> Option<&Slo> {
        self.slo.iter().find(|slo| slo.service == service && slo.route == route)
    }

    fn check(&self) -> Result<(), ReadSystemError> {
        let defined = |place: String, name: &String| {
            if self.services.contains_key(name) {
                return Ok(());
            }
            Err(ReadSystemError::Undefined { place, kind: "service", name: name.clone() })
        };
        defined("`entry`".to_owned(), &self.entry)?;
        for (index, slo) in self.slo.iter().enumerate() {
            defined(format!("`slo[{index}]`"), &slo.service)?;
        }
        for (name, service) in &self.services {
            self.check_service(name, service)?;
        }
        for (name, host) in &self.hosts {
            if !(host.cores > 0.0 && host.cores.is_finite()) {
                let place = format!("`hosts.{name}.cores`");
                return Err(out_of_range(place, host.cores, "a positive number"));
            }
        }
        Ok(())
    }

    fn check_service(&self, name: &str, service: &Service) -> Result<(), ReadSystemError> {
        let found = match (&service.run, &service.url) {
            (None, None) => Some("neither"),
            (Some(_), Some(_)) => Some("both"),
            (Some(run), None) if run.command.is_empty() => Some("an empty `run.command`"),
            _ => None,
        };
        if let Some(found) = found {
            return Err(ReadSystemError::Start { service: name.to_owned(), found });
        }
        if service.replicas == 0 {
            return Err(out_of_range(format!("`services.{name}.replicas`"), 0, "at least 1"));
        }
        if service.concurrency == Some(0) {
            return Err(out_of_range(format!("`services.{name}.concurrency`"), 0, "at least 1"));
        }
        match &service.host {
            Some(host) if !self.hosts.contains_key(host) => Err(ReadSystemError::Undefined {
                place: format!("`services.{name}.host`"),
                kind: "host",
                name: host.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// Returns the manifest that a manifest extends, as written, if it extends one.
///
/// # Errors
///
/// [`ReadSystemError::Yaml`] if the text is not YAML.
pub fn extends_of(text: &str) -> Result<Option<String>, ReadSystemError> {
    let value = yaml_value(text)?;
    Ok(value.get("extends").and_then(Value::as_str).map(str::to_owned))
}

fn yaml_value(text: &str) -> Result<Value, ReadSystemError> {
    let value: Value = serde_saphyr::from_str(text)
        .map_err(|error| ReadSystemError::Yaml { message: first_line(&error.to_string()) })?;
    if value.is_object() {
        return Ok(value);
    }
    let message = "the document is not a map of fields".to_owned();
    Err(ReadSystemError::Format { message })
}

/// Merges `layer` over `base`: maps key by key, a null removes, everything else is replaced.
fn merge(base: &mut Value, layer: Value) {
    match (base, layer) {
        (Value::Object(base), Value::Object(layer)) => {
            for (key, value) in layer {
                if value.is_null() {
                    base.remove(&key);
                } else {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (base, layer) => *base = layer,
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn out_of_range(
    place: String,
    found: impl std::fmt::Display,
    expected: &'static str,
) -> ReadSystemError {
    ReadSystemError::Range { place, found: found.to_string(), expected }
}

fn one() -> u32 {
    1
}

fn here() -> String {
    ".".to_owned()
}

// === impl Ready ===

impl Default for Ready {
    fn default() -> Self {
        Self { http: None, within: Span(Duration::from_secs(30)) }
    }
}

// === impl Span ===

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_duration(&text).map(Self).map_err(|error| error.to_string())
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        let nanos = span.0.as_nanos();
        match nanos {
            _ if nanos.is_multiple_of(1_000_000_000) => format!("{}s", nanos / 1_000_000_000),
            _ if nanos.is_multiple_of(1_000_000) => format!("{}ms", nanos / 1_000_000),
            _ => format!("{nanos}ns"),
        }
    }
}

// === impl Share ===

impl TryFrom<Value> for Share {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let number = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => match text.trim().strip_suffix('%') {
                Some(percent) => percent.trim().parse::<f64>().ok().map(|percent| percent / 100.0),
                None => text.trim().parse().ok(),
            },
            _ => None,
        };
        let probability = number.and_then(Probability::try_new);
        probability
            .map(Self)
            .ok_or_else(|| format!("{value} is not a share; write `1%` or a number from 0 to 1"))
    }
}

impl From<Share> for f64 {
    fn from(share: Share) -> Self {
        share.0.get()
    }
}

// === impl ByteSize ===

impl TryFrom<Value> for ByteSize {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let refuse = || format!("{value} is not a size; write `256MiB` or a number of bytes");
        if let Some(bytes) = value.as_u64() {
            return Ok(Self(bytes));
        }
        let text = value.as_str().ok_or_else(refuse)?.trim();
        let unit_index = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(unit_index);
        let count: u64 = digits.parse().map_err(|_| refuse())?;
        let factor: u64 = match unit.trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => return Err(refuse()),
        };
        count.checked_mul(factor).map(Self).ok_or_else(refuse)
    }
}

impl From<ByteSize> for u64 {
    fn from(size: ByteSize) -> Self {
        size.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = r#"
apiVersion: prophecy/v1
kind: System
name: shop
entry: storefront
services:
  storefront:
    run:
      command: ["mesh", "--config", "storefront.yaml"]
      env: { CHECKOUT_URL: "{checkout.url}" }
      ready: { http: /healthz, within: 10s }
    concurrency: 64
    memory_limit: 256MiB
  checkout: { url: "http://127.0.0.1:8080" }
slo:
  - { service: storefront, route: "POST /checkout", latency_p99: 300ms, error_rate: 1% }
"#;

    #[test]
    fn reads_a_manifest() {
        let system = System::from_yaml(SHOP).expect("the sample is valid");
        let slo = system.slo_of("storefront", "POST /checkout").expect("defined");
        assert_eq!(slo.latency_p99, Some(Span(Duration::from_millis(300))));
        assert_eq!(slo.error_rate.map(f64::from), Some(0.01));
        assert_eq!(system.services["storefront"].memory_limit, Some(ByteSize(256 << 20)));
    }

    #[test]
    fn merges_the_changed_parts() {
        let change = "extends: system.yaml\nservices:\n  storefront:\n    run: { env: { FAST: \"1\" } }\n    concurrency: 8\n";
        assert_eq!(extends_of(change).expect("valid").as_deref(), Some("system.yaml"));
        let system = System::from_layers(&[SHOP, change]).expect("valid");
        let storefront = &system.services["storefront"];
        assert_eq!(storefront.concurrency, Some(8));
        let run = storefront.run.as_ref().expect("inherited");
        assert_eq!(
            run.env.keys().map(String::as_str).collect::<Vec<_>>(),
            ["CHECKOUT_URL", "FAST"]
        );
        assert_eq!(run.command[0], "mesh");
    }

    #[test]
    fn says_what_is_wrong() {
        let check = |change: &str, expected: &str| {
            let text = System::from_layers(&[SHOP, change]).expect_err(change).to_string();
            assert!(text.contains(expected), "{text}");
        };
        check("speed: 3", "unknown field `speed`");
        check("entry: cart", "`entry` names the service `cart`");
        check(
            "services: { checkout: { url: ~ } }",
            "service `checkout` needs either `run` or `url`, and has neither",
        );
        check(
            "services: { checkout: { replicas: 0 } }",
            "`services.checkout.replicas` is 0; it needs at least 1",
        );
        check("services: { checkout: { host: b } }", "names the host `b`");
        check(
            "slo: [{ service: checkout, route: GET /, latency_p99: 3 parsecs }]",
            "is not a duration",
        );
        check("slo: [{ service: checkout, route: GET /, error_rate: 120% }]", "is not a share");
        check("- a", "not a map of fields");
        check("a: [", "not valid YAML");
    }

    #[test]
    fn survives_a_round_trip_through_json() {
        let system = System::from_yaml(SHOP).expect("valid");
        let text = serde_json::to_string(&system).expect("serializable");
        assert_eq!(serde_json::from_str::<System>(&text).expect("readable"), system);
    }
}
