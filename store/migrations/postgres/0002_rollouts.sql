-- Rollouts, what happened in them, and who was told.

CREATE TABLE rollouts (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    idempotency_key TEXT COLLATE "C" UNIQUE,
    system TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    candidate_digest TEXT COLLATE "C" NOT NULL,
    strategy TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    public_status TEXT COLLATE "C" NOT NULL CHECK (public_status IN (
        'pending', 'building', 'deploying', 'success', 'failed', 'cancelled', 'rolled_back')),
    stage BIGINT NOT NULL CHECK (stage >= 0),
    weight BIGINT NOT NULL CHECK (weight >= 0),
    revision BIGINT NOT NULL CHECK (revision >= 0),
    prediction_id TEXT COLLATE "C",
    plan_json TEXT COLLATE "C" NOT NULL,
    folder TEXT COLLATE "C" NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    ended_at BIGINT,
    reason TEXT COLLATE "C"
);
CREATE INDEX rollouts_by_place ON rollouts (system, environment, id);
CREATE INDEX rollouts_by_prediction ON rollouts (prediction_id);
CREATE INDEX rollouts_by_end ON rollouts (ended_at);

CREATE TABLE steps (
    rollout_id TEXT COLLATE "C" NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
    step_index BIGINT NOT NULL CHECK (step_index >= 0),
    state TEXT COLLATE "C" NOT NULL,
    weight BIGINT NOT NULL CHECK (weight >= 0),
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    verdict TEXT COLLATE "C",
    PRIMARY KEY (rollout_id, step_index)
);

CREATE TABLE verdicts (
    rollout_id TEXT COLLATE "C" NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
    stage BIGINT NOT NULL CHECK (stage >= 0),
    at BIGINT NOT NULL,
    verdict TEXT COLLATE "C" NOT NULL,
    judgement_json TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (rollout_id, stage, at)
);

CREATE TABLE approvals (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    rollout_id TEXT COLLATE "C" NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
    stage BIGINT NOT NULL CHECK (stage >= 0),
    revision BIGINT NOT NULL CHECK (revision >= 0),
    approver TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    signed_json TEXT COLLATE "C" NOT NULL
);
CREATE INDEX approvals_by_rollout ON approvals (rollout_id, id);

CREATE TABLE logs (
    rollout_id TEXT COLLATE "C" NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    level TEXT COLLATE "C" NOT NULL,
    text TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (rollout_id, seq)
);
CREATE INDEX logs_by_time ON logs (at);

CREATE TABLE events (
    seq BIGINT NOT NULL PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    event_type TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    data_json TEXT COLLATE "C" NOT NULL
);
CREATE INDEX events_by_subject ON events (subject, seq);
CREATE INDEX events_by_time ON events (at);

CREATE TABLE webhooks (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    url TEXT COLLATE "C" NOT NULL,
    events_json TEXT COLLATE "C" NOT NULL,
    secret_sealed TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT
);

CREATE TABLE deliveries (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    webhook_id TEXT COLLATE "C" NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event_seq BIGINT NOT NULL REFERENCES events (seq) ON DELETE CASCADE,
    attempt BIGINT NOT NULL CHECK (attempt >= 0),
    next_at BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    last_status BIGINT,
    last_error TEXT COLLATE "C",
    UNIQUE (webhook_id, event_seq)
);
CREATE INDEX deliveries_due ON deliveries (state, next_at, id);
CREATE INDEX deliveries_by_event ON deliveries (event_seq);
