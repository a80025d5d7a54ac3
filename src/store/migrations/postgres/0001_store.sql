-- Parked deliveries and dead letters. A parked delivery that dies becomes a letter in its place, and one that is
-- replayed is parked again: whatever happens to it, it is one row.
CREATE TABLE deliveries (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline      TEXT    NOT NULL,
    node          TEXT    NOT NULL, -- 'sinks.crm'; for letters also 'sources.x' and 'filters.x'
    state         TEXT    NOT NULL, -- 'parked' or 'dead'
    -- The event. Blobs, as keys and ids are free to hold any character.
    source        TEXT    NOT NULL,
    event_id      BYTEA    NOT NULL,
    copy          BIGINT NOT NULL,
    -- Of key, headers and payload: others choose the ids, and may use one twice.
    content       BYTEA   NOT NULL,
    event_key     BYTEA,
    event         TEXT    NOT NULL, -- JSON: everything but the payload
    payload       BYTEA,
    -- The request; all NULL when it could not be rendered.
    url           TEXT,
    headers       TEXT,             -- JSON
    body          BYTEA,             -- NULL when body_is_payload
    body_is_payload BIGINT NOT NULL,
    -- JSON: the request of the first attempts, where a later one has taken its place; for replays `--as-sent`.
    first_request TEXT,
    bucket        BYTEA    NOT NULL,
    lane          BYTEA,
    -- The attempts.
    attempts      TEXT    NOT NULL, -- JSON: an AttemptLog
    attempts_made BIGINT NOT NULL,
    -- Parked: due (milliseconds since 1970; NULL while an earlier one of its lane is there), and who attempts it now.
    due           BIGINT,
    claimed_by    TEXT,
    replay        TEXT,             -- the replay it belongs to, until that has ended
    -- Dead.
    died          BIGINT,          -- milliseconds since 1970
    reason        TEXT,
    message       TEXT,
    shown         TEXT,             -- JSON: the request as it may be shown
    size          BIGINT NOT NULL, -- bytes it counts against max_size
    UNIQUE (pipeline, node, source, event_id, copy, content)
);

CREATE INDEX deliveries_due ON deliveries (pipeline, node, due, id, bucket)
    WHERE state = 'parked' AND claimed_by IS NULL AND due IS NOT NULL;
CREATE INDEX deliveries_lane ON deliveries (pipeline, node, lane, id) WHERE state = 'parked' AND lane IS NOT NULL;
-- By number, as claimed rows are looked up by theirs: entries of one claimant all look the same, and PostgreSQL would go
-- through all that have piled up since the last vacuum.
CREATE INDEX deliveries_claimed ON deliveries (id) WHERE claimed_by IS NOT NULL;
CREATE INDEX deliveries_dead ON deliveries (pipeline, died, id) WHERE state = 'dead';
CREATE INDEX deliveries_replay ON deliveries (pipeline, replay, node, due, id) WHERE replay IS NOT NULL;

-- Who uses the store. The row '' has the bytes of those that are gone; all rows together have the store's size.
CREATE TABLE replicas (
    id          TEXT    PRIMARY KEY,
    alive_until BIGINT NOT NULL,   -- milliseconds since 1970
    bytes       BIGINT NOT NULL
);

CREATE TABLE checkpoints (
    pipeline TEXT NOT NULL,
    source   TEXT NOT NULL,
    state    TEXT NOT NULL,         -- JSON
    PRIMARY KEY (pipeline, source)
);

CREATE TABLE disabled_sinks (
    pipeline TEXT    NOT NULL,
    sink     TEXT    NOT NULL,
    since    BIGINT NOT NULL,      -- milliseconds since 1970
    reason   TEXT    NOT NULL,
    PRIMARY KEY (pipeline, sink)
);

-- Pauses that receivers have asked for, the long ones: shown, and ended by a person. The bucket is '' where a sink has one.
CREATE TABLE paused_sinks (
    pipeline TEXT    NOT NULL,
    sink     TEXT    NOT NULL,
    bucket   BYTEA   NOT NULL,
    ends     BIGINT  NOT NULL,      -- milliseconds since 1970
    PRIMARY KEY (pipeline, sink, bucket)
);
