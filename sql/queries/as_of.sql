-- name: select_windows_as_of
-- Of every service that has the window: its rows up to that window, so many, or from the first
-- window of an incident on that was open then; in order.
WITH present AS (
    SELECT service_id, window_start, service_first
    FROM error_windows
    WHERE window_start = to_timestamp(%(start_ms)s / 1000.0)
),
opened AS (
    SELECT service_id, min(first_window) AS first_window
    FROM incidents
    WHERE kind = 'errors' AND first_window < to_timestamp(%(start_ms)s / 1000.0)
      AND (resolved_window IS NULL
           OR resolved_window > to_timestamp(%(start_ms)s / 1000.0) - INTERVAL '2 minutes')
    GROUP BY service_id
)
SELECT kept.service_id, (extract(epoch FROM kept.window_start) * 1000)::bigint AS window_start_ms,
       kept.errors, kept.total, kept.late_errors, kept.late_total,
       baseline_windows AS plain_n, baseline_errors::bigint AS plain_sum,
       baseline_squares::bigint AS plain_squares,
       guarded_windows AS guarded_n, guarded_errors::bigint AS guarded_sum,
       guarded_squares::bigint AS guarded_squares, guarded_records::bigint AS guarded_records,
       z, guarded_z, verdict::text, severity::text, closed, flagged, "unknown", settings_version,
       incarnation, partition, read_offset, "offset", (extract(epoch FROM arrival) * 1000)::bigint AS arrival_ms,
       (extract(epoch FROM kept.clock_start) * 1000)::bigint AS clock_start_ms,
       (extract(epoch FROM kept.service_first) * 1000)::bigint AS first_start_ms,
       (extract(epoch FROM service_last) * 1000)::bigint AS last_start_ms,
       gap_windows, too_late
FROM present
LEFT JOIN opened ON opened.service_id = present.service_id
JOIN error_windows AS kept
    ON kept.service_id = present.service_id AND kept.service_first = present.service_first
   AND kept.window_start <= present.window_start
   AND kept.window_start >= least(present.window_start - %(windows)s * INTERVAL '1 minute',
                                  coalesce(opened.first_window, present.window_start))
ORDER BY kept.service_id, kept.window_start;

-- name: select_incidents_as_of
-- Of every service and kind the incident that was open when its clock was about to leave a window,
-- and the one that was resolved last by then; in the order of their windows.
SELECT DISTINCT ON (service_id, kind, is_over) *
FROM (
    SELECT service_id, id AS incident_id, kind::text, title,
           coalesce(resolved_window
                    <= to_timestamp(%(start_ms)s / 1000.0) - INTERVAL '2 minutes', false) AS is_over,
           (extract(epoch FROM window_start) * 1000)::bigint AS window_start_ms,
           (extract(epoch FROM first_window) * 1000)::bigint AS low_start_ms,
           (extract(epoch FROM hot_window) * 1000)::bigint AS hot_start_ms,
           (extract(epoch FROM confirmed_window) * 1000)::bigint AS confirmed_start_ms,
           (extract(epoch FROM resolved_window) * 1000)::bigint AS resolved_start_ms,
           lower(machine_status::text) AS status, resolve_reason AS reason,
           machine_severity::text AS severity, peak_z, calm_windows, absorbed, detected_late,
           (extract(epoch FROM opened_at) * 1000)::bigint AS opened_at_ms,
           (extract(epoch FROM confirmed_at) * 1000)::bigint AS confirmed_at_ms,
           (extract(epoch FROM resolved_at) * 1000)::bigint AS resolved_at_ms,
           observed AS count, z, guarded_z, baseline_windows AS plain_n,
           baseline_errors::bigint AS plain_sum, baseline_squares::bigint AS plain_squares,
           guarded_windows AS guarded_n, guarded_errors::bigint AS guarded_sum,
           guarded_squares::bigint AS guarded_squares,
           guarded_records::bigint AS guarded_records, settings_version, decided_by, "offset",
           (extract(epoch FROM clock_start) * 1000)::bigint AS clock_start_ms
    FROM incidents
    WHERE kind <> 'manual' AND first_window <= to_timestamp(%(start_ms)s / 1000.0)
) AS begun
ORDER BY service_id, kind, is_over, window_start_ms DESC;

-- name: select_first_offset
-- The first record of a partition that arrived then or later, of those that are stored.
SELECT min("offset")
FROM logs
JOIN topics USING (incarnation)
WHERE topic_id = %(topic_id)s AND partition = %(partition)s
  AND arrival >= to_timestamp(%(from_ms)s / 1000.0);

-- name: select_first_arrival
SELECT (extract(epoch FROM min(arrival)) * 1000)::bigint, (extract(epoch FROM max(arrival)) * 1000)::bigint
FROM logs;

-- name: select_arrivals_between
SELECT (extract(epoch FROM min(arrival)) * 1000)::bigint, (extract(epoch FROM max(arrival)) * 1000)::bigint
FROM logs
WHERE arrival >= to_timestamp(%(begin_ms)s / 1000.0)
  AND arrival < to_timestamp(%(end_ms)s / 1000.0);

-- name: count_records_between
-- Of the windows that lie in a span as a whole and were counted in it, of which the logs may be gone.
SELECT coalesce(sum(total + late_total), 0)::bigint
FROM error_windows
WHERE window_start >= to_timestamp(%(begin_ms)s / 1000.0)
  AND arrival < to_timestamp(%(end_ms)s / 1000.0)
  AND window_start < to_timestamp(%(end_ms)s / 1000.0) - INTERVAL '2 minutes';

-- name: select_topic
SELECT incarnation FROM topics WHERE topic_id = %(topic_id)s;

-- name: select_partitions
SELECT DISTINCT partition FROM positions WHERE stage = 'logs' ORDER BY partition;

-- name: select_slice
-- In the order that the topic had, partition by partition.
SELECT incarnation, partition, "offset", (extract(epoch FROM arrival) * 1000)::bigint,
       (extract(epoch FROM timestamp) * 1000000)::bigint, service_id, level::text
FROM logs
WHERE arrival >= to_timestamp(%(begin_ms)s / 1000.0)
  AND arrival < to_timestamp(%(end_ms)s / 1000.0)
ORDER BY partition, incarnation, "offset";
