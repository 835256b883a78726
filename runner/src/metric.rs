//! Metrics that another system keeps, asked while arms are compared and while the candidate soaks.
//!
//! A question that is not answered with one number has no value, and what has no value shows nothing. Nothing is
//! asked on the way back.

pub(crate) mod prometheus;

use std::time::Duration;

use prophecy_core::Probability;
use prophecy_core::system::{Share, Span};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::prometheus::PrometheusUrl;

/// What stands for the group whose value is asked for.
const GROUP: &str = "{{group}}";
/// What stands for the addresses of its instances of the entry, as a regular expression.
const INSTANCES: &str = "{{instances}}";
/// What stands for the entry.
const SERVICE: &str = "{{service}}";

/// A metric that another system keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Its name; the check is `metric/` and the name.
    pub name: String,
    /// Who keeps it.
    pub provider: Provider,
    /// The question. With `{{group}}` or `{{instances}}` in it, it is asked for each arm.
    pub query: String,
    /// How often it is asked.
    #[serde(default = "five_seconds")]
    pub interval: Span,
    /// How long an answer may take.
    #[serde(default = "two_seconds")]
    pub timeout: Span,
    /// The unit of the answer.
    #[serde(default)]
    pub unit: String,
    /// Which way is worse, for one that is compared with the control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails: Option<Worse>,
    /// By which part of the control's value it may be worse.
    #[serde(default = "a_fifth")]
    pub tolerance: Share,
    /// By how much it may be worse besides, in the unit.
    #[serde(default)]
    pub slack: f64,
    /// The least that the candidate may show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The most that the candidate may show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Whether passing needs it.
    #[serde(default)]
    pub needed: bool,
    /// Whether it is only reported.
    #[serde(default)]
    pub dry_run: bool,
}

/// Who keeps a metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// A Prometheus server, at an address that may be called.
    Prometheus(String),
}

/// Which way is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Worse {
    /// More.
    Above,
    /// Less.
    Below,
}

/// When a metric is a reason to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trigger {
    Beside { worse: Worse, tolerance: f64, slack: f64 },
    Limit { min: Option<f64>, max: Option<f64> },
}

/// Why a metric was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("metric `{name}` has {found}; it needs {expected}")]
pub struct MetricError {
    /// Which.
    pub name: String,
    /// What was found.
    pub found: &'static str,
    /// What was expected.
    pub expected: &'static str,
}

/// Whose value is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) group: String,
    pub(crate) service: String,
    pub(crate) instances: Vec<String>,
}

// === impl Metric ===

