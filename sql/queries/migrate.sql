-- name: lock_migrations
SELECT pg_advisory_xact_lock(hashtext('tocsin migrate'));

-- name: bound_waiting
-- For whoever asks what is to be changed would wait behind.
SELECT set_config('lock_timeout', '5s', true);

-- name: create_migrations
CREATE TABLE IF NOT EXISTS migrations (
    number     integer PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: select_migrations
SELECT number FROM migrations ORDER BY number;

-- name: select_history
SELECT number, applied_at FROM migrations ORDER BY number;

-- name: insert_migration
INSERT INTO migrations (number, name) VALUES (%(number)s, %(name)s);

-- name: select_statistics_kinds
-- Whether each of the views is a continuous aggregate.
SELECT view.relname, aggregate.view_name IS NOT NULL AS is_aggregate
FROM pg_class AS view
LEFT JOIN timescaledb_information.continuous_aggregates AS aggregate
    ON aggregate.view_schema = 'public' AND aggregate.view_name = view.relname
WHERE view.relnamespace = 'public'::regnamespace AND view.relkind = 'v'
  AND view.relname IN ('logs_per_minute', 'logs_per_hour', 'logs_per_day');

-- name: drop_plain_views
DROP SCHEMA IF EXISTS scoped CASCADE;
DROP VIEW logs_per_day, logs_per_hour, logs_per_minute;

-- name: set_search_path
SELECT set_config('search_path', %(path)s, true);
