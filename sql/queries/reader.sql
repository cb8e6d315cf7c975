-- name: ping
SELECT 1;

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
