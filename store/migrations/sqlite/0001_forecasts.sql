-- Forecasts and what came of them.

-- The last numbers given out. Taking one locks its row until the end of the transaction, so numbers
-- become visible in their order, and a number does not come again after its row was deleted.
CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO counters (name, value) VALUES ('audit', 0), ('events', 0), ('logs', 0);

CREATE TABLE predictions (
    id TEXT NOT NULL PRIMARY KEY,
    created_at INTEGER NOT NULL,
    system TEXT NOT NULL,
    environment TEXT NOT NULL,
    baseline_digest TEXT NOT NULL,
    candidate_digest TEXT NOT NULL,
    report_digest TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('go', 'no_go', 'not_enough_evidence')),
    risk REAL NOT NULL CHECK (risk BETWEEN 0 AND 1),
    risk_lo REAL NOT NULL CHECK (risk_lo BETWEEN 0 AND 1),
    risk_hi REAL NOT NULL CHECK (risk_hi BETWEEN 0 AND 1),
    window_seconds INTEGER NOT NULL CHECK (window_seconds >= 0),
    revoked_at INTEGER,
    expires_at INTEGER
) STRICT;
CREATE INDEX predictions_by_system ON predictions (system, id);
CREATE INDEX predictions_by_candidate ON predictions (candidate_digest, id);
CREATE INDEX predictions_by_time ON predictions (created_at);

CREATE TABLE reports (
    prediction_id TEXT NOT NULL PRIMARY KEY REFERENCES predictions (id) ON DELETE CASCADE,
    report_json TEXT NOT NULL
) STRICT;

CREATE TABLE claims (
    prediction_id TEXT NOT NULL REFERENCES predictions (id) ON DELETE CASCADE,
    claim_id TEXT NOT NULL,
    service TEXT NOT NULL,
    route TEXT NOT NULL,
    metric TEXT NOT NULL,
    unit TEXT NOT NULL,
    threshold REAL NOT NULL,
    probability REAL NOT NULL CHECK (probability BETWEEN 0 AND 1),
    caused REAL NOT NULL CHECK (caused BETWEEN 0 AND 1),
    p5 REAL NOT NULL,
    p10 REAL NOT NULL,
    p25 REAL NOT NULL,
    p50 REAL NOT NULL,
    p75 REAL NOT NULL,
    p90 REAL NOT NULL,
    p95 REAL NOT NULL,
    PRIMARY KEY (prediction_id, claim_id)
) STRICT;

CREATE TABLE outcomes (
    prediction_id TEXT NOT NULL PRIMARY KEY REFERENCES predictions (id) ON DELETE CASCADE,
    rollout_id TEXT,
    settled_at INTEGER NOT NULL,
    dataset_digest TEXT NOT NULL,
    source TEXT NOT NULL
) STRICT;
CREATE INDEX outcomes_by_rollout ON outcomes (rollout_id);

CREATE TABLE outcome_claims (
    prediction_id TEXT NOT NULL REFERENCES outcomes (prediction_id) ON DELETE CASCADE,
    claim_id TEXT NOT NULL,
    measured REAL NOT NULL,
    breached INTEGER NOT NULL CHECK (breached IN (0, 1)),
    exchanges INTEGER NOT NULL CHECK (exchanges >= 0),
    PRIMARY KEY (prediction_id, claim_id),
    FOREIGN KEY (prediction_id, claim_id) REFERENCES claims (prediction_id, claim_id) ON DELETE CASCADE
) STRICT;
