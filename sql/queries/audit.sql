-- name: insert_entry
INSERT INTO audit_log (actor, actor_id, action, subject, address, request_id, details)
VALUES (%(actor)s, %(actor_id)s, %(action)s, %(subject)s, %(address)s, %(request_id)s, %(details)s);

-- name: select_entries
SELECT seq, at, actor, actor_id, action, subject, address, request_id, details
FROM audit_log
WHERE seq < %(before)s
  AND (%(action)s::text IS NULL OR action = %(action)s)
ORDER BY seq DESC
LIMIT %(limit)s;
