-- name: select_incidents
-- A page, the revision of those on it alone, and with each how many there are in all, unless the
-- page is not full and so the last. They are counted no further than it takes to know that there
-- are more, along an index, which the order asks for: the table itself takes ten times longer.
SELECT page.id, kind, title, service_id, status, severity, observed, decided_by, mean,
       sigma, z, baseline_windows, guarded_mean, guarded_sigma, guarded_z, guarded_windows, peak_z,
       window_start, first_window, confirmed_window, resolved_window,
       resolve_reason, opened_at, confirmed_at, resolved_at, detected_at, detected_late,
       updated_at, settings_version, assignee,
       (SELECT coalesce(max(seq), 0) FROM incident_events WHERE incident_id = page.id) AS revision,
       CASE WHEN %(most)s > 0 AND count(*) OVER () = %(limit)s THEN (
           SELECT count(*)
           FROM (
               SELECT
               FROM incidents
               WHERE (%(service_id)s::text IS NULL OR service_id = %(service_id)s)
                 AND (%(status)s::incident_status IS NULL OR status = %(status)s::incident_status)
                 AND (%(status_not)s::incident_status IS NULL
                      OR status <> %(status_not)s::incident_status)
                 AND (%(severity)s::incident_severity IS NULL
                      OR severity = %(severity)s::incident_severity)
                 AND (%(kind)s::incident_kind IS NULL OR kind = %(kind)s::incident_kind)
                 AND (%(confirmed)s::boolean IS NULL
                      OR (confirmed_at IS NOT NULL) = %(confirmed)s::boolean)
                 AND (%(assignee)s::text IS NULL OR lower(assignee) = lower(%(assignee)s))
                 AND (%(is_assigned)s::boolean IS NULL
                      OR (assignee IS NOT NULL) = %(is_assigned)s::boolean)
                 AND (%(since)s::timestamptz IS NULL OR opened_at >= %(since)s)
                 AND (%(until)s::timestamptz IS NULL OR opened_at < %(until)s)
                 AND deleted_at IS NULL
               ORDER BY opened_at DESC, id DESC
               LIMIT %(most)s
           ) AS found
       ) END AS total
FROM (
    SELECT *
    FROM incidents
    WHERE (%(service_id)s::text IS NULL OR service_id = %(service_id)s)
      AND (%(status)s::incident_status IS NULL OR status = %(status)s::incident_status)
      AND (%(status_not)s::incident_status IS NULL OR status <> %(status_not)s::incident_status)
      AND (%(severity)s::incident_severity IS NULL OR severity = %(severity)s::incident_severity)
      AND (%(kind)s::incident_kind IS NULL OR kind = %(kind)s::incident_kind)
      AND (%(confirmed)s::boolean IS NULL OR (confirmed_at IS NOT NULL) = %(confirmed)s::boolean)
      AND (%(assignee)s::text IS NULL OR lower(assignee) = lower(%(assignee)s))
      AND (%(is_assigned)s::boolean IS NULL OR (assignee IS NOT NULL) = %(is_assigned)s::boolean)
      AND (%(since)s::timestamptz IS NULL OR opened_at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR opened_at < %(until)s)
      AND deleted_at IS NULL
    ORDER BY opened_at DESC, id DESC
    LIMIT %(limit)s OFFSET %(offset)s
) AS page
ORDER BY opened_at DESC, page.id DESC;

-- name: select_incident
SELECT id, kind, title, service_id, status, severity, observed, decided_by, mean, sigma,
       z, baseline_windows, guarded_mean, guarded_sigma, guarded_z, guarded_windows, peak_z,
       window_start, first_window, confirmed_window, resolved_window,
       resolve_reason, opened_at, confirmed_at, resolved_at, detected_at, detected_late,
       updated_at, settings_version, assignee,
       (SELECT coalesce(max(seq), 0) FROM incident_events WHERE incident_id = %(id)s) AS revision
FROM incidents
WHERE id = %(id)s AND deleted_at IS NULL;

-- name: find_incidents
-- A range, which the primary key finds: "g" comes after every digit of an id.
-- The detection's first: what a person opened can't be recomputed.
SELECT id, kind = 'manual' AS by_hand FROM incidents
WHERE id >= %(prefix)s AND id < %(prefix)s || 'g'
ORDER BY by_hand
LIMIT 2;

-- name: count_timeline
SELECT count(*) FROM incident_events WHERE incident_id = %(id)s;

-- name: select_timeline
SELECT event.seq, event.incident_id, event.moment, event.at, event.actor, event.severity::text,
       event.status::text, event.assignee, event.window_start, event.count, event.z, event.note,
       incident.service_id, incident.kind::text, incident.title,
       EXISTS (SELECT FROM incident_events AS told WHERE told.incident_id = event.incident_id
                  AND told.moment = 'confirmed' AND told.seq <= event.seq) AS confirmed
FROM incident_events AS event
JOIN incidents AS incident ON incident.id = event.incident_id
WHERE event.incident_id = %(id)s
ORDER BY event.seq
LIMIT %(limit)s OFFSET %(offset)s;

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

-- name: select_is_lost
-- Retention removes the oldest logs first: whether the oldest line kept is not among them any more.
SELECT NOT EXISTS (
    SELECT FROM logs
    WHERE logs.service_id = incident.service_id AND logs.timestamp = oldest.timestamp
      AND logs.incarnation = oldest.incarnation AND logs.partition = oldest.partition
      AND logs."offset" = oldest."offset"
) AS is_lost
FROM incidents AS incident
JOIN LATERAL (
    SELECT * FROM incident_evidence
    WHERE incident_id = incident.id
    ORDER BY timestamp, incarnation, partition, "offset"
    LIMIT 1
) AS oldest ON true
WHERE incident.id = %(id)s;

-- name: count_evidence
SELECT count(*) FROM incident_evidence WHERE incident_id = %(id)s;

-- name: select_evidence
SELECT line.timestamp, incident.service_id, line.level, line.message, line.metadata, line.id,
       line.arrival
FROM incident_evidence AS line
JOIN incidents AS incident ON incident.id = line.incident_id
WHERE line.incident_id = %(id)s
ORDER BY line.timestamp, line.incarnation, line.partition, line."offset"
LIMIT %(limit)s OFFSET %(offset)s;
