//! Every table with its columns, and the record that each holds.

use super::{Column, Record, Table};
use crate::record::{
    Approval, Audit, Claim, Delivery, Event, IdempotencyKey, LogLine, Outcome, OutcomeClaim,
    Prediction, Report, Rollout, SettledClaim, Step, Token, Verdict, Webhook,
};
use crate::statement::Kind;

const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text }
}

const fn integer(name: &'static str) -> Column {
    Column { name, kind: Kind::Integer }
}

const fn real(name: &'static str) -> Column {
    Column { name, kind: Kind::Real }
}

const fn flag(name: &'static str) -> Column {
    Column { name, kind: Kind::Flag }
}

/// Every table of a store in an order in which none needs one after it.
pub(crate) const TABLES: [&Table; 17] = [
    &COUNTERS,
    &PREDICTIONS,
    &REPORTS,
    &CLAIMS,
    &OUTCOMES,
    &OUTCOME_CLAIMS,
    &ROLLOUTS,
    &STEPS,
    &VERDICTS,
    &APPROVALS,
    &LOGS,
    &EVENTS,
    &WEBHOOKS,
    &DELIVERIES,
    &TOKENS,
    &IDEMPOTENCY_KEYS,
    &AUDIT,
];

/// The last numbers given out, which must not come again after a retention.
const COUNTERS: Table =
    Table { name: "counters", since: 1, key_count: 1, columns: &[text("name"), integer("value")] };

const PREDICTIONS: Table = Table {
    name: "predictions",
    since: 1,
    key_count: 1,
    columns: &[
        text("id"),
        integer("created_at"),
        text("system"),
        text("environment"),
        text("baseline_digest"),
        text("candidate_digest"),
        text("report_digest"),
        text("verdict"),
        real("risk"),
        real("risk_lo"),
        real("risk_hi"),
        integer("window_seconds"),
        integer("revoked_at"),
        integer("expires_at"),
    ],
};

const REPORTS: Table = Table {
    name: "reports",
    since: 1,
    key_count: 1,
    columns: &[text("prediction_id"), text("report_json")],
};

const CLAIMS: Table = Table {
    name: "claims",
    since: 1,
    key_count: 2,
    columns: &[
        text("prediction_id"),
        text("claim_id"),
        text("service"),
        text("route"),
        text("metric"),
        text("unit"),
        real("threshold"),
        real("probability"),
        real("caused"),
        real("p5"),
        real("p10"),
        real("p25"),
        real("p50"),
        real("p75"),
        real("p90"),
        real("p95"),
    ],
};

const OUTCOMES: Table = Table {
    name: "outcomes",
    since: 1,
    key_count: 1,
    columns: &[
        text("prediction_id"),
        text("rollout_id"),
        integer("settled_at"),
        text("dataset_digest"),
        text("source"),
    ],
};

const OUTCOME_CLAIMS: Table = Table {
    name: "outcome_claims",
    since: 1,
    key_count: 2,
    columns: &[
        text("prediction_id"),
        text("claim_id"),
        real("measured"),
        flag("breached"),
        integer("exchanges"),
    ],
};

/// Claims beside their outcomes; a join, in the order of [`SettledClaim`]'s statement.
pub(crate) const SETTLED_CLAIMS: Table = Table {
    name: "settled claims",
    since: 1,
    key_count: 2,
    columns: &[
        text("prediction_id"),
        text("claim_id"),
        text("service"),
        text("route"),
        text("metric"),
        text("unit"),
        real("threshold"),
        real("probability"),
        real("caused"),
        real("p5"),
        real("p10"),
        real("p25"),
        real("p50"),
        real("p75"),
        real("p90"),
        real("p95"),
        real("measured"),
        flag("breached"),
        integer("exchanges"),
        text("system"),
        text("environment"),
        text("verdict"),
        integer("created_at"),
        integer("settled_at"),
    ],
};

