//! What a service is made of: its YAML file, read, filled in from the environment and checked.

mod check;
mod environment;
mod step;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use prophecy_core::system::Span;
use serde::Deserialize;
use thiserror::Error;

pub(crate) use self::step::{
    Cached, Call, Condition, Distribution, Fail, Query, Step, Times, Timing,
};

/// A service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The name it gives itself in answers and messages.
    pub(crate) name: String,
    /// The address it listens on; by default loopback.
    #[serde(default = "loopback")]
    pub(crate) host: IpAddr,
    /// The port it listens on; 0 takes any free one.
    #[serde(default)]
    pub(crate) port: u16,
    /// Requests worked on at once; absent, there is no limit.
    #[serde(default)]
    pub(crate) workers: Option<usize>,
    /// Requests that may wait for a worker; one more is answered 503 at once.
    #[serde(default)]
    pub(crate) queue: Option<usize>,
    /// The seed of the stored data and of values drawn for a key.
    #[serde(default)]
    pub(crate) seed: u64,
    /// The seed of durations, failures and fresh ids; absent, each start has its own.
    ///
    /// Two arms of a twin that shared it would look more alike than two builds are.
    #[serde(default)]
    pub(crate) luck: Option<u64>,
    /// Its SQLite database, if it has one.
    #[serde(default)]
    pub(crate) database: Option<DatabaseConfig>,
    /// Its caches, by name.
    #[serde(default)]
    pub(crate) caches: BTreeMap<String, CacheConfig>,
    /// The services it calls, by name.
    #[serde(default)]
    pub(crate) clients: BTreeMap<String, ClientConfig>,
    /// What it answers; `/healthz` is always there.
    pub(crate) routes: Vec<RouteConfig>,
}

/// A SQLite database, made at the start if the file is absent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DatabaseConfig {
    /// The file.
    pub(crate) path: PathBuf,
    /// The rows a new file gets, per table.
    #[serde(default)]
    pub(crate) rows: Rows,
    /// Whether the tables have their indexes; an existing file is changed to match.
    #[serde(default = "yes")]
    pub(crate) indexes: bool,
    /// Queries run at once.
    #[serde(default = "four")]
    pub(crate) connections: usize,
}

/// Rows per table of a new database.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rows {
    /// Of `customers`.
    pub(crate) customers: u64,
    /// Of `items`.
    pub(crate) items: u64,
    /// Of `orders`.
    pub(crate) orders: u64,
}

/// A cache in memory that forgets what was used the longest ago.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CacheConfig {
    /// Entries it holds.
    pub(crate) capacity: usize,
    /// How long an entry holds.
    pub(crate) ttl: Span,
}

/// How another service is called.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientConfig {
    /// Its base URL, `http://host:port`.
    pub(crate) url: String,
    /// Connections, and so calls at once; one more waits for its turn.
    #[serde(default = "sixteen")]
    pub(crate) pool: usize,
    /// How long one attempt may take once it has its connection.
    #[serde(default = "thirty_seconds")]
    pub(crate) timeout: Span,
    /// Attempts after the first.
    #[serde(default)]
    pub(crate) retries: u32,
    /// The pause before the first of them; it doubles with each.
    #[serde(default = "ten_millis")]
    pub(crate) backoff: Span,
}

/// What is done for one kind of request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteConfig {
    /// The method.
    pub(crate) method: String,
    /// The path, with parameters as `{id}`.
    pub(crate) path: String,
    /// What is done, in order.
    pub(crate) steps: Vec<Step>,
}

/// Why a configuration was refused.
#[derive(Debug, Error)]
pub(crate) enum ReadConfigError {
    /// A variable of the environment is not set.
    #[error(
        "the configuration uses `${{{name}}}`, which is not set and has no default; write `${{{name}:-default}}`"
    )]
    VariableUnset {
        /// The variable.
        name: String,
    },
    /// A `${` is not closed, or has no name.
    #[error("line {line} has a `${{` that does not read `${{NAME}}` or `${{NAME:-default}}`")]
    VariableMalformed {
        /// The line, from 1.
        line: usize,
    },
    /// The text is not YAML, or a field is missing, unknown or of the wrong form.
    #[error("the configuration does not fit the format: {message}")]
    Format {
        /// What does not fit, with the line.
        message: String,
    },
    /// A name is used but not defined.
    #[error("{place} uses the {kind} `{name}`, which is not defined; there is {defined}")]
    Undefined {
        /// Where it is used.
        place: String,
        /// What it should be.
        kind: &'static str,
        /// The name.
        name: String,
        /// What there is.
        defined: String,
    },
    /// A value is out of range.
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

