//! What a hook is sent.

use std::fmt::Write as _;

use prophecy_core::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Hook;
use crate::instant;

/// The state of a rollout at the time of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookRequest {
    /// The rollout.
    pub rollout: String,
    /// The service that changes.
    pub service: String,
    /// Where it changes.
    pub environment: String,
    /// The revision of the rollout.
    pub revision: u64,
    /// The stage.
    pub stage: String,
    /// The share of traffic of the candidate, in thousandths of a percent.
    pub weight_millipercent: u32,
    /// The digest of the candidate.
    pub candidate_digest: String,
    /// What happened, for an event.
    pub message: Option<String>,
}

// === impl HookRequest ===

impl HookRequest {
    /// Returns a name of this call that every retry repeats and no other call has.
    ///
    /// Asking again at the same revision and stage is the same call: a hook may answer it from
    /// what it remembers.
    pub fn idempotency_key(&self, hook: &Hook) -> String {
        let mut hash = Sha256::new();
        let revision = self.revision.to_string();
        let fields = [
            hook.name.as_str(),
            hook.kind.name(),
            &self.rollout,
            &revision,
            &self.stage,
            &self.candidate_digest,
            self.message.as_deref().unwrap_or(""),
        ];
        for field in fields {
            hash.update(field.len().to_string());
            hash.update(":");
            hash.update(field);
        }
        hash.finalize().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes any text");
            text
        })
    }

    /// Returns the body of one attempt.
    ///
    /// The number of the attempt makes each body its own, so that a retry within the same second is
    /// not taken for a replay.
    pub fn body(&self, hook: &Hook, attempt: u32, at: Timestamp) -> Vec<u8> {
        let mut body = json!({
            "schema": "prophecy.hook/1",
            "hook": hook.name,
            "kind": hook.kind.name(),
            "rollout": self.rollout,
            "service": self.service,
            "environment": self.environment,
            "revision": self.revision,
            "stage": self.stage,
            "weight_percent": f64::from(self.weight_millipercent) / 1_000.0,
            "checksum": self.candidate_digest,
            "idempotency_key": self.idempotency_key(hook),
            "attempt": attempt,
            "at": instant::write(at),
        });
        if let Some(message) = &self.message {
            body["message"] = Value::from(message.as_str());
        }
        body.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(name: &str) -> Hook {
        let yaml =
            format!("hooks: [{{name: {name}, kind: confirm-rollout, url: 'http://127.0.0.1:9/'}}]");
        crate::hook::parse(&yaml).unwrap().remove(0).open().unwrap()
    }

    fn request() -> HookRequest {
        HookRequest {
            rollout: "r1".to_owned(),
            service: "cart".to_owned(),
            environment: "prod".to_owned(),
            revision: 7,
            stage: "canary-10".to_owned(),
            weight_millipercent: 12_345,
            candidate_digest: "build-a".to_owned(),
            message: None,
        }
    }

    #[test]
    fn the_body_is_what_the_guide_says() {
        let body = request().body(&hook("gate"), 2, Timestamp(0));
        let body: Value = serde_json::from_slice(&body).unwrap();
        let expected = json!({
            "schema": "prophecy.hook/1", "hook": "gate", "kind": "confirm-rollout",
            "rollout": "r1", "service": "cart", "environment": "prod", "revision": 7,
            "stage": "canary-10", "weight_percent": 12.345, "checksum": "build-a",
            "idempotency_key": request().idempotency_key(&hook("gate")),
            "attempt": 2, "at": "1970-01-01T00:00:00Z",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn the_key_stays_over_retries_and_changes_with_what_the_call_is_about() {
        let key = request().idempotency_key(&hook("gate"));
        assert_eq!(key, request().idempotency_key(&hook("gate")));
        assert_eq!(key.len(), 64);
        let mut others = vec![request().idempotency_key(&hook("other"))];
        let changes: [fn(&mut HookRequest); 5] = [
            |request| request.rollout = "r2".to_owned(),
            |request| request.revision = 8,
            |request| request.stage = "canary-50".to_owned(),
            |request| request.candidate_digest = "build-b".to_owned(),
            |request| request.message = Some("paused".to_owned()),
        ];
        for change in changes {
            let mut other = request();
            change(&mut other);
            others.push(other.idempotency_key(&hook("gate")));
        }
        assert!(others.iter().all(|other| *other != key));
    }
}
