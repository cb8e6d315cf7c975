-- name: upsert_topic
INSERT INTO topics (topic_id, name) VALUES (%(topic_id)s, %(name)s)
ON CONFLICT (topic_id) DO NOTHING;

-- name: select_incarnation
SELECT incarnation FROM topics WHERE topic_id = %(topic_id)s;

-- name: select_position
SELECT next_offset FROM positions
WHERE stage = %(stage)s AND incarnation = %(incarnation)s AND partition = %(partition)s;

-- name: insert_position
INSERT INTO positions (stage, incarnation, partition, next_offset)
VALUES (%(stage)s, %(incarnation)s, %(partition)s, %(next_offset)s)
ON CONFLICT DO NOTHING;

-- name: update_position
UPDATE positions SET next_offset = %(next_offset)s
WHERE stage = %(stage)s AND incarnation = %(incarnation)s AND partition = %(partition)s
  AND next_offset = %(expected)s;

-- name: upsert_position
INSERT INTO positions AS kept (stage, incarnation, partition, next_offset)
VALUES (%(stage)s, %(incarnation)s, %(partition)s, %(next_offset)s)
ON CONFLICT (stage, incarnation, partition) DO UPDATE SET
    next_offset = excluded.next_offset,
    moved_at = excluded.moved_at
WHERE excluded.next_offset >= kept.next_offset;

-- name: copy_logs
COPY logs (timestamp, service_id, level, message, metadata, id, arrival, incarnation, partition, "offset")
FROM STDIN (FORMAT csv, NULL '\N');

-- name: insert_dead_letter
INSERT INTO dead_letters (incarnation, partition, "offset", topic, arrival, reason, key, raw)
VALUES (%(incarnation)s, %(partition)s, %(offset)s, %(topic)s, to_timestamp(%(arrival_ms)s / 1000.0), %(reason)s, %(key)s, %(raw)s)
ON CONFLICT DO NOTHING;

-- name: upsert_windows
INSERT INTO error_windows AS kept (
    service_id, window_start, errors, total, late_errors, late_total, verdict, severity, z,
    guarded_z, baseline_windows, baseline_errors, baseline_squares, guarded_windows,
    guarded_errors, guarded_squares, guarded_records, closed, flagged, "unknown",
    settings_version, incarnation, partition, read_offset, "offset", arrival, clock_start,
    service_first, service_last, gap_windows, too_late)
SELECT * FROM json_to_recordset(%(rows)s) AS new (
    service_id text, window_start timestamptz, errors bigint, total bigint, late_errors bigint,
    late_total bigint, verdict verdict, severity incident_severity, z double precision,
    guarded_z double precision, baseline_windows integer, baseline_errors numeric,
    baseline_squares numeric, guarded_windows integer, guarded_errors numeric,
    guarded_squares numeric, guarded_records numeric, closed boolean, flagged boolean,
    "unknown" boolean, settings_version integer, incarnation smallint, partition integer,
    read_offset bigint, "offset" bigint, arrival timestamptz, clock_start timestamptz,
    service_first timestamptz, service_last timestamptz, gap_windows integer, too_late bigint)
ON CONFLICT (service_id, window_start) DO UPDATE SET
    errors = excluded.errors,
    total = excluded.total,
    late_errors = excluded.late_errors,
    late_total = excluded.late_total,
    verdict = excluded.verdict,
    severity = excluded.severity,
    z = excluded.z,
    guarded_z = excluded.guarded_z,
    baseline_windows = excluded.baseline_windows,
    baseline_errors = excluded.baseline_errors,
    baseline_squares = excluded.baseline_squares,
    guarded_windows = excluded.guarded_windows,
    guarded_errors = excluded.guarded_errors,
    guarded_squares = excluded.guarded_squares,
    guarded_records = excluded.guarded_records,
    closed = excluded.closed,
    flagged = excluded.flagged,
    "unknown" = excluded."unknown",
    settings_version = excluded.settings_version,
    incarnation = excluded.incarnation,
    partition = excluded.partition,
    read_offset = excluded.read_offset,
    "offset" = excluded."offset",
    arrival = excluded.arrival,
    clock_start = excluded.clock_start,
    service_first = excluded.service_first,
    service_last = excluded.service_last,
    gap_windows = excluded.gap_windows,
    too_late = excluded.too_late
WHERE (excluded.incarnation, excluded."offset", excluded.clock_start)
   >= (kept.incarnation, kept."offset", kept.clock_start);

-- name: upsert_incident
INSERT INTO incidents AS kept (
    id, service_id, kind, title, status, severity, window_start, first_window, confirmed_window,
    resolved_window, resolve_reason, observed, z, guarded_z, peak_z, baseline_windows,
    baseline_errors, baseline_squares, guarded_windows, guarded_errors, guarded_squares,
    guarded_records, settings_version, decided_by, opened_at, confirmed_at, resolved_at, detected_late,
    calm_windows, absorbed, hot_window, machine_status, machine_severity, incarnation, "offset",
    clock_start)
