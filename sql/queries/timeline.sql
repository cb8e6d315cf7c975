-- name: listen_timeline
LISTEN incident_events;

-- name: lock_outbox
SELECT pg_try_advisory_xact_lock(hashtext('tocsin incident outbox'));

-- name: select_unpublished
SELECT event.seq, event.incident_id, event.moment, event.at, event.actor, event.severity::text,
       event.status::text, event.assignee, event.window_start, event.count, event.z, event.note,
       incident.service_id, incident.kind::text, incident.title,
       EXISTS (SELECT FROM incident_events AS told WHERE told.incident_id = event.incident_id
                  AND told.moment = 'confirmed' AND told.seq <= event.seq) AS confirmed
FROM incident_events AS event
JOIN incidents AS incident ON incident.id = event.incident_id
WHERE event.published_at IS NULL
ORDER BY event.seq
LIMIT %(limit)s;

-- name: mark_published
UPDATE incident_events SET published_at = clock_timestamp() WHERE seq = ANY(%(seqs)s);

-- name: select_without_evidence
-- Incidents that changed since their lines were kept, once the logs are stored at least as far as
-- the detection had come.
SELECT id
FROM incidents
WHERE (evidence_at IS NULL OR evidence_at < updated_at)
  AND updated_at < (SELECT min(moved_at) FROM positions WHERE stage = 'detection')
  AND NOT EXISTS (
      SELECT FROM positions AS counted
      LEFT JOIN positions AS stored
          ON stored.stage = 'logs' AND stored.incarnation = counted.incarnation
         AND stored.partition = counted.partition
      WHERE counted.stage = 'detection'
        AND coalesce(stored.next_offset, 0) < counted.next_offset
  )
LIMIT %(limit)s;

-- name: keep_evidence
WITH incident AS (
    SELECT id, service_id, first_window,
           CASE WHEN kind = 'manual' THEN coalesce(resolved_at, 'infinity')
                ELSE coalesce(resolved_window, hot_window) + INTERVAL '1 minute' END AS ends
    FROM incidents WHERE id = %(id)s
),
lines AS (
    SELECT logs.*, incident.id AS incident_id
    FROM incident
    JOIN logs ON logs.service_id = incident.service_id
         AND logs.timestamp >= incident.first_window AND logs.timestamp < incident.ends
    WHERE logs.level >= 'ERROR'
),
chosen AS (
    (SELECT * FROM lines ORDER BY timestamp, incarnation, partition, "offset" LIMIT %(lines)s)
    UNION
    (SELECT * FROM lines ORDER BY timestamp DESC, incarnation DESC, partition DESC, "offset" DESC
     LIMIT %(lines)s)
)
INSERT INTO incident_evidence (
    incident_id, timestamp, level, message, metadata, id, arrival, incarnation, partition, "offset")
SELECT incident_id, timestamp, level, message, metadata, id, arrival, incarnation, partition,
       "offset"
FROM chosen
ON CONFLICT DO NOTHING;

-- name: trim_evidence
-- Of all that was ever kept, not of the logs alone: retention may have removed the first of them.
DELETE FROM incident_evidence
USING (
    SELECT ctid AS line,
           row_number() OVER ascending AS from_first, row_number() OVER descending AS from_last
    FROM incident_evidence
    WHERE incident_id = %(id)s
    WINDOW ascending AS (ORDER BY timestamp, incarnation, partition, "offset"),
           descending AS (
               ORDER BY timestamp DESC, incarnation DESC, partition DESC, "offset" DESC)
) AS kept
WHERE incident_evidence.incident_id = %(id)s AND incident_evidence.ctid = kept.line
  AND from_first > %(lines)s AND from_last > %(lines)s;

-- name: mark_evidence
UPDATE incidents SET evidence_at = clock_timestamp() WHERE id = %(id)s;

-- name: tell_confirmation
-- Of an incident that was confirmed while a person had it resolved, now that it is open again.
INSERT INTO incident_events (
    incident_id, moment, at, severity, status, assignee, window_start, count, z)
SELECT incident.id, 'confirmed', confirmed_at, incident.severity, status, assignee,
       confirmed_window, errors, greatest(judged.z, judged.guarded_z)
FROM incidents AS incident
LEFT JOIN error_windows AS judged
    ON judged.service_id = incident.service_id AND judged.window_start = confirmed_window
WHERE incident.id = %(incident_id)s AND status <> 'RESOLVED' AND confirmed_at IS NOT NULL
  AND kind <> 'manual'
ON CONFLICT (incident_id, moment) WHERE actor IS NULL AND moment <> 'reopened' DO NOTHING;
