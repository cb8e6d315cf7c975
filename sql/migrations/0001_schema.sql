-- Logs, what the detection made of them, and the people and keys that may see or send them.

CREATE TYPE log_level AS ENUM ('DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL');
CREATE TYPE verdict AS ENUM
    ('warming_up', 'below_minimum', 'normal', 'signal', 'breach', 'fire', 'unknown');
CREATE TYPE incident_severity AS ENUM ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL');
CREATE TYPE incident_status AS ENUM ('OPEN', 'ACKNOWLEDGED', 'RESOLVED');
CREATE TYPE incident_kind AS ENUM ('errors', 'silence', 'manual');
CREATE TYPE user_role AS ENUM ('viewer', 'operator', 'admin');

-- Offsets ------------------------------------------------------------------------------------

CREATE TABLE topics (
    incarnation smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic_id    text        NOT NULL UNIQUE,
    name        text        NOT NULL,
    first_seen  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE topics IS
    'Every incarnation of the topic: one that was deleted and made again has another topic id, and its offsets start anew.';

CREATE TABLE positions (
    stage       text     NOT NULL CHECK (stage IN ('logs', 'detection')),
    incarnation smallint NOT NULL REFERENCES topics,
    partition   integer  NOT NULL,
    next_offset bigint   NOT NULL,
    moved_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stage, incarnation, partition)
);
COMMENT ON TABLE positions IS
    'How far each stage of the flow has stored each partition; moved in the transaction that stores the rows.';

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
COMMENT ON TABLE logs IS 'Every log record, once.';
COMMENT ON COLUMN logs.timestamp IS 'When it happened, by its producer.';
COMMENT ON COLUMN logs.id IS 'The producer''s own id, if it gave one.';
COMMENT ON COLUMN logs.arrival IS 'When the broker appended it.';
COMMENT ON COLUMN logs.incarnation IS 'Which incarnation of the topic; see topics.';

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
COMMENT ON TABLE dead_letters IS
    'Records that break the contract, as they came, each with the reason for which it was put aside.';
COMMENT ON COLUMN dead_letters.incarnation IS
    'Which incarnation of the topic; see topics. With partition and offset the letter''s id, as 1/0/42.';
COMMENT ON COLUMN dead_letters.topic IS 'The topic that it came on.';
COMMENT ON COLUMN dead_letters.arrival IS 'When the broker appended it.';
COMMENT ON COLUMN dead_letters.reason IS
    'What is wrong with it, as `field: what`; only printable characters.';
COMMENT ON COLUMN dead_letters.key IS
    'The Kafka key, which should be the service id; null where the producer gave none.';
COMMENT ON COLUMN dead_letters.raw IS
    'The record as it came, byte for byte; empty for a tombstone. What the database itself refused is written again as JSON.';
COMMENT ON COLUMN dead_letters.corrected IS
    'What a redrive sends in its place; null where it sends the record as it came.';
COMMENT ON COLUMN dead_letters.redrive_begun_at IS
    'When a redrive began to send it. Without redriven_at it is in doubt whether Kafka has it.';
COMMENT ON COLUMN dead_letters.redriven_at IS
    'When it was sent again and Kafka had acknowledged it; it is never sent a second time.';
COMMENT ON COLUMN dead_letters.redriven_by IS 'The system''s user who sent it again.';
COMMENT ON COLUMN dead_letters.redriven_partition IS 'The partition that it was sent to.';
COMMENT ON COLUMN dead_letters.redriven_offset IS 'The offset that it has there.';
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
COMMENT ON TABLE detection_settings IS
    'Every version of the numbers that decide what a spike is; a version judges the windows that start from effective_from on.';
COMMENT ON COLUMN detection_settings.withdrawn_at IS
    'When the version was withdrawn, before it began: it judges nothing, and its number is never used again.';
COMMENT ON COLUMN detection_settings.document IS
    'What differs from the defaults: {"settings": {…}, "overrides": [{"services": pattern, "settings": {…}}]}.';
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
COMMENT ON TABLE error_windows IS
    'One row for every minute of every service, with its baselines and the verdict on it.';
