-- name: notice_lost_clients
SELECT set_config('tcp_keepalives_idle', '5', false),
       set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '3', false),
       set_config('idle_session_timeout', '15s', false);

-- name: try_flow_lock
SELECT pg_try_advisory_lock(hashtext('tocsin flow'), hashtext(%(lock)s));

-- name: tell_flow_lives
SELECT;
