-- name: select_now_ms
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint;

-- name: select_detection_settings
SELECT version, (extract(epoch FROM effective_from) * 1000)::bigint AS effective_from_ms,
       document::text
FROM detection_settings
ORDER BY version;

-- name: select_authors
SELECT version, created_by FROM detection_settings;

-- name: lock_detection_settings
LOCK TABLE detection_settings IN EXCLUSIVE MODE;

-- name: insert_detection_settings
INSERT INTO detection_settings (version, effective_from, document, created_by)
VALUES (%(version)s, to_timestamp(%(effective_from_ms)s / 1000.0), %(document)s, %(created_by)s);
