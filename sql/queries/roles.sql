-- name: select_role
SELECT FROM pg_roles WHERE rolname = %(role)s;

-- name: select_role_settings
SELECT rolname::text, setting
FROM pg_db_role_setting
JOIN pg_roles ON pg_roles.oid = setrole
CROSS JOIN unnest(setconfig) AS setting
WHERE setdatabase = 0 AND rolname = ANY(%(roles)s);