COMMENT ON COLUMN error_windows.errors IS 'ERROR and FATAL records that came on time.';
COMMENT ON COLUMN error_windows.late_errors IS 'Those that came late, while the window was kept.';
COMMENT ON COLUMN error_windows.baseline_windows IS 'n: how many windows the baseline has.';
COMMENT ON COLUMN error_windows.baseline_errors IS 'S: the sum of their errors.';
COMMENT ON COLUMN error_windows.baseline_squares IS 'Q: the sum of their errors squared.';
COMMENT ON COLUMN error_windows.guarded_records IS 'L: the sum of the guarded baseline''s records.';
COMMENT ON COLUMN error_windows.z IS
    '(n*c - S) / sqrt(n*Q - S*S) of c errors; 999 over a baseline without any spread.';
COMMENT ON COLUMN error_windows.flagged IS 'Part of an incident, so no guarded baseline learns it.';
COMMENT ON COLUMN error_windows."unknown" IS 'Part of a silence of a service that usually speaks.';
COMMENT ON COLUMN error_windows."offset" IS
    'Offset of its service up to which the row is true, in this incarnation of the topic.';
COMMENT ON COLUMN error_windows.partition IS
    'Partition that the last record of its service was read from.';
COMMENT ON COLUMN error_windows.read_offset IS
    'Offset of that record; "offset", by which rows are ordered, is higher where the service logs to several partitions.';
COMMENT ON COLUMN error_windows.clock_start IS
    'The window of the service''s clock then; with service_first, service_last and gap_windows what the detector is rebuilt from.';

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
    resolve_reason   text,
    observed         bigint,
    z                double precision,
    guarded_z        double precision,
    peak_z           double precision,
    mean             double precision GENERATED ALWAYS AS
        (baseline_errors::float8 / nullif(baseline_windows, 0)) STORED,
    sigma            double precision GENERATED ALWAYS AS
        (sqrt((baseline_windows * baseline_squares - baseline_errors * baseline_errors)::float8)
            / nullif(baseline_windows, 0)) STORED,
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
    machine_status   incident_status,
    machine_severity incident_severity,
    person_resolved_at timestamptz,
    deleted_at       timestamptz,
    evidence_at      timestamptz,
    incarnation      smallint,
    "offset"         bigint,
    clock_start      timestamptz,
    CONSTRAINT incidents_whole_or_manual CHECK (
        num_nulls(window_start, observed, peak_z, baseline_windows, baseline_errors,
                  baseline_squares, settings_version, detected_late, calm_windows, absorbed,
                  hot_window, machine_status, machine_severity, incarnation, "offset", clock_start)
            = CASE WHEN kind = 'manual' THEN 16 ELSE 0 END)
);
COMMENT ON TABLE incidents IS
    'Spikes of errors and silences, each with the evidence that it was opened on, and what people opened by hand (kind manual), of which nothing of the detection is set.';
COMMENT ON COLUMN incidents.id IS
    'First 16 bytes of SHA-256 over "service|window start in epoch ms", in hex; of kind manual at random.';
COMMENT ON COLUMN incidents.assignee IS 'The e-mail address of the person who looks after it.';
COMMENT ON COLUMN incidents.deleted_at IS
    'When an admin deleted it: nobody sees it any more, but the detection still counts on it.';
COMMENT ON COLUMN incidents.window_start IS 'The window that opened it.';
COMMENT ON COLUMN incidents.first_window IS 'Where it begins; a straggler may move it back.';
COMMENT ON COLUMN incidents.observed IS 'Errors of the opening window when it was last judged.';
COMMENT ON COLUMN incidents.opened_at IS 'Arrival of the record that opened it.';
COMMENT ON COLUMN incidents.detected_at IS 'When the row was first written.';
COMMENT ON COLUMN incidents.hot_window IS 'The newest window that was abnormal.';
COMMENT ON COLUMN incidents.person_resolved_at IS
    'When a person resolved it; a hot window that begins later opens it again.';
COMMENT ON COLUMN incidents.evidence_at IS 'When its first and last log lines were last kept.';
COMMENT ON COLUMN incidents.machine_status IS
    'What the detection last said; status follows each change of it.';

