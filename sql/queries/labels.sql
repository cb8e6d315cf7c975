-- name: find_incidents
-- A range, which the primary key finds: "g" comes after every digit of an id.
SELECT id FROM incidents
WHERE id >= %(prefix)s AND id < %(prefix)s || 'g' AND deleted_at IS NULL
LIMIT 2;

-- name: lock_incident
-- Nobody deletes it before the label is there.
SELECT id FROM incidents WHERE id = %(id)s AND deleted_at IS NULL FOR SHARE;

-- name: upsert_label
INSERT INTO incident_labels (incident_id, is_true, note, labelled_by)
VALUES (%(incident_id)s, %(is_true)s, %(note)s, %(labelled_by)s)
ON CONFLICT (incident_id) DO UPDATE
SET is_true = excluded.is_true, note = excluded.note, labelled_by = excluded.labelled_by,
    labelled_at = clock_timestamp()
RETURNING incident_id, is_true, note, labelled_at, labelled_by;

-- name: delete_label
DELETE FROM incident_labels
WHERE incident_id = %(incident_id)s
RETURNING incident_id, is_true, note, labelled_at, labelled_by;

-- name: select_label
SELECT label.incident_id, label.is_true, label.note, label.labelled_at, label.labelled_by
FROM incident_labels AS label
JOIN incidents AS incident ON incident.id = label.incident_id
WHERE label.incident_id = %(incident_id)s AND incident.deleted_at IS NULL;

-- name: insert_missed
INSERT INTO missed_incidents (service_id, started_at, ended_at, note, labelled_by)
VALUES (%(service_id)s, %(started_at)s, %(ended_at)s, %(note)s, %(labelled_by)s)
RETURNING id, service_id, started_at, ended_at, note, labelled_at, labelled_by;

-- name: delete_missed
DELETE FROM missed_incidents
WHERE id = %(id)s
RETURNING id, service_id, started_at, ended_at, note, labelled_at, labelled_by;

-- name: select_known_service
SELECT EXISTS (SELECT FROM error_windows WHERE service_id = %(service_id)s);

-- name: select_labels
-- All labels, newest first. An incident lasts to the end of its newest abnormal window; one that
-- a person opened until it was resolved, or until now. It may have been told before its first
-- window began, where a service's clock is ahead.
SELECT incident.id AS incident_id, NULL::bigint AS missed_id, incident.service_id,
       incident.kind::text, label.is_true,
       least(incident.first_window, incident.opened_at) AS started_at,
       greatest(incident.opened_at, incident.confirmed_at,
                coalesce(incident.hot_window + INTERVAL '1 minute', incident.resolved_at,
                         clock_timestamp())) AS ended_at,
       label.note, label.labelled_at, label.labelled_by
FROM incident_labels AS label
JOIN incidents AS incident ON incident.id = label.incident_id
WHERE incident.deleted_at IS NULL
UNION ALL
SELECT NULL, id, service_id, 'errors', NULL, started_at, ended_at, note, labelled_at, labelled_by
FROM missed_incidents
ORDER BY started_at DESC, service_id, incident_id, missed_id;
