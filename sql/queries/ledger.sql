-- name: begin_snapshot
-- The incident and its windows as they were at one moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- name: select_name
SELECT id AS incident_id, service_id, kind::text, settings_version
FROM incidents
WHERE id = %(id)s AND kind <> 'manual';

-- name: select_incident
-- As the detection left it: without what people did, and none that they opened.
SELECT id AS incident_id, service_id, kind::text, title,
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
       settings_version, decided_by, (incarnation::bigint << 47) + "offset" AS "offset",
       (extract(epoch FROM clock_start) * 1000)::bigint AS clock_start_ms
FROM incidents
WHERE id = %(id)s AND kind <> 'manual';

-- name: select_windows
-- From the service's first window on, as the incident's window tells it, or as many as are wanted
-- before the incident; up to its last one. Bounds are looked up first, not joined: so the chunks
-- of other times are not opened.
WITH judged AS MATERIALIZED (
    SELECT id, incident.service_id,
           coalesce(resolved_window, incident.clock_start) AS last,
           CASE kind WHEN 'silence' THEN coalesce(confirmed_window, incident.window_start)
                     ELSE incident.window_start END AS window_start
    FROM incidents AS incident
    WHERE id = %(id)s
),
bounds AS MATERIALIZED (
    SELECT judged.service_id, greatest(last, judged.window_start) AS last,
           greatest(least(judged.window_start,
                          coalesce(opening.service_first, judged.window_start - INTERVAL '1 day')),
                    judged.window_start - %(windows)s * INTERVAL '1 minute') AS first
    FROM judged
    LEFT JOIN error_windows AS opening
        ON opening.service_id = (SELECT judged.service_id FROM judged)
       AND opening.window_start = (SELECT judged.window_start FROM judged)
)
SELECT kept.service_id, (extract(epoch FROM kept.window_start) * 1000)::bigint AS window_start_ms,
       kept.errors, kept.total, kept.late_errors, kept.late_total,
       baseline_windows AS plain_n, baseline_errors::bigint AS plain_sum,
       baseline_squares::bigint AS plain_squares,
       guarded_windows AS guarded_n, guarded_errors::bigint AS guarded_sum,
       guarded_squares::bigint AS guarded_squares, guarded_records::bigint AS guarded_records,
       z, guarded_z, verdict::text, severity::text, closed, flagged, "unknown", settings_version,
       (incarnation::bigint << 47) + "offset" AS "offset",
       (extract(epoch FROM arrival) * 1000)::bigint AS arrival_ms,
       (extract(epoch FROM clock_start) * 1000)::bigint AS clock_start_ms,
       (extract(epoch FROM service_first) * 1000)::bigint AS first_start_ms,
       (extract(epoch FROM service_last) * 1000)::bigint AS last_start_ms,
       gap_windows, too_late
FROM error_windows AS kept
WHERE kept.service_id = (SELECT bounds.service_id FROM bounds)
  AND kept.window_start >= (SELECT first FROM bounds)
  AND kept.window_start <= (SELECT last FROM bounds)
ORDER BY kept.window_start;
