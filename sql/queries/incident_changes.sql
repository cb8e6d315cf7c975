-- name: select_assignee
-- Who may act on incidents can be assigned.
SELECT email FROM users WHERE lower(email) = lower(%(email)s) AND role >= 'operator';

-- name: lock_incident
SELECT kind::text, status::text, severity::text, assignee, machine_status::text
FROM incidents
WHERE id = %(id)s AND deleted_at IS NULL
FOR UPDATE;

-- name: select_revision
-- A statement of its own, after the lock: it sees what whoever held the lock has written.
SELECT coalesce(max(seq), 0) FROM incident_events WHERE incident_id = %(id)s;

-- name: insert_manual_incident
-- Confirmed at once: a person has seen it.
INSERT INTO incidents (
    id, service_id, kind, title, status, severity, first_window, opened_at, confirmed_at)
SELECT %(id)s, %(service_id)s, 'manual', %(title)s, 'OPEN', %(severity)s::incident_severity,
       coalesce(%(started_at)s::timestamptz, now), now, now
FROM clock_timestamp() AS now;

-- name: update_status
UPDATE incidents
SET status = %(status)s::incident_status,
    resolved_at = CASE
        WHEN %(status)s::incident_status = 'RESOLVED' THEN coalesce(resolved_at, clock_timestamp())
        WHEN resolved_window IS NOT NULL THEN resolved_at
    END,
    person_resolved_at = CASE
        WHEN %(status)s::incident_status = 'RESOLVED' THEN clock_timestamp()
    END,
    updated_at = clock_timestamp()
WHERE id = %(id)s;

-- name: update_severity
UPDATE incidents
SET severity = %(severity)s::incident_severity, updated_at = clock_timestamp()
WHERE id = %(id)s;

-- name: update_assignee
UPDATE incidents
SET assignee = %(assignee)s, updated_at = clock_timestamp()
WHERE id = %(id)s;

-- name: update_deleted
UPDATE incidents
SET deleted_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE id = %(id)s;

-- name: insert_person_event
-- An entry without an actor is the detection's: a person who is gone is named by their id. Where
-- it came from is for the audit log alone, whose trigger reads it.
INSERT INTO incident_events (incident_id, moment, actor, severity, status, assignee, note)
SELECT id, %(moment)s,
       coalesce((SELECT email FROM users WHERE users.id::text = %(user_id)s), %(user_id)s),
       severity, status, assignee, %(note)s
FROM incidents,
     set_config('tocsin.address', %(address)s, true) AS address,
     set_config('tocsin.request_id', %(request_id)s, true) AS request
WHERE id = %(id)s
RETURNING seq;

-- name: select_entry
SELECT event.seq, event.incident_id, event.moment, event.at, event.actor, event.severity::text,
       event.status::text, event.assignee, event.window_start, event.count, event.z, event.note,
       incident.service_id, incident.kind::text, incident.title,
       EXISTS (SELECT FROM incident_events AS told WHERE told.incident_id = event.incident_id
                  AND told.moment = 'confirmed' AND told.seq <= event.seq) AS confirmed
FROM incident_events AS event
JOIN incidents AS incident ON incident.id = event.incident_id
WHERE event.incident_id = %(id)s AND event.seq = %(seq)s;