const ROLLOUTS: Table = Table {
    name: "rollouts",
    since: 2,
    key_count: 1,
    columns: &[
        text("id"),
        text("idempotency_key"),
        text("system"),
        text("environment"),
        text("candidate_digest"),
        text("strategy"),
        text("state"),
        text("public_status"),
        integer("stage"),
        integer("weight"),
        integer("revision"),
        text("prediction_id"),
        text("plan_json"),
        text("folder"),
        text("created_by"),
        integer("created_at"),
        integer("updated_at"),
        integer("ended_at"),
        text("reason"),
    ],
};

const STEPS: Table = Table {
    name: "steps",
    since: 2,
    key_count: 2,
    columns: &[
        text("rollout_id"),
        integer("step_index"),
        text("state"),
        integer("weight"),
        integer("started_at"),
        integer("ended_at"),
        text("verdict"),
    ],
};

const VERDICTS: Table = Table {
    name: "verdicts",
    since: 2,
    key_count: 3,
    columns: &[
        text("rollout_id"),
        integer("stage"),
        integer("at"),
        text("verdict"),
        text("judgement_json"),
    ],
};

const APPROVALS: Table = Table {
    name: "approvals",
    since: 2,
    key_count: 1,
    columns: &[
        text("id"),
        text("rollout_id"),
        integer("stage"),
        integer("revision"),
        text("approver"),
        integer("at"),
        text("signed_json"),
    ],
};

const LOGS: Table = Table {
    name: "logs",
    since: 2,
    key_count: 2,
    columns: &[text("rollout_id"), integer("seq"), integer("at"), text("level"), text("text")],
};

const EVENTS: Table = Table {
    name: "events",
    since: 2,
    key_count: 1,
    columns: &[
        integer("seq"),
        text("id"),
        text("event_type"),
        text("source"),
        text("subject"),
        integer("at"),
        text("data_json"),
    ],
};

const WEBHOOKS: Table = Table {
    name: "webhooks",
    since: 2,
    key_count: 1,
    columns: &[
        text("id"),
        text("url"),
        text("events_json"),
        text("secret_sealed"),
        integer("created_at"),
        integer("disabled_at"),
    ],
};

const DELIVERIES: Table = Table {
    name: "deliveries",
    since: 2,
    key_count: 1,
    columns: &[
        text("id"),
        text("webhook_id"),
        integer("event_seq"),
        integer("attempt"),
        integer("next_at"),
        text("state"),
        integer("last_status"),
        text("last_error"),
    ],
};

const TOKENS: Table = Table {
    name: "tokens",
    since: 3,
    key_count: 1,
    columns: &[
        text("id"),
        text("name"),
        text("hash"),
        text("role"),
        text("scope_json"),
        integer("created_at"),
        integer("expires_at"),
        integer("revoked_at"),
        integer("last_used_at"),
    ],
};

const IDEMPOTENCY_KEYS: Table = Table {
    name: "idempotency_keys",
    since: 3,
    key_count: 2,
    columns: &[
        text("actor"),
        text("key"),
        text("request_digest"),
        integer("response_status"),
        text("response_body"),
        integer("created_at"),
    ],
};

const AUDIT: Table = Table {
    name: "audit",
    since: 3,
    key_count: 1,
    columns: &[
        integer("seq"),
        integer("at"),
        text("actor"),
        text("action"),
        text("object"),
        text("detail_json"),
        text("previous_hash"),
        text("hash"),
    ],
};

macro_rules! records {
    ($($record:ty => $table:ident),+ $(,)?) => {
        $(impl Record for $record {
            const TABLE: &'static Table = &$table;
        })+
    };
}

records! {
    Prediction => PREDICTIONS,
    Report => REPORTS,
    Claim => CLAIMS,
    Outcome => OUTCOMES,
    OutcomeClaim => OUTCOME_CLAIMS,
    SettledClaim => SETTLED_CLAIMS,
    Rollout => ROLLOUTS,
    Step => STEPS,
    Verdict => VERDICTS,
    Approval => APPROVALS,
    LogLine => LOGS,
    Event => EVENTS,
    Webhook => WEBHOOKS,
    Delivery => DELIVERIES,
    Token => TOKENS,
    IdempotencyKey => IDEMPOTENCY_KEYS,
    Audit => AUDIT,
}
