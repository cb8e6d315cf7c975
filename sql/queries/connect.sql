-- name: end_session
-- No row where the server has ended it already. The number may be another's by now: the name tells.
SELECT pg_terminate_backend(pid, 5000)
FROM pg_stat_activity
WHERE pid = %(pid)s AND pid <> pg_backend_pid() AND usename = current_user
  AND datname = current_database() AND application_name = current_setting('application_name');
