-- name: select_service_windows
-- Of every service the row of its clock's window, as of its newest record, and after it, newest
-- first, the rows of the windows before that it has had since its first record.
WITH newest AS (
    SELECT service_id,
           max(ARRAY[incarnation::bigint, "offset",
                     (extract(epoch FROM clock_start) * 1000)::bigint]) AS place
    FROM error_windows
    GROUP BY service_id
),
present AS (
    SELECT kept.service_id, kept.clock_start, kept.service_first,
           CASE WHEN kept.closed THEN 0 ELSE %(windows)s END * INTERVAL '1 minute' AS span
    FROM newest
    JOIN error_windows AS kept
        ON kept.service_id = newest.service_id
       AND kept.window_start = to_timestamp(place[3] / 1000.0)
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
JOIN error_windows AS kept
    ON kept.service_id = present.service_id AND kept.service_first = present.service_first
   AND kept.window_start BETWEEN present.clock_start - span AND present.clock_start
ORDER BY kept.service_id, kept.window_start DESC;

-- name: select_last_incidents
-- Of every service and kind the open incident, else the one that was resolved last; of those that
-- people opened the detection knows nothing.
SELECT DISTINCT ON (service_id, kind)
       id AS incident_id, service_id, kind::text, title,
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
       guarded_squares::bigint AS guarded_squares, guarded_records::bigint AS guarded_records,
       settings_version, decided_by, "offset", (extract(epoch FROM clock_start) * 1000)::bigint AS clock_start_ms
FROM incidents
WHERE kind <> 'manual'
ORDER BY service_id, kind, machine_status = 'OPEN' DESC, resolved_window DESC NULLS LAST,
         window_start DESC;
