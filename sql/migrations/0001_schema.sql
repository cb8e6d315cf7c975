-- Logs, what the detection made of them, and the people and keys that may see or send them.
--
-- What each table and column means stands in comments.sql, which `tocsin migrate` applies each time.

CREATE TYPE log_level AS ENUM ('DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL');
CREATE TYPE verdict AS ENUM
    ('warming_up', 'below_minimum', 'normal', 'signal', 'breach', 'fire', 'unknown');
CREATE TYPE incident_severity AS ENUM ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL');
CREATE TYPE incident_status AS ENUM ('OPEN', 'ACKNOWLEDGED', 'RESOLVED');
CREATE TYPE incident_kind AS ENUM ('errors', 'silence', 'manual');
CREATE TYPE user_role AS ENUM ('viewer', 'operator', 'admin');
CREATE TYPE backtest_state AS ENUM ('queued', 'running', 'done', 'failed', 'cancelled');

-- Offsets ------------------------------------------------------------------------------------

CREATE TABLE topics (
    incarnation smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic_id    text        NOT NULL UNIQUE,
    name        text        NOT NULL,
    first_seen  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE positions (
    stage       text     NOT NULL CHECK (stage IN ('logs', 'detection')),
    incarnation smallint NOT NULL REFERENCES topics,
    partition   integer  NOT NULL,
    next_offset bigint   NOT NULL,
    moved_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stage, incarnation, partition)
);

-- Logs ---------------------------------------------------------------------------------------

CREATE TABLE logs (
    timestamp   timestamptz NOT NULL,
    service_id  text        NOT NULL,
    level       log_level   NOT NULL,
    message     text        NOT NULL,
    metadata    jsonb,
    id          text,
    arrival     timestamptz NOT NULL,
    incarnation smallint    NOT NULL,
    partition   integer     NOT NULL,
    "offset"    bigint      NOT NULL
);

SELECT create_hypertable('logs', by_range('timestamp', INTERVAL '1 day'),
                         create_default_indexes => false);
CREATE INDEX logs_service_time ON logs (service_id, timestamp DESC);
-- For the ids of the last minutes when a flow starts, and for searches over all services; logs are
-- appended as they arrive, so nearly in the order of their timestamps.
CREATE INDEX logs_arrival ON logs USING brin (arrival, timestamp) WITH (autosummarize = on);

CREATE TABLE dead_letters (
    incarnation smallint    NOT NULL,
    partition   integer     NOT NULL,
    "offset"    bigint      NOT NULL,
    topic       text        NOT NULL,
    arrival     timestamptz NOT NULL,
    reason      text        NOT NULL,
    key         bytea,
    raw         bytea       NOT NULL,
    corrected          bytea,
    redrive_begun_at   timestamptz,
    redriven_at        timestamptz CHECK (redriven_at IS NULL OR redrive_begun_at IS NOT NULL),
    redriven_by        text,
    redriven_partition integer,
    redriven_offset    bigint,
    PRIMARY KEY (incarnation, partition, "offset")
);
CREATE INDEX dead_letters_newest ON dead_letters (arrival DESC);

-- Detection ----------------------------------------------------------------------------------

CREATE TABLE detection_settings (
    version        integer PRIMARY KEY CHECK (version > 0),
    effective_from timestamptz NOT NULL,
    document       jsonb       NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by     text        NOT NULL,
    withdrawn_at   timestamptz CHECK (withdrawn_at < effective_from),
    withdrawn_by   text        CHECK ((withdrawn_at IS NULL) = (withdrawn_by IS NULL))
);
CREATE UNIQUE INDEX detection_settings_start ON detection_settings (effective_from)
    WHERE withdrawn_at IS NULL;
INSERT INTO detection_settings (version, effective_from, document, created_by)
VALUES (1, 'epoch', '{}', 'tocsin');

