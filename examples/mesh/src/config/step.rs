//! The steps a route is made of.

use prophecy_core::system::{ByteSize, Share, Span};
use serde::Deserialize;
use serde_json::Value;

use crate::template::{JsonTemplate, Template};

/// One thing done for a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// Burns processor time.
    Cpu(Timing),
    /// Holds its worker and does nothing.
    Wait(Timing),
    /// Calls another service.
    Call(Call),
    /// Asks the database.
    Query(Query),
    /// Looks something up, and does some steps if it is not there.
    Cache(Cached),
    /// Takes memory and never gives it back.
    Leak(ByteSize),
    /// Takes memory until the request is answered.
    Allocate(ByteSize),
    /// Fails for some requests.
    Fail(Fail),
    /// Answers; what follows is not done.
    Respond(Respond),
}

/// How long something takes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Timing {
    /// On average.
    pub(crate) mean: Span,
    /// How it varies.
    #[serde(default)]
    pub(crate) distribution: Distribution,
    /// The standard deviation of the logarithm, of a lognormal distribution; by default 0.5.
    #[serde(default)]
    pub(crate) sigma: Option<f64>,
}

/// How a duration varies around its mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Distribution {
    /// Not at all.
    #[default]
    Constant,
    /// Exponentially.
    Exponential,
    /// Lognormally, with [`Timing::sigma`].
    Lognormal,
    /// Uniformly from zero to twice the mean.
    Uniform,
}

/// A call of another service.
///
/// A status of 500 or more, a timeout and a broken connection are failures: the service then answers
/// 502 itself. A status from 400 to 499 is passed on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    /// The client.
    pub(crate) client: String,
    /// The method.
    #[serde(default = "get")]
    pub(crate) method: String,
    /// The path and query; values put into it are percent-encoded.
    pub(crate) path: Template,
    /// How often it is called.
    #[serde(default)]
    pub(crate) times: Times,
    /// Whether several calls are made at once.
    #[serde(default)]
    pub(crate) parallel: bool,
    /// The JSON body, if any.
    #[serde(default)]
    pub(crate) body: Option<JsonTemplate>,
    /// Whether a failure leaves the value null, rather than ending the request.
    #[serde(default)]
    pub(crate) optional: bool,
    /// The name of the answer; a list if `times` is given.
    #[serde(default = "answer", rename = "as")]
    pub(crate) bind: String,
}

/// How often a call is made.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) enum Times {
    /// Once; the answer is not a list.
    #[default]
    Once,
    /// So many times.
    Count(u64),
    /// As many times as a number says, or once for each element of a list, which is then `{each}`.
    Of(Template),
}

/// A statement run on the database.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    /// The statement, with parameters as `?1`.
    pub(crate) sql: String,
    /// Their values; a list becomes JSON text, for `json_each`.
    #[serde(default)]
    pub(crate) params: Vec<Template>,
    /// The name of the first row; all rows are `{rows}`.
    #[serde(default = "row", rename = "as")]
    pub(crate) bind: String,
}

/// A look into a cache. What its steps name is kept, and is there again on the next hit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cached {
    /// The cache.
    pub(crate) name: String,
    /// What is looked up.
    pub(crate) key: Template,
    /// What is done if it is not there.
    pub(crate) miss: Vec<Step>,
}

/// A failure for requests that meet every condition given.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fail {
    /// The share of requests.
    #[serde(default)]
    pub(crate) share: Option<Share>,
    /// What decides about the share: one value always has one fate. Absent, chance does.
    #[serde(default)]
    pub(crate) by: Option<Template>,
    /// The kind of input.
    #[serde(default)]
    pub(crate) when: Option<Condition>,
    /// The status it answers with.
    #[serde(default = "internal_server_error")]
    pub(crate) status: u16,
    /// The process ends, with exit code 70, instead of answering.
    #[serde(default)]
    pub(crate) crash: bool,
}

/// A kind of input. Of several tests, each must hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    /// What is looked at.
    pub(crate) value: Template,
    /// It is this.
    #[serde(default)]
    pub(crate) equals: Option<Value>,
    /// Its text starts with this.
    #[serde(default)]
    pub(crate) prefix: Option<String>,
    /// Its number, or the hash of its text, leaves this remainder.
    #[serde(default)]
    pub(crate) modulo: Option<Modulo>,
    /// It is null or empty, or is not.
    #[serde(default)]
    pub(crate) missing: Option<bool>,
}

/// A remainder after a division.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Modulo {
    /// What is divided by.
    pub(crate) divisor: u64,
    /// What is left.
    #[serde(default)]
    pub(crate) remainder: u64,
}

/// An answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Respond {
    /// The status.
    #[serde(default = "ok")]
    pub(crate) status: u16,
    /// The body.
    pub(crate) json: JsonTemplate,
}

// === impl Times ===

impl TryFrom<Value> for Times {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match (&value, value.as_u64()) {
            (_, Some(count)) => Ok(Self::Count(count)),
            (Value::String(text), None) => Template::try_from(text.clone()).map(Self::Of),
            _ => Err(format!("{value} is not a count; write a number or `{{body.items}}`")),
        }
    }
}

fn get() -> String {
    "GET".to_owned()
}

fn answer() -> String {
    "answer".to_owned()
}

fn row() -> String {
    "row".to_owned()
}

fn ok() -> u16 {
    200
}

fn internal_server_error() -> u16 {
    500
}