VALUES (
    %(id)s, %(service_id)s, %(kind)s, %(title)s, %(status)s, %(severity)s, %(window_start)s,
    %(first_window)s, %(confirmed_window)s, %(resolved_window)s, %(resolve_reason)s,
    %(observed)s, %(z)s, %(guarded_z)s, %(peak_z)s, %(baseline_windows)s, %(baseline_errors)s,
    %(baseline_squares)s, %(guarded_windows)s, %(guarded_errors)s, %(guarded_squares)s,
    %(guarded_records)s, %(settings_version)s, %(decided_by)s, %(opened_at)s, %(confirmed_at)s,
    %(resolved_at)s, %(detected_late)s, %(calm_windows)s, %(absorbed)s, %(hot_window)s, %(status)s,
    %(severity)s, %(incarnation)s, %(offset)s, %(clock_start)s)
ON CONFLICT (id) DO UPDATE SET
    title = excluded.title,
    -- People and the machine never overwrite each other: only a change of its mind counts.
    status = CASE WHEN excluded.machine_status <> kept.machine_status
                  THEN excluded.status ELSE kept.status END,
    severity = CASE WHEN kept.severity = kept.machine_severity
                    THEN excluded.severity ELSE kept.severity END,
    first_window = excluded.first_window,
    confirmed_window = excluded.confirmed_window,
    resolved_window = excluded.resolved_window,
    resolve_reason = excluded.resolve_reason,
    observed = excluded.observed,
    z = excluded.z,
    guarded_z = excluded.guarded_z,
    peak_z = excluded.peak_z,
    baseline_windows = excluded.baseline_windows,
    baseline_errors = excluded.baseline_errors,
    baseline_squares = excluded.baseline_squares,
    guarded_windows = excluded.guarded_windows,
    guarded_errors = excluded.guarded_errors,
    guarded_squares = excluded.guarded_squares,
    guarded_records = excluded.guarded_records,
    settings_version = excluded.settings_version,
    decided_by = excluded.decided_by,
    confirmed_at = excluded.confirmed_at,
    resolved_at = CASE WHEN kept.person_resolved_at IS NULL
                       THEN coalesce(excluded.resolved_at, kept.resolved_at)
                       ELSE kept.resolved_at END,
    detected_late = excluded.detected_late,
    calm_windows = excluded.calm_windows,
    absorbed = excluded.absorbed,
    hot_window = excluded.hot_window,
    machine_status = excluded.machine_status,
    machine_severity = excluded.machine_severity,
    incarnation = excluded.incarnation,
    "offset" = excluded."offset",
    clock_start = excluded.clock_start,
    updated_at = clock_timestamp()
WHERE (excluded.incarnation, excluded."offset", excluded.clock_start)
   >= (kept.incarnation, kept."offset", kept.clock_start);

-- name: insert_incident_event
-- What a person has decided on the incident goes for the detection's entries too: while they have
-- it resolved, its end is no news, and its confirmation waits until it is open again.
INSERT INTO incident_events (
    incident_id, moment, at, window_start, severity, status, assignee, count, z)
SELECT id, %(moment)s, %(at)s, %(window_start)s,
       CASE WHEN severity = machine_severity THEN %(severity)s ELSE severity END,
       CASE WHEN status = 'ACKNOWLEDGED' OR person_resolved_at IS NOT NULL
            THEN status ELSE %(status)s END,
       assignee, %(count)s, %(z)s
FROM incidents
WHERE id = %(incident_id)s
  AND NOT (person_resolved_at IS NOT NULL AND %(moment)s IN ('confirmed', 'resolved'))
ON CONFLICT (incident_id, moment) WHERE actor IS NULL AND moment <> 'reopened' DO NOTHING;

-- name: reopen_incident
-- A person has resolved or deleted it, and a window that began after that is abnormal again.
WITH reopened AS (
    UPDATE incidents
    SET status = 'OPEN', resolved_at = NULL, person_resolved_at = NULL, deleted_at = NULL,
        updated_at = clock_timestamp()
    WHERE id = %(incident_id)s AND status = 'RESOLVED' AND machine_status = 'OPEN'
      AND person_resolved_at < %(window_start)s
    RETURNING id, severity, status, assignee
)
INSERT INTO incident_events (
    incident_id, moment, at, severity, status, assignee, window_start, count, z)
SELECT id, 'reopened', %(at)s, severity, status, assignee, %(window_start)s, %(count)s, %(z)s
FROM reopened;
