-- name: bound_maintenance
-- Chunks are dropped under a lock that readers of old chunks may hold: they are not waited for long,
-- for whoever writes there would wait behind.
SELECT set_config('lock_timeout', '5s', true), set_config('statement_timeout', '10min', true);

-- name: lock_maintenance
SELECT pg_advisory_xact_lock(hashtext('tocsin migrate'));

-- name: select_keep
SELECT relation, keep FROM retention WHERE keep IS NOT NULL;

-- name: drop_old_chunks
SELECT drop_chunks(%(relation)s::regclass, older_than => now() - %(keep)s::interval);

-- name: delete_dead_letters
DELETE FROM dead_letters WHERE arrival < now() - %(keep)s::interval;
