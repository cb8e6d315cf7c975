-- name: ping
SELECT 1;

-- name: count_incidents
SELECT count(*) FROM incidents;

-- name: select_incidents
SELECT id, kind, title, service_id, status, severity, observed, mean, sigma, z, guarded_z, peak_z,
       baseline_windows, window_start, first_window, confirmed_window, resolved_window,
       resolve_reason, opened_at, confirmed_at, resolved_at, detected_at, detected_late,
       updated_at, settings_version
FROM incidents
ORDER BY opened_at DESC, id DESC
LIMIT %(limit)s OFFSET %(offset)s;

-- name: select_incident
SELECT id, kind, title, service_id, status, severity, observed, mean, sigma, z, guarded_z, peak_z,
       baseline_windows, window_start, first_window, confirmed_window, resolved_window,
       resolve_reason, opened_at, confirmed_at, resolved_at, detected_at, detected_late,
       updated_at, settings_version
FROM incidents
WHERE id = %(id)s;

-- name: update_incident
UPDATE incidents
SET status = coalesce(%(status)s::incident_status, status),
    severity = coalesce(%(severity)s::incident_severity, severity),
    resolved_at = CASE
        WHEN %(status)s::incident_status IS NULL THEN resolved_at
        WHEN %(status)s::incident_status = 'RESOLVED' THEN coalesce(resolved_at, clock_timestamp())
        WHEN resolved_window IS NULL THEN NULL
        ELSE resolved_at
    END,
    updated_at = clock_timestamp()
WHERE id = %(id)s
RETURNING id, kind, title, service_id, status, severity, observed, mean, sigma, z, guarded_z,
          peak_z, baseline_windows, window_start, first_window, confirmed_window, resolved_window,
          resolve_reason, opened_at, confirmed_at, resolved_at, detected_at, detected_late,
          updated_at, settings_version;

-- name: count_incident_logs
SELECT count(*)
FROM logs
WHERE service_id = %(service_id)s
  AND timestamp >= %(since)s AND timestamp < %(until)s
  AND level IN ('ERROR', 'FATAL');

-- name: select_incident_logs
SELECT timestamp, service_id, level, message, metadata, id, arrival
FROM logs
WHERE service_id = %(service_id)s
  AND timestamp >= %(since)s AND timestamp < %(until)s
  AND level IN ('ERROR', 'FATAL')
ORDER BY timestamp, incarnation, partition, "offset"
LIMIT %(limit)s OFFSET %(offset)s;

-- name: insert_user
INSERT INTO users (email, password_hash, role)
VALUES (%(email)s, %(password_hash)s, %(role)s)
RETURNING id, email, role, created_at;

-- name: select_credentials
SELECT id, role, password_hash FROM users WHERE lower(email) = lower(%(email)s);

-- name: insert_key
INSERT INTO ingest_keys (id, name, hash) VALUES (%(id)s, %(name)s, %(hash)s);

-- name: select_key
SELECT name, hash FROM ingest_keys WHERE id = %(id)s AND revoked_at IS NULL;
