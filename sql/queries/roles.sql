-- name: select_role
SELECT FROM pg_roles WHERE rolname = %(role)s;

-- name: select_role_settings
SELECT setting
FROM pg_db_role_setting, unnest(setconfig) AS setting
WHERE setrole = %(role)s::regrole AND setdatabase = 0;
