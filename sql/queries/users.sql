-- name: insert_user
INSERT INTO users (email, password_hash, role)
VALUES (%(email)s, %(password_hash)s, %(role)s)
RETURNING id, email, role, created_at, updated_at;

-- name: select_credentials
SELECT id, email, role, password_hash FROM users WHERE lower(email) = lower(%(email)s);

-- name: select_credentials_of
SELECT id, email, role, password_hash FROM users WHERE id = %(id)s;

-- name: count_users
SELECT count(*) AS number FROM users;

-- name: select_users
SELECT id, email, role, created_at, updated_at
FROM users
ORDER BY created_at, id
LIMIT %(limit)s OFFSET %(offset)s;

-- name: select_user
SELECT id, email, role, created_at, updated_at FROM users WHERE id = %(id)s;

-- name: lock_admins
-- In one order, so that two admins who demote each other wait instead of deadlocking.
SELECT id FROM users WHERE role = 'admin' ORDER BY id FOR UPDATE;

-- name: lock_user
SELECT id, email, role, created_at, updated_at FROM users WHERE id = %(id)s FOR UPDATE;

-- name: update_user
UPDATE users
SET email = coalesce(%(email)s, email),
    role = coalesce(%(role)s::user_role, role),
    password_hash = coalesce(%(password_hash)s, password_hash),
    updated_at = clock_timestamp()
WHERE id = %(id)s
RETURNING id, email, role, created_at, updated_at;

-- name: delete_user
DELETE FROM users WHERE id = %(id)s;
