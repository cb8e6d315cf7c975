-- name: count_per_minute
WITH counted AS (
    SELECT service_id, minute AS start, sum(records)::bigint AS records,
           coalesce(sum(records) FILTER (WHERE level >= 'ERROR'), 0)::bigint AS errors
    FROM logs_per_minute
    WHERE minute >= %(since)s AND minute < %(until)s
      AND (%(services)s::text[] IS NULL OR service_id = ANY(%(services)s::text[]))
    GROUP BY 1, 2
),
chosen AS (
    SELECT service_id
    FROM counted
    GROUP BY service_id
    ORDER BY sum(errors) DESC, sum(records) DESC, service_id
    LIMIT %(limit)s
)
SELECT service_id, start, records, errors
FROM counted
JOIN chosen USING (service_id);

-- name: count_per_hour
WITH counted AS (
    SELECT service_id, hour AS start, sum(records)::bigint AS records,
           coalesce(sum(records) FILTER (WHERE level >= 'ERROR'), 0)::bigint AS errors
    FROM logs_per_hour
    WHERE hour >= %(since)s AND hour < %(until)s
      AND (%(services)s::text[] IS NULL OR service_id = ANY(%(services)s::text[]))
    GROUP BY 1, 2
),
chosen AS (
    SELECT service_id
    FROM counted
    GROUP BY service_id
    ORDER BY sum(errors) DESC, sum(records) DESC, service_id
    LIMIT %(limit)s
)
SELECT service_id, start, records, errors
FROM counted
JOIN chosen USING (service_id);

-- name: count_per_day
WITH counted AS (
    SELECT service_id, day AS start, sum(records)::bigint AS records,
           coalesce(sum(records) FILTER (WHERE level >= 'ERROR'), 0)::bigint AS errors
    FROM logs_per_day
    WHERE day >= %(since)s AND day < %(until)s
      AND (%(services)s::text[] IS NULL OR service_id = ANY(%(services)s::text[]))
    GROUP BY 1, 2
),
chosen AS (
    SELECT service_id
    FROM counted
    GROUP BY service_id
    ORDER BY sum(errors) DESC, sum(records) DESC, service_id
    LIMIT %(limit)s
)
SELECT service_id, start, records, errors
FROM counted
JOIN chosen USING (service_id);

-- name: select_baseline_windows
SELECT window_start, errors, late_errors, total, late_total, verdict::text, severity::text,
       settings_version, z, mean, sigma, baseline_windows, guarded_z, guarded_mean, guarded_sigma,
       guarded_windows
FROM error_windows
WHERE service_id = %(service_id)s
  AND window_start >= %(since)s AND window_start < %(until)s
ORDER BY window_start;

-- name: top_messages
-- The newest errors alone, and the beginning of each. Ids and numbers are taken for one another: a
-- UUID; hexadecimal of 8 digits and more, of both letters and figures; then whatever is a number.
WITH newest AS (
    SELECT timestamp, service_id, left(message, %(characters)s) AS message
    FROM logs
    WHERE timestamp >= %(since)s AND timestamp < %(until)s AND level IN ('ERROR', 'FATAL')
      AND (%(services)s::text[] IS NULL OR service_id = ANY(%(services)s::text[]))
    ORDER BY timestamp DESC
    LIMIT %(sample)s
),
shaped AS (
    SELECT *,
           regexp_replace(
               regexp_replace(
                   regexp_replace(
                       message,
                       '\m[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\M', '<id>', 'g'),
                   '\m(?=[0-9]*[a-fA-F])(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}\M', '<id>', 'g'),
               '[0-9]+([.,:][0-9]+)*', '<n>', 'g') AS shape
    FROM newest
)
SELECT shape, count(*) AS count, count(DISTINCT service_id) AS services,
       min(timestamp) AS first_seen, max(timestamp) AS last_seen,
       last(message, timestamp) AS example, last(service_id, timestamp) AS example_service,
       (sum(count(*)) OVER ())::bigint AS looked_at
FROM shaped
GROUP BY shape
ORDER BY count(*) DESC, max(timestamp) DESC, shape
LIMIT %(limit)s;

-- name: select_services
-- One look into the index for each service, not one for each of its windows.
WITH RECURSIVE service AS (
    (SELECT service_id
     FROM error_windows
     WHERE service_id > %(after)s
     ORDER BY service_id
     LIMIT 1)
    UNION ALL
    SELECT (SELECT kept.service_id
            FROM error_windows AS kept
            WHERE kept.service_id > service.service_id
            ORDER BY kept.service_id
            LIMIT 1)
    FROM service
    WHERE service.service_id IS NOT NULL
),
page AS (
    SELECT service_id FROM service WHERE service_id IS NOT NULL LIMIT %(limit)s
)
SELECT page.service_id, newest.service_last AS last_seen, newest.verdict::text,
       open.incidents AS open_incidents, open.severity::text
FROM page
CROSS JOIN LATERAL (
    SELECT service_last, verdict
    FROM error_windows
    WHERE service_id = page.service_id
    ORDER BY window_start DESC
    LIMIT 1
) AS newest
CROSS JOIN LATERAL (
    SELECT count(*) AS incidents, max(severity) AS severity
    FROM incidents
    WHERE service_id = page.service_id AND status <> 'RESOLVED' AND deleted_at IS NULL
) AS open
ORDER BY page.service_id;
