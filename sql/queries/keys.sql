-- name: insert_key
INSERT INTO ingest_keys (id, name, hash, services)
VALUES (%(id)s, %(name)s, %(hash)s, %(services)s)
RETURNING id, name, services, created_at, last_used_at, revoked_at;

-- name: select_good_key
SELECT id, name, hash, services FROM ingest_keys WHERE id = %(id)s AND revoked_at IS NULL;

-- name: count_keys
SELECT count(*) AS number FROM ingest_keys;

-- name: select_keys
SELECT id, name, services, created_at, last_used_at, revoked_at
FROM ingest_keys
ORDER BY created_at, id
LIMIT %(limit)s OFFSET %(offset)s;

-- name: find_key
-- Of those of one name at most one is good; it comes first.
SELECT id, name, services, created_at, last_used_at, revoked_at
FROM ingest_keys
WHERE id = %(text)s OR name = %(text)s
ORDER BY id = %(text)s DESC, revoked_at DESC NULLS FIRST
LIMIT 1;

-- name: revoke_key
UPDATE ingest_keys SET revoked_at = clock_timestamp()
WHERE id = %(id)s AND revoked_at IS NULL
RETURNING id, name, services, created_at, last_used_at, revoked_at;

-- name: select_key
SELECT id, name, services, created_at, last_used_at, revoked_at
FROM ingest_keys WHERE id = %(id)s;

-- name: update_last_used
-- Other processes write, too: once a minute is enough for all of them.
UPDATE ingest_keys SET last_used_at = used.at
FROM unnest(%(ids)s::text[], %(times)s::timestamptz[]) AS used (id, at)
WHERE ingest_keys.id = used.id
  AND (last_used_at IS NULL OR last_used_at <= used.at - INTERVAL '1 minute');
