-- Rollouts, what happened in them, and who was told.

CREATE TABLE rollouts (
    id TEXT NOT NULL PRIMARY KEY,
    idempotency_key TEXT UNIQUE,
    system TEXT NOT NULL,
    environment TEXT NOT NULL,
    candidate_digest TEXT NOT NULL,
    strategy TEXT NOT NULL,
    state TEXT NOT NULL,
    public_status TEXT NOT NULL CHECK (public_status IN (
        'pending', 'building', 'deploying', 'success', 'failed', 'cancelled', 'rolled_back')),
    stage INTEGER NOT NULL CHECK (stage >= 0),
    weight INTEGER NOT NULL CHECK (weight >= 0),
    revision INTEGER NOT NULL CHECK (revision >= 0),
    prediction_id TEXT,
    plan_json TEXT NOT NULL,
    folder TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ended_at INTEGER,
    reason TEXT
) STRICT;
CREATE INDEX rollouts_by_place ON rollouts (system, environment, id);
CREATE INDEX rollouts_by_prediction ON rollouts (prediction_id);
CREATE INDEX rollouts_by_end ON rollouts (ended_at);

CREATE TABLE steps (
    rollout_id TEXT NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
    step_index INTEGER NOT NULL CHECK (step_index >= 0),
    state TEXT NOT NULL,
    weight INTEGER NOT NULL CHECK (weight >= 0),
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    verdict TEXT,
    PRIMARY KEY (rollout_id, step_index)
) STRICT;

CREATE TABLE verdicts (
    rollout_id TEXT NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
    stage INTEGER NOT NULL CHECK (stage >= 0),
    at INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    judgement_json TEXT NOT NULL,
    PRIMARY KEY (rollout_id, stage, at)
) STRICT;

CREATE TABLE approvals (
    id TEXT NOT NULL PRIMARY KEY,
    rollout_id TEXT NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
    stage INTEGER NOT NULL CHECK (stage >= 0),
    revision INTEGER NOT NULL CHECK (revision >= 0),
    approver TEXT NOT NULL,
    at INTEGER NOT NULL,
    signed_json TEXT NOT NULL
) STRICT;
CREATE INDEX approvals_by_rollout ON approvals (rollout_id, id);

CREATE TABLE logs (
    rollout_id TEXT NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    level TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (rollout_id, seq)
) STRICT;
CREATE INDEX logs_by_time ON logs (at);

CREATE TABLE events (
    seq INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    event_type TEXT NOT NULL,
    source TEXT NOT NULL,
    subject TEXT NOT NULL,
    at INTEGER NOT NULL,
    data_json TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_subject ON events (subject, seq);
CREATE INDEX events_by_time ON events (at);

CREATE TABLE webhooks (
    id TEXT NOT NULL PRIMARY KEY,
    url TEXT NOT NULL,
    events_json TEXT NOT NULL,
    secret_sealed TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    disabled_at INTEGER
) STRICT;

CREATE TABLE deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    webhook_id TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event_seq INTEGER NOT NULL REFERENCES events (seq) ON DELETE CASCADE,
    attempt INTEGER NOT NULL CHECK (attempt >= 0),
    next_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    last_status INTEGER,
    last_error TEXT,
    UNIQUE (webhook_id, event_seq)
) STRICT;
CREATE INDEX deliveries_due ON deliveries (state, next_at, id);
CREATE INDEX deliveries_by_event ON deliveries (event_seq);