CREATE TABLE error_windows (
    service_id         text             NOT NULL,
    window_start       timestamptz      NOT NULL,
    errors             bigint           NOT NULL,
    total              bigint           NOT NULL,
    late_errors        bigint           NOT NULL,
    late_total         bigint           NOT NULL,
    verdict            verdict          NOT NULL,
    severity           incident_severity,
    z                  double precision,
    guarded_z          double precision,
    mean               double precision GENERATED ALWAYS AS
        (baseline_errors::float8 / nullif(baseline_windows, 0)) STORED,
    sigma              double precision GENERATED ALWAYS AS
        (sqrt((baseline_windows * baseline_squares - baseline_errors * baseline_errors)::float8)
            / nullif(baseline_windows, 0)) STORED,
    guarded_mean       double precision GENERATED ALWAYS AS
        (guarded_errors::float8 / nullif(guarded_windows, 0)) STORED,
    guarded_sigma      double precision GENERATED ALWAYS AS
        (sqrt(greatest(guarded_windows * guarded_squares - guarded_errors * guarded_errors,
                       guarded_windows * guarded_errors)::float8)
            / nullif(guarded_windows, 0)) STORED,
    baseline_windows   integer          NOT NULL,
    baseline_errors    numeric          NOT NULL,
    baseline_squares   numeric          NOT NULL,
    guarded_windows    integer,
    guarded_errors     numeric,
    guarded_squares    numeric,
    guarded_records    numeric,
    closed             boolean          NOT NULL,
    flagged            boolean          NOT NULL,
    "unknown"          boolean          NOT NULL,
    settings_version   integer          NOT NULL,
    incarnation        smallint         NOT NULL,
    partition          integer          NOT NULL,
    read_offset        bigint           NOT NULL,
    "offset"           bigint           NOT NULL,
    arrival            timestamptz      NOT NULL,
    clock_start        timestamptz      NOT NULL,
    service_first      timestamptz      NOT NULL,
    service_last       timestamptz      NOT NULL,
    gap_windows        integer          NOT NULL,
    too_late           bigint           NOT NULL,
    PRIMARY KEY (service_id, window_start)
);

SELECT create_hypertable('error_windows', by_range('window_start', INTERVAL '7 days'),
                         create_default_indexes => false);

CREATE TABLE incidents (
    id               text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
    service_id       text              NOT NULL,
    kind             incident_kind     NOT NULL,
    title            text              NOT NULL,
    status           incident_status   NOT NULL,
    severity         incident_severity NOT NULL,
    assignee         text,
    window_start     timestamptz,
    first_window     timestamptz       NOT NULL,
    confirmed_window timestamptz,
    resolved_window  timestamptz,
    resolve_reason   text CHECK (resolve_reason IN ('calm', 'absorbed', 'spoke', 'retired')),
    observed         bigint,
    z                double precision,
    guarded_z        double precision,
    peak_z           double precision,
    mean             double precision GENERATED ALWAYS AS
        (baseline_errors::float8 / nullif(baseline_windows, 0)) STORED,
    sigma            double precision GENERATED ALWAYS AS
        (sqrt((baseline_windows * baseline_squares - baseline_errors * baseline_errors)::float8)
            / nullif(baseline_windows, 0)) STORED,
    guarded_mean     double precision GENERATED ALWAYS AS
        (guarded_errors::float8 / nullif(guarded_windows, 0)) STORED,
    guarded_sigma    double precision GENERATED ALWAYS AS
        (sqrt(greatest(guarded_windows * guarded_squares - guarded_errors * guarded_errors,
                       guarded_windows * guarded_errors)::float8)
            / nullif(guarded_windows, 0)) STORED,
    decided_by       text CHECK (decided_by IN ('plain', 'guarded')),
    baseline_windows integer,
    baseline_errors  numeric,
    baseline_squares numeric,
    guarded_windows  integer,
    guarded_errors   numeric,
    guarded_squares  numeric,
    guarded_records  numeric,
    settings_version integer,
    opened_at        timestamptz       NOT NULL,
    confirmed_at     timestamptz,
    resolved_at      timestamptz,
    detected_at      timestamptz       NOT NULL DEFAULT clock_timestamp(),
    updated_at       timestamptz       NOT NULL DEFAULT clock_timestamp(),
    detected_late    boolean,
    calm_windows     integer,
    absorbed         boolean,
    hot_window       timestamptz,
    machine_status   incident_status CHECK (machine_status IN ('OPEN', 'RESOLVED')),
    machine_severity incident_severity,
    person_resolved_at timestamptz,
    deleted_at       timestamptz,
    evidence_at      timestamptz,
    incarnation      smallint,
    "offset"         bigint,
    clock_start      timestamptz,
    CONSTRAINT incidents_whole_or_manual CHECK (
        num_nulls(window_start, observed, peak_z, baseline_windows, baseline_errors,
                  baseline_squares, settings_version, decided_by, detected_late, calm_windows,
                  absorbed, hot_window, machine_status, machine_severity, incarnation, "offset",
                  clock_start)
            = CASE WHEN kind = 'manual' THEN 17 ELSE 0 END)
);