// === impl Config ===

impl Config {
    /// Reads a configuration, with `variable` giving the values of the environment.
    ///
    /// # Errors
    ///
    /// Each variant of [`ReadConfigError`].
    pub(crate) fn from_yaml(
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ReadConfigError> {
        let text = environment::fill_in(text, variable)?;
        let config: Self = serde_saphyr::from_str(&text).map_err(|error| {
            // The library goes on to draw the place in the file; its first line has the position.
            let message = error.to_string().lines().next().unwrap_or_default().to_owned();
            let message = message.strip_prefix("error: ").map(str::to_owned).unwrap_or(message);
            ReadConfigError::Format { message }
        })?;
        check::check(&config)?;
        Ok(config)
    }
}

fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

fn yes() -> bool {
    true
}

fn four() -> usize {
    4
}

fn sixteen() -> usize {
    16
}

fn thirty_seconds() -> Span {
    Span(std::time::Duration::from_secs(30))
}

fn ten_millis() -> Span {
    Span(std::time::Duration::from_millis(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEMS: &str = r#"
name: inventory
port: ${PORT:-8081}
workers: 4
queue: 10
seed: 7
database: { path: "${DATA}/items.db", rows: { items: 10 } }
caches: { prices: { capacity: 100, ttl: 5s } }
clients: { payments: { url: "http://127.0.0.1:1", pool: 2, timeout: 1s, retries: 1 } }
routes:
  - method: GET
    path: /items/{id}
    steps:
      - cpu: { mean: 1ms, distribution: exponential }
      - wait: { mean: 2ms, distribution: lognormal, sigma: 0.3 }
      - cache:
          name: prices
          key: "{id}"
          miss:
            - query: { sql: "SELECT price FROM items WHERE id = ?1", params: ["{id}"], as: found }
      - call: { client: payments, method: POST, path: "/pay/{id}", times: "{query.n}", parallel: true, optional: true }
      - call: { client: payments, path: /pay, times: 2, body: { who: "{{name(id)}}" } }
      - leak: 64KiB
      - allocate: 1MiB
      - fail: { share: 1%, status: 503, by: "{id}" }
      - fail: { when: { value: "{id}", modulo: { divisor: 30, remainder: 1 } } }
      - respond: { json: { id: "{{id}}", price: "{{found.price}}", calls: "{{answer}}" } }
"#;

    fn read(text: &str) -> Result<Config, ReadConfigError> {
        Config::from_yaml(text, &|name| (name == "DATA").then(|| "/tmp/data".to_owned()))
    }

    #[test]
    fn reads_a_service() {
        let config = read(ITEMS).expect("the sample is valid");
        assert_eq!((config.port, config.workers), (8_081, Some(4)));
        assert_eq!(
            config.database.as_ref().map(|database| database.path.clone()),
            Some(PathBuf::from("/tmp/data/items.db"))
        );
        assert_eq!(config.routes[0].steps.len(), 10);
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let check = |old: &str, new: &str, expected: &str| {
            assert!(ITEMS.contains(old), "{old}");
            let error = read(&ITEMS.replace(old, new)).expect_err(new).to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("${DATA}", "${HOME_OF_DATA}", "`${HOME_OF_DATA}`, which is not set");
        check("workers: 4", "workers: 0", "`workers` is 0; it needs at least 1");
        check("workers: 4", "speed: 4", "unknown field `speed`");
        check("workers: 4", "workers: many", "line 4");
        check("mean: 1ms", "mean: soon", "`soon` is not a duration");
        check("- leak", "- spill", "spill");
        check("client: payments, path", "client: shop, path", "the client `shop`");
        check("name: prices", "name: prizes", "the cache `prizes`");
        check("database:", "# database:", "the database");
        check("found.price", "lost.price", "the value `lost`");
        check("{{name(id)}}", "{{name(id}}", "is not a value");
        check("http://127.0.0.1:1", "https://127.0.0.1:1", "http://host:port");
        check("exponential", "lognormal, sigma: -1", "`sigma`");
        check("path: /items/{id}", "path: items", "starts with `/`");
        check("pool: 2", "pool: 0", "`clients.payments.pool` is 0");
        check("capacity: 100", "capacity: 0", "`caches.prices.capacity` is 0");
        check("divisor: 30", "divisor: 0", "divisor");
        check("status: 503", "status: 99", "is 99; it needs a status from 200 to 599");
    }
}
