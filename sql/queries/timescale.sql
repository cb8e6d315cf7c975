-- name: select_extension
SELECT default_version, installed_version FROM pg_available_extensions WHERE name = 'timescaledb';

-- name: create_extension
CREATE EXTENSION IF NOT EXISTS timescaledb;

-- name: select_license
SELECT current_setting('timescaledb.license', true);