-- Each filter of the list has an index in the list's order; most incidents are unconfirmed, calm,
-- and of errors. What was deleted is in none of them, so that an index alone tells how many there are.
CREATE INDEX incidents_newest ON incidents (opened_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX incidents_service ON incidents (service_id, opened_at DESC, id DESC)
    WHERE deleted_at IS NULL;
CREATE INDEX incidents_severity ON incidents (severity, opened_at DESC, id DESC)
    WHERE deleted_at IS NULL;
CREATE INDEX incidents_confirmed ON incidents (opened_at DESC, id DESC)
    WHERE confirmed_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX incidents_unresolved ON incidents (opened_at DESC, id DESC)
    WHERE status <> 'RESOLVED' AND deleted_at IS NULL;
CREATE INDEX incidents_silence ON incidents (opened_at DESC, id DESC)
    WHERE kind = 'silence' AND deleted_at IS NULL;
CREATE INDEX incidents_manual ON incidents (opened_at DESC, id DESC)
    WHERE kind = 'manual' AND deleted_at IS NULL;
CREATE INDEX incidents_assignee ON incidents (lower(assignee), opened_at DESC, id DESC)
    WHERE assignee IS NOT NULL AND deleted_at IS NULL;
-- How many are open of a service.
CREATE INDEX incidents_open ON incidents (service_id)
    WHERE status <> 'RESOLVED' AND deleted_at IS NULL;

CREATE TABLE incident_events (
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id  text              NOT NULL REFERENCES incidents,
    moment       text              NOT NULL,
    at           timestamptz       NOT NULL DEFAULT clock_timestamp(),
    actor        text,
    severity     incident_severity NOT NULL,
    status       incident_status   NOT NULL,
    assignee     text,
    window_start timestamptz,
    count        bigint,
    z            double precision,
    note         text,
    published_at timestamptz
);
-- The detection says each thing once, however often a crash makes it say it again.
CREATE UNIQUE INDEX incident_events_once ON incident_events (incident_id, moment)
    WHERE actor IS NULL AND moment <> 'reopened';
CREATE INDEX incident_events_incident ON incident_events (incident_id, seq);
CREATE INDEX incident_events_unpublished ON incident_events (seq) WHERE published_at IS NULL;

CREATE FUNCTION notify_incident_events() RETURNS trigger LANGUAGE plpgsql
SET search_path = public, pg_temp AS $$
BEGIN
    NOTIFY incident_events;
    RETURN NULL;
END
$$;
CREATE TRIGGER incident_events_notify AFTER INSERT ON incident_events
    FOR EACH STATEMENT EXECUTE FUNCTION notify_incident_events();

CREATE TABLE incident_evidence (
    incident_id text        NOT NULL REFERENCES incidents ON DELETE CASCADE,
    timestamp   timestamptz NOT NULL,
    level       log_level   NOT NULL,
    message     text        NOT NULL,
    metadata    jsonb,
    id          text,
    arrival     timestamptz NOT NULL,
    incarnation smallint    NOT NULL,
    partition   integer     NOT NULL,
    "offset"    bigint      NOT NULL,
    PRIMARY KEY (incident_id, incarnation, partition, "offset")
);

-- Keeping -------------------------------------------------------------------------------------

CREATE TABLE retention (
    relation   text PRIMARY KEY CHECK (relation IN ('logs', 'error_windows', 'dead_letters')),
    keep       interval,
    whole_from timestamptz
);

-- Labels -------------------------------------------------------------------------------------

CREATE TABLE incident_labels (
    incident_id text        PRIMARY KEY REFERENCES incidents,
    is_true     boolean     NOT NULL,
    note        text,
    labelled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    labelled_by text        NOT NULL
);

CREATE TABLE missed_incidents (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service_id  text        NOT NULL,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz NOT NULL CHECK (ended_at > started_at),
    note        text,
    labelled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    labelled_by text        NOT NULL,
    UNIQUE (service_id, started_at, ended_at)
);

-- Backtests ----------------------------------------------------------------------------------

CREATE TABLE backtests (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    asked       json             NOT NULL, -- in the order in which it was asked for
    state       backtest_state   NOT NULL DEFAULT 'queued',
    created_at  timestamptz      NOT NULL DEFAULT clock_timestamp(),
    created_by  text             NOT NULL,
    started_at  timestamptz,
    reported_at timestamptz,
    ended_at    timestamptz,
    share       double precision NOT NULL DEFAULT 0 CHECK (share BETWEEN 0 AND 1),
    records     bigint           NOT NULL DEFAULT 0,
    error       text,
    result      bytea,
    page        bytea,
    CHECK ((state IN ('queued', 'running')) = (ended_at IS NULL)),
    CHECK ((state = 'failed') = (error IS NOT NULL)),
    CHECK (num_nonnulls(result, page) = CASE WHEN state = 'done' THEN 2 ELSE 0 END)
);
-- One at a time.
CREATE UNIQUE INDEX backtests_one ON backtests ((true)) WHERE state IN ('queued', 'running');

-- With its owner's right to advisory locks, which the API's role has not: one of them could hold up
-- the flow.
CREATE FUNCTION lock_backtests() RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_try_advisory_lock(hashtext('tocsin backtest'), 0)
$$;
REVOKE EXECUTE ON FUNCTION lock_backtests() FROM PUBLIC;

-- People and keys ----------------------------------------------------------------------------

CREATE TABLE users (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email         text        NOT NULL,
    password_hash text        NOT NULL,
    role          user_role   NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX users_email ON users (lower(email));
CREATE INDEX users_oldest ON users (created_at, id);

CREATE TABLE sessions (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id      uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
    refresh_hash bytea       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    refreshed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id, created_at);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE ingest_keys (
    id           text PRIMARY KEY,
    name         text        NOT NULL,
    hash         bytea       NOT NULL,
    services     text[]      CHECK (cardinality(services) > 0),
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_used_at timestamptz,
    revoked_at   timestamptz
);
-- A revoked key leaves its name to the one that takes its place.
CREATE UNIQUE INDEX ingest_keys_name ON ingest_keys (name) WHERE revoked_at IS NULL;
CREATE INDEX ingest_keys_oldest ON ingest_keys (created_at, id);

CREATE TABLE audit_log (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor      text,
    actor_id   uuid,
    action     text        NOT NULL,
    subject    text,
    address    text,
    request_id text,
    details    jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_action ON audit_log (action, seq);

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql
SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is append-only';
END
$$;
-- Whatever is entered in a timeline by a person is in the audit log, too: the true one, whatever
-- temporary table whoever enters it has.
CREATE FUNCTION audit_incident_event() RETURNS trigger LANGUAGE plpgsql
SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO audit_log (actor, actor_id, action, subject, address, request_id, details)
    VALUES (NEW.actor, (SELECT id FROM users WHERE lower(email) = lower(NEW.actor)),
            'incident.' || NEW.moment, NEW.incident_id,
            nullif(current_setting('tocsin.address', true), ''),
            nullif(current_setting('tocsin.request_id', true), ''),
            jsonb_build_object('entry', NEW.seq, 'status', NEW.status, 'severity', NEW.severity));
    RETURN NULL;
END
$$;
CREATE TRIGGER incident_events_audit AFTER INSERT ON incident_events
    FOR EACH ROW WHEN (NEW.actor IS NOT NULL) EXECUTE FUNCTION audit_incident_event();

CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

CREATE TABLE analyst_services (
    analyst  name NOT NULL,
    services text NOT NULL CHECK (services <> ''),
    PRIMARY KEY (analyst, services)
);