impl Metric {
    /// Returns the name of its check.
    pub fn check_name(&self) -> String {
        format!("metric/{}", self.name)
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    ///
    /// [`MetricError`].
    pub fn check(&self) -> Result<(), MetricError> {
        let refuse = |found, expected| {
            let name = self.name.clone();
            Err(MetricError { name, found, expected })
        };
        let Provider::Prometheus(url) = &self.provider;
        if PrometheusUrl::parse(url).is_none() {
            return refuse(
                "another address",
                "one such as `http://127.0.0.1:9090`, without a user",
            );
        }
        if self.name.is_empty() || self.query.trim().is_empty() {
            return refuse("no name or no query", "both");
        }
        let second = Duration::from_secs(1);
        if self.interval.0 < second || self.timeout.0.is_zero() || self.timeout.0 > 60 * second {
            return refuse(
                "another interval or timeout",
                "an interval of at least 1s, and a timeout above zero and up to 60s",
            );
        }
        let numbers = [Some(self.slack), self.min, self.max];
        if self.slack < 0.0 || numbers.iter().flatten().any(|it| !it.is_finite()) {
            return refuse("a number that is none, or a slack below zero", "finite numbers");
        }
        match (self.fails, self.min.or(self.max)) {
            (Some(_), Some(_)) => refuse("both `fails` and `min` or `max`", "one of them"),
            (None, None) => refuse("neither `fails` nor `min` or `max`", "one of them"),
            (Some(_), None) if !self.asks_each_arm() => refuse(
                "`fails` and one query for both arms",
                "`{{group}}` or `{{instances}}` in it",
            ),
            _ => self.check_placeholders(),
        }
    }

    fn check_placeholders(&self) -> Result<(), MetricError> {
        let rest = [GROUP, INSTANCES, SERVICE]
            .iter()
            .fold(self.query.clone(), |text, known| text.replace(known, ""));
        if rest.contains("{{") {
            let (found, expected) =
                ("an unknown placeholder", "`{{group}}`, `{{instances}}` or `{{service}}`");
            return Err(MetricError { name: self.name.clone(), found, expected });
        }
        Ok(())
    }

    pub(crate) fn trigger(&self) -> Trigger {
        match self.fails {
            Some(worse) => {
                Trigger::Beside { worse, tolerance: self.tolerance.0.get(), slack: self.slack }
            }
            None => Trigger::Limit { min: self.min, max: self.max },
        }
    }

    /// Says whether the question differs from arm to arm.
    pub(crate) fn asks_each_arm(&self) -> bool {
        self.query.contains(GROUP) || self.query.contains(INSTANCES)
    }

    /// Returns the question about a subject.
    pub(crate) fn query_of(&self, subject: &Subject) -> String {
        self.query
            .replace(GROUP, &subject.group)
            .replace(INSTANCES, &subject.instances.join("|"))
            .replace(SERVICE, &subject.service)
    }
}

fn five_seconds() -> Span {
    Span(Duration::from_secs(5))
}

fn two_seconds() -> Span {
    Span(Duration::from_secs(2))
}

fn a_fifth() -> Share {
    Share(Probability::clamped(0.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(more: &str) -> Metric {
        let text = format!(
            "name: jobs\nprovider: {{ prometheus: 'http://127.0.0.1:9090' }}\nquery: 'sum(jobs{{group=\"{{{{group}}}}\",at=~\"{{{{instances}}}}\"}})'\n{more}"
        );
        serde_saphyr::from_str(&text).expect("fits")
    }

    #[test]
    fn asks_for_each_arm() {
        let metric = metric("fails: above");
        assert_eq!(metric.check(), Ok(()));
        let subject = Subject {
            group: "r1-control".to_owned(),
            service: "front".to_owned(),
            instances: vec!["127.0.0.1:80".to_owned(), "127.0.0.1:81".to_owned()],
        };
        assert_eq!(
            metric.query_of(&subject),
            "sum(jobs{group=\"r1-control\",at=~\"127.0.0.1:80|127.0.0.1:81\"})"
        );
    }

    #[test]
    fn refuses_what_can_not_be_decided() {
        for (more, found) in [
            ("", "neither"),
            ("fails: above\nmax: 3", "both"),
            ("fails: above\ninterval: 10ms", "another interval"),
            ("fails: above\nslack: -1", "a slack below zero"),
            ("max: .nan", "a number that is none"),
        ] {
            let error = metric(more).check().expect_err(more).to_string();
            assert!(error.contains(found), "{more}: {error}");
        }
        let with = |change: fn(&mut Metric)| {
            let mut metric = metric("fails: above");
            change(&mut metric);
            metric.check().expect_err("refused").to_string()
        };
        assert!(with(|it| it.query = "up".to_owned()).contains("one query for both arms"));
        assert!(with(|it| it.query.push_str("{{pod}}")).contains("unknown placeholder"));
        for url in ["https://127.0.0.1", "http://me:secret@127.0.0.1", "file:///etc", "9090"] {
            let mut metric = metric("max: 1");
            metric.provider = Provider::Prometheus(url.to_owned());
            let error = metric.check().expect_err(url).to_string();
            assert!(!error.contains("secret") && error.contains("another address"), "{error}");
        }
    }
}
