//! Events: CloudEvents 1.0 of our own types, with the CDEvents equivalent of each beside it.
//!
//! Source: CloudEvents 1.0.2, JSON format; CDEvents 0.5.

use prophecy_core::Timestamp;
use prophecy_store::{Event, NewEvent};
use serde_json::{Value, json};

use crate::clock::rfc3339;
use crate::token::new_id;

/// What sends our events.
pub const SOURCE: &str = "/prophecy";

/// What can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// A rollout began.
    Started,
    /// A step began or ended.
    StepProgress,
    /// A rollout reached its end.
    Succeeded,
    /// A rollout ended in a state that needs a person.
    Failed,
    /// The baseline serves everything again.
    RolledBack,
    /// A canary was found good and given everything.
    CanaryPromoted,
    /// A health check was made.
    HealthCheck,
    /// A rollout was given up.
    Aborted,
    /// A gate decided.
    GateDecided,
    /// A prediction was registered.
    PredictionRegistered,
    /// A prediction was withdrawn.
    PredictionRevoked,
    /// A prediction was settled.
    OutcomeSettled,
    /// A stage was approved.
    ApprovalGiven,
}

/// Where and about what something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The id of what it is about.
    pub subject: &'a str,
    /// The system.
    pub system: &'a str,
    /// The environment.
    pub environment: &'a str,
    /// The digest of the candidate, where there is one.
    pub candidate_digest: &'a str,
}

// === impl Happening ===

impl Happening {
    /// Returns the type of our event.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Started => "prophecy.deployment.started.v1",
            Self::StepProgress => "prophecy.deployment.step_progress.v1",
            Self::Succeeded => "prophecy.deployment.succeeded.v1",
            Self::Failed => "prophecy.deployment.failed.v1",
            Self::RolledBack => "prophecy.deployment.rolled_back.v1",
            Self::CanaryPromoted => "prophecy.deployment.canary_promoted.v1",
            Self::HealthCheck => "prophecy.deployment.health_check.v1",
            Self::Aborted => "prophecy.deployment.aborted.v1",
            Self::GateDecided => "prophecy.gate.decided.v1",
            Self::PredictionRegistered => "prophecy.prediction.registered.v1",
            Self::PredictionRevoked => "prophecy.prediction.revoked.v1",
            Self::OutcomeSettled => "prophecy.outcome.settled.v1",
            Self::ApprovalGiven => "prophecy.approval.given.v1",
        }
    }

    /// Returns the CDEvents type that says the same, its subject and its outcome.
    fn equivalent(self) -> Option<(&'static str, &'static str, Option<&'static str>)> {
        Some(match self {
            Self::Started => ("dev.cdevents.pipelinerun.started.0.3.0", "pipelineRun", None),
            Self::StepProgress => ("dev.cdevents.taskrun.finished.0.3.0", "taskRun", None),
            Self::Succeeded => ("dev.cdevents.service.upgraded.0.3.0", "service", None),
            Self::Failed => {
                ("dev.cdevents.pipelinerun.finished.0.3.0", "pipelineRun", Some("failure"))
            }
            Self::Aborted => {
                ("dev.cdevents.pipelinerun.finished.0.3.0", "pipelineRun", Some("cancel"))
            }
            Self::RolledBack => ("dev.cdevents.service.rolledback.0.3.0", "service", None),
            Self::CanaryPromoted => {
                ("dev.cdeventsx.prophecy-canary.promoted.0.1.0", "prophecy-canary", None)
            }
            Self::HealthCheck => ("dev.cdevents.testcaserun.finished.0.3.0", "testCaseRun", None),
            Self::GateDecided => ("dev.cdevents.testsuiterun.finished.0.3.0", "testSuiteRun", None),
            _ => return None,
        })
    }

    /// Writes the events to be stored: ours, and the CDEvents equivalent where there is one.
    pub fn events(self, place: &Place<'_>, now: Timestamp, data: &Value) -> Vec<NewEvent> {
        let mut own = json!({ "system": place.system, "environment": place.environment });
        if let (Some(own), Some(data)) = (own.as_object_mut(), data.as_object()) {
            own.extend(data.clone());
        }
        let id = new_id(now);
        let event = |id: String, event_type: &str, data: &Value| NewEvent {
            id,
            event_type: event_type.to_owned(),
            source: SOURCE.to_owned(),
            subject: place.subject.to_owned(),
            at: now,
            data_json: data.to_string(),
        };
        let mut events = vec![event(id.clone(), self.event_type(), &own)];
        if let Some((event_type, subject_type, outcome)) = self.equivalent() {
            let beside = format!("{id}-cd");
            let data = cd_event(&beside, event_type, subject_type, outcome, place, now);
            events.push(event(beside, event_type, &data));
        }
        events
    }
}

fn cd_event(
    id: &str,
    event_type: &str,
    subject_type: &str,
    outcome: Option<&str>,
    place: &Place<'_>,
    now: Timestamp,
) -> Value {
    let mut content = json!({});
    if subject_type == "service" {
        let purl = format!(
            "pkg:generic/{}@{}",
            crate::dashboard::markup::segment(place.system),
            crate::dashboard::markup::segment(place.candidate_digest)
        );
        content["environment"] = json!({ "id": place.environment });
        content["artifactId"] = Value::String(purl);
    }
    if let Some(outcome) = outcome {
        content["outcome"] = Value::String(outcome.to_owned());
    }
    let subject_id = if subject_type == "service" { place.system } else { place.subject };
    json!({
        "context": {
            "version": "0.5.0", "id": id, "source": SOURCE, "type": event_type,
            "timestamp": rfc3339(now),
        },
        "subject": {
            "id": subject_id, "source": SOURCE, "type": subject_type, "content": content,
        },
        "customDataContentType": "application/json",
        "customData": {
            "system": place.system, "environment": place.environment, "subject": place.subject,
        },
    })
}

/// Returns a stored event as a CloudEvent in its JSON format.
pub fn structured(event: &Event) -> Value {
    json!({
        "specversion": "1.0",
        "id": event.event.id,
        "source": event.event.source,
        "type": event.event.event_type,
        "subject": event.event.subject,
        "time": rfc3339(event.event.at),
        "datacontenttype": "application/json",
        "sequence": event.seq.to_string(),
        "data": data(event),
    })
}

/// Returns an event's data.
pub(crate) fn data(event: &Event) -> Value {
    serde_json::from_str(&event.event.data_json).unwrap_or(Value::Null)
}

/// Returns the system and the environment that an event tells of.
pub(crate) fn place(data: &Value) -> Option<(String, String)> {
    let fields = data.get("customData").unwrap_or(data);
    let text = |name: &str| fields.get(name)?.as_str().map(str::to_owned);
    Some((text("system")?, text("environment")?))
}
