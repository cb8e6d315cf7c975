-- name: delete_expired
DELETE FROM sessions
WHERE id IN (
    SELECT id FROM sessions WHERE expires_at <= now()
    ORDER BY expires_at LIMIT 100 FOR UPDATE SKIP LOCKED
);

-- name: insert_session
-- With the password that was checked: a change of it meanwhile ends this login, too.
INSERT INTO sessions (user_id, refresh_hash, expires_at)
SELECT id, %(refresh_hash)s, clock_timestamp() + make_interval(secs => %(ttl_s)s)
FROM users
WHERE id = %(user_id)s AND password_hash = %(password_hash)s
FOR SHARE
RETURNING id, user_id, expires_at;

-- name: delete_surplus
DELETE FROM sessions
WHERE id IN (
    SELECT id FROM sessions WHERE user_id = %(user_id)s
    ORDER BY created_at DESC OFFSET %(most)s FOR UPDATE SKIP LOCKED
);

-- name: select_session
SELECT sessions.id, sessions.user_id, users.email, users.role
FROM sessions
JOIN users ON users.id = sessions.user_id
WHERE sessions.id = %(id)s AND sessions.expires_at > now();

-- name: lock_session
SELECT sessions.id, sessions.user_id, users.email, sessions.refresh_hash, sessions.expires_at
FROM sessions
JOIN users ON users.id = sessions.user_id
WHERE sessions.id = %(id)s AND sessions.expires_at > now()
FOR UPDATE OF sessions;

-- name: update_session
UPDATE sessions SET refresh_hash = %(refresh_hash)s, refreshed_at = clock_timestamp()
WHERE id = %(id)s;

-- name: delete_session
DELETE FROM sessions WHERE id = %(id)s RETURNING id;

-- name: delete_sessions_of
DELETE FROM sessions WHERE user_id = %(user_id)s;
