-- name: begin_snapshot
-- All slices as they were at one moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- name: select_bounds_of_logs
SELECT min(range_start), max(range_end)
FROM timescaledb_information.chunks
WHERE hypertable_schema = 'public' AND hypertable_name = 'logs';

-- name: select_bounds_of_windows
SELECT min(range_start), max(range_end)
FROM timescaledb_information.chunks
WHERE hypertable_schema = 'public' AND hypertable_name = 'error_windows';

-- name: select_bounds_of_incidents
SELECT min(opened_at), max(opened_at) + INTERVAL '1 microsecond' FROM incidents
WHERE deleted_at IS NULL;

-- name: export_logs
SELECT timestamp, service_id, level::text, message, metadata::text, id, arrival, incarnation,
       partition, "offset"
FROM logs
WHERE timestamp >= %(since)s AND timestamp < %(until)s
ORDER BY timestamp, incarnation, partition, "offset";

-- name: select_bounds_of_logs_by_arrival
SELECT min(arrival), max(arrival) + INTERVAL '1 microsecond' FROM logs;

-- name: export_logs_by_arrival
SELECT timestamp, service_id, level::text, message, metadata::text, id, arrival, incarnation,
       partition, "offset"
FROM logs
WHERE arrival >= %(since)s AND arrival < %(until)s
ORDER BY arrival, incarnation, partition, "offset";

-- name: export_windows
SELECT service_id, window_start, errors, total, late_errors, late_total, verdict::text,
       severity::text, z, mean, sigma, baseline_windows, baseline_errors::bigint,
       baseline_squares::bigint, guarded_z, guarded_mean, guarded_sigma, guarded_windows,
       guarded_errors::bigint, guarded_squares::bigint, guarded_records::bigint, closed, flagged,
       "unknown", settings_version
FROM error_windows
WHERE window_start >= %(since)s AND window_start < %(until)s
ORDER BY window_start, service_id;

-- name: export_incidents
SELECT id, service_id, kind::text, title, status::text, severity::text, assignee, window_start,
       first_window, confirmed_window, resolved_window, resolve_reason, observed, z, guarded_z,
       peak_z, mean, sigma, guarded_mean, guarded_sigma, decided_by, baseline_windows,
       baseline_errors::bigint, baseline_squares::bigint, guarded_windows,
       guarded_errors::bigint, guarded_squares::bigint, guarded_records::bigint,
       settings_version, opened_at, confirmed_at, resolved_at, detected_at, updated_at,
       detected_late
FROM incidents
WHERE opened_at >= %(since)s AND opened_at < %(until)s AND deleted_at IS NULL
ORDER BY opened_at, id;
