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

-- name: copy_logs
COPY logs (timestamp, service_id, level, message, metadata, id, arrival, incarnation, partition, "offset")
FROM STDIN (FORMAT csv, NULL '\N');

-- name: insert_dead_letter
INSERT INTO dead_letters (incarnation, partition, "offset", topic, arrival, reason, key, raw)
VALUES (%(incarnation)s, %(partition)s, %(offset)s, %(topic)s, %(arrival)s, %(reason)s, %(key)s, %(raw)s)
ON CONFLICT DO NOTHING;

-- name: upsert_window
INSERT INTO error_windows AS kept (
    service_id, window_start, errors, total, late_errors, late_total, verdict, severity, z,
    baseline_windows, baseline_errors, baseline_squares, closed, settings_version, arrival,
    incarnation, partition, "offset")
VALUES (
    %(service_id)s, %(window_start)s, %(errors)s, %(total)s, %(late_errors)s, %(late_total)s,
    %(verdict)s, %(severity)s, %(z)s, %(baseline_windows)s, %(baseline_errors)s,
    %(baseline_squares)s, %(closed)s, %(settings_version)s, %(arrival)s, %(incarnation)s,
    %(partition)s, %(offset)s)
ON CONFLICT (service_id, window_start) DO UPDATE SET
    errors = excluded.errors,
    total = excluded.total,
    late_errors = excluded.late_errors,
    late_total = excluded.late_total,
    verdict = excluded.verdict,
    severity = excluded.severity,
    z = excluded.z,
    baseline_windows = excluded.baseline_windows,
    baseline_errors = excluded.baseline_errors,
    baseline_squares = excluded.baseline_squares,
    closed = excluded.closed,
    settings_version = excluded.settings_version,
    arrival = excluded.arrival,
    incarnation = excluded.incarnation,
    partition = excluded.partition,
    "offset" = excluded."offset"
WHERE (excluded.incarnation, excluded."offset") >= (kept.incarnation, kept."offset");

-- name: upsert_incident
INSERT INTO incidents AS kept (
    id, service_id, title, status, severity, window_start, first_window, confirmed_window,
    resolved_window, resolve_reason, observed, z, peak_z, baseline_windows, baseline_errors,
    baseline_squares, settings_version, opened_at, confirmed_at, resolved_at, detected_late,
    machine_status, machine_severity, incarnation, partition, "offset")
VALUES (
    %(id)s, %(service_id)s, %(title)s, %(status)s, %(severity)s, %(window_start)s,
    %(first_window)s, %(confirmed_window)s, %(resolved_window)s, %(resolve_reason)s, %(observed)s,
    %(z)s, %(peak_z)s, %(baseline_windows)s, %(baseline_errors)s, %(baseline_squares)s,
    %(settings_version)s, %(opened_at)s, %(confirmed_at)s, %(resolved_at)s, %(detected_late)s,
    %(status)s, %(severity)s, %(incarnation)s, %(partition)s, %(offset)s)
ON CONFLICT (id) DO UPDATE SET
    title = excluded.title,
    -- People and the machine never overwrite each other: only a change of its mind counts.
    status = CASE WHEN excluded.machine_status <> kept.machine_status
                  THEN excluded.status ELSE kept.status END,
    severity = CASE WHEN excluded.machine_severity <> kept.machine_severity
                     AND kept.severity = kept.machine_severity
                    THEN excluded.severity ELSE kept.severity END,
    first_window = excluded.first_window,
    confirmed_window = excluded.confirmed_window,
    resolved_window = excluded.resolved_window,
    resolve_reason = excluded.resolve_reason,
    observed = excluded.observed,
    z = excluded.z,
    peak_z = excluded.peak_z,
    confirmed_at = excluded.confirmed_at,
    resolved_at = excluded.resolved_at,
    detected_late = excluded.detected_late,
    machine_status = excluded.machine_status,
    machine_severity = excluded.machine_severity,
    updated_at = clock_timestamp(),
    incarnation = excluded.incarnation,
    partition = excluded.partition,
    "offset" = excluded."offset"
WHERE (excluded.incarnation, excluded."offset") >= (kept.incarnation, kept."offset");
