-- name: select_now_ms
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint;

-- name: select_detection_settings
SELECT version, (extract(epoch FROM effective_from) * 1000)::bigint AS effective_from_ms,
       document::text
FROM detection_settings
WHERE withdrawn_at IS NULL
ORDER BY version;

-- name: select_history
SELECT version, (extract(epoch FROM effective_from) * 1000)::bigint AS effective_from_ms,
       document::text, created_at, created_by, withdrawn_at, withdrawn_by
FROM detection_settings
ORDER BY version;

-- name: bound_transaction
-- A change is committed within 40 s after it has looked at the clock, or never.
SELECT set_config('lock_timeout', '5s', true),
       set_config('statement_timeout', '10s', true),
       set_config('idle_in_transaction_session_timeout', '10s', true);

-- name: lock_detection_settings
LOCK TABLE detection_settings IN EXCLUSIVE MODE;

-- name: insert_detection_settings
INSERT INTO detection_settings (version, effective_from, document, created_by)
VALUES (%(version)s, to_timestamp(%(effective_from_ms)s / 1000.0), %(document)s, %(created_by)s);

-- name: withdraw_detection_settings
UPDATE detection_settings
SET withdrawn_at = clock_timestamp(), withdrawn_by = %(withdrawn_by)s
WHERE version = %(version)s;