-- Each filter of the list has an index in the list's order; most incidents are unconfirmed, calm,
-- and of errors.
CREATE INDEX incidents_newest ON incidents (opened_at DESC, id DESC);
CREATE INDEX incidents_service ON incidents (service_id, opened_at DESC, id DESC);
CREATE INDEX incidents_severity ON incidents (severity, opened_at DESC, id DESC);
CREATE INDEX incidents_confirmed ON incidents (opened_at DESC, id DESC)
    WHERE confirmed_at IS NOT NULL;
CREATE INDEX incidents_unresolved ON incidents (opened_at DESC, id DESC)
    WHERE status <> 'RESOLVED';
CREATE INDEX incidents_silence ON incidents (opened_at DESC, id DESC) WHERE kind = 'silence';
CREATE INDEX incidents_manual ON incidents (opened_at DESC, id DESC) WHERE kind = 'manual';
CREATE INDEX incidents_assignee ON incidents (lower(assignee), opened_at DESC, id DESC)
    WHERE assignee IS NOT NULL;
-- How many are open of a service.
CREATE INDEX incidents_open ON incidents (service_id) WHERE status <> 'RESOLVED';

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
COMMENT ON TABLE incident_events IS
    'The timeline of each incident, append-only: what the detection decided and what people did. It is also the outbox of the topic of incidents.';
COMMENT ON COLUMN incident_events.at IS
    'For the detection the arrival of the record that decided, for people the moment they acted.';
COMMENT ON COLUMN incident_events.actor IS 'Who did it; null for the detection.';
COMMENT ON COLUMN incident_events.published_at IS 'When Kafka acknowledged it.';
-- The detection says each thing once, however often a crash makes it say it again.
CREATE UNIQUE INDEX incident_events_once ON incident_events (incident_id, moment)
    WHERE actor IS NULL AND moment <> 'reopened';
CREATE INDEX incident_events_incident ON incident_events (incident_id, seq);
CREATE INDEX incident_events_unpublished ON incident_events (seq) WHERE published_at IS NULL;

CREATE FUNCTION notify_incident_events() RETURNS trigger LANGUAGE plpgsql AS $$
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
COMMENT ON TABLE incident_evidence IS
    'The first and the last 20 errors of each incident, so that its evidence outlives the logs.';

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
COMMENT ON TABLE sessions IS
    'Who is logged in: one row a login. Without its row no token of it is good any more.';
COMMENT ON COLUMN sessions.refresh_hash IS
    'SHA-256 of the refresh token''s secret part; every refresh replaces it.';
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
COMMENT ON COLUMN ingest_keys.hash IS 'SHA-256 of the secret part; the key itself is shown once and never kept.';
COMMENT ON COLUMN ingest_keys.services IS
    'Whose records it may send: ids, or patterns as `batch-*`; null for those of every service.';
COMMENT ON COLUMN ingest_keys.last_used_at IS 'To the minute.';

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
COMMENT ON TABLE audit_log IS
    'Who did what, append-only: logins, and what people changed, each in the transaction of its change.';
COMMENT ON COLUMN audit_log.actor IS
    'E-mail address of a user, or whose command line it was; null where nobody has proved who they are.';
COMMENT ON COLUMN audit_log.subject IS 'Id of what it was done to.';
COMMENT ON COLUMN audit_log.address IS 'Where the request came from.';

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is append-only';
END
$$;
-- Whatever is entered in a timeline by a person is in the audit log, too.
CREATE FUNCTION audit_incident_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_log (actor, actor_id, action, subject, details)
    VALUES (NEW.actor, (SELECT id FROM users WHERE lower(email) = lower(NEW.actor)),
            'incident.' || NEW.moment, NEW.incident_id,
            jsonb_build_object('entry', NEW.seq, 'status', NEW.status, 'severity', NEW.severity));
    RETURN NULL;
END
$$;
CREATE TRIGGER incident_events_audit AFTER INSERT ON incident_events
    FOR EACH ROW WHEN (NEW.actor IS NOT NULL) EXECUTE FUNCTION audit_incident_event();

CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
