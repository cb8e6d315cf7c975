-- name: lock_migrations
SELECT pg_advisory_xact_lock(hashtext('tocsin migrate'));

-- name: select_extension
SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb';

-- name: create_extension
CREATE EXTENSION IF NOT EXISTS timescaledb;

-- name: select_license
SELECT current_setting('timescaledb.license', true);

-- name: create_migrations
CREATE TABLE IF NOT EXISTS migrations (
    number     integer PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: select_migrations
SELECT number FROM migrations ORDER BY number;

-- name: insert_migration
INSERT INTO migrations (number, name) VALUES (%(number)s, %(name)s);
