-- Forecasts and what came of them. Texts are compared byte by byte, as SQLite does.

-- The last numbers given out. Taking one locks its row until the end of the transaction, so numbers
-- become visible in their order, and a number does not come again after its row was deleted.
CREATE TABLE counters (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('audit', 0), ('events', 0), ('logs', 0);

CREATE TABLE predictions (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL,
    system TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    baseline_digest TEXT COLLATE "C" NOT NULL,
    candidate_digest TEXT COLLATE "C" NOT NULL,
    report_digest TEXT COLLATE "C" NOT NULL,
    verdict TEXT COLLATE "C" NOT NULL CHECK (verdict IN ('go', 'no_go', 'not_enough_evidence')),
    risk DOUBLE PRECISION NOT NULL CHECK (risk BETWEEN 0 AND 1),
    risk_lo DOUBLE PRECISION NOT NULL CHECK (risk_lo BETWEEN 0 AND 1),
    risk_hi DOUBLE PRECISION NOT NULL CHECK (risk_hi BETWEEN 0 AND 1),
    window_seconds BIGINT NOT NULL CHECK (window_seconds >= 0),
    revoked_at BIGINT,
    expires_at BIGINT
);
CREATE INDEX predictions_by_system ON predictions (system, id);
CREATE INDEX predictions_by_candidate ON predictions (candidate_digest, id);
CREATE INDEX predictions_by_time ON predictions (created_at);

CREATE TABLE reports (
    prediction_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES predictions (id) ON DELETE CASCADE,
    report_json TEXT COLLATE "C" NOT NULL
);

CREATE TABLE claims (
    prediction_id TEXT COLLATE "C" NOT NULL REFERENCES predictions (id) ON DELETE CASCADE,
    claim_id TEXT COLLATE "C" NOT NULL,
    service TEXT COLLATE "C" NOT NULL,
    route TEXT COLLATE "C" NOT NULL,
    metric TEXT COLLATE "C" NOT NULL,
    unit TEXT COLLATE "C" NOT NULL,
    threshold DOUBLE PRECISION NOT NULL,
    probability DOUBLE PRECISION NOT NULL CHECK (probability BETWEEN 0 AND 1),
    caused DOUBLE PRECISION NOT NULL CHECK (caused BETWEEN 0 AND 1),
    p5 DOUBLE PRECISION NOT NULL,
    p10 DOUBLE PRECISION NOT NULL,
    p25 DOUBLE PRECISION NOT NULL,
    p50 DOUBLE PRECISION NOT NULL,
    p75 DOUBLE PRECISION NOT NULL,
    p90 DOUBLE PRECISION NOT NULL,
    p95 DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (prediction_id, claim_id)
);

CREATE TABLE outcomes (
    prediction_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES predictions (id) ON DELETE CASCADE,
    rollout_id TEXT COLLATE "C",
    settled_at BIGINT NOT NULL,
    dataset_digest TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL
);
CREATE INDEX outcomes_by_rollout ON outcomes (rollout_id);

CREATE TABLE outcome_claims (
    prediction_id TEXT COLLATE "C" NOT NULL REFERENCES outcomes (prediction_id) ON DELETE CASCADE,
    claim_id TEXT COLLATE "C" NOT NULL,
    measured DOUBLE PRECISION NOT NULL,
    breached BIGINT NOT NULL CHECK (breached IN (0, 1)),
    exchanges BIGINT NOT NULL CHECK (exchanges >= 0),
    PRIMARY KEY (prediction_id, claim_id),
    FOREIGN KEY (prediction_id, claim_id) REFERENCES claims (prediction_id, claim_id) ON DELETE CASCADE
);
