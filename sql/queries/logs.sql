-- name: bound_search
SELECT set_config('statement_timeout', %(timeout_ms)s, true);

-- name: search_logs
-- Newest first. At most so many, and so many bytes; found: how many there are up to the limit.
WITH found AS (
    SELECT timestamp, service_id, level, message, metadata, id, arrival, incarnation, partition,
           "offset"
    FROM logs
    WHERE timestamp >= %(since)s AND timestamp < %(until)s
      AND (%(last_timestamp)s::timestamptz IS NULL OR (
               timestamp <= %(last_timestamp)s
               AND (timestamp, incarnation, partition, "offset")
                 < (%(last_timestamp)s, %(last_incarnation)s, %(last_partition)s, %(last_offset)s)))
      AND (%(levels)s::log_level[] IS NULL OR level = ANY(%(levels)s::log_level[]))
      AND (%(text)s::text IS NULL OR strpos(lower(message), lower(%(text)s)) > 0)
      AND (%(metadata)s::jsonb[] IS NULL OR metadata @> ANY(%(metadata)s::jsonb[]))
    ORDER BY timestamp DESC, incarnation DESC, partition DESC, "offset" DESC
    LIMIT %(limit)s
),
sized AS (
    SELECT *, count(*) OVER () AS found,
           sum(octet_length(message) + coalesce(octet_length(metadata::text), 0)) OVER (
               ORDER BY timestamp DESC, incarnation DESC, partition DESC, "offset" DESC) AS bytes,
           row_number() OVER (
               ORDER BY timestamp DESC, incarnation DESC, partition DESC, "offset" DESC) AS place
    FROM found
)
SELECT timestamp, service_id, level, message, metadata, id, arrival, incarnation, partition,
       "offset", found
FROM sized
WHERE place = 1 OR bytes <= %(bytes)s
ORDER BY place;

-- name: search_logs_of_services
-- The same of some services: of each its newest, by its index, and of those the newest.
WITH found AS (
    SELECT line.*
    FROM unnest(%(services)s::text[]) AS service
    CROSS JOIN LATERAL (
        SELECT timestamp, service_id, level, message, metadata, id, arrival, incarnation,
               partition, "offset"
        FROM logs
        WHERE service_id = service
          AND timestamp >= %(since)s AND timestamp < %(until)s
          AND (%(last_timestamp)s::timestamptz IS NULL OR (
                   timestamp <= %(last_timestamp)s
                   AND (timestamp, incarnation, partition, "offset")
                     < (%(last_timestamp)s, %(last_incarnation)s, %(last_partition)s,
                        %(last_offset)s)))
          AND (%(levels)s::log_level[] IS NULL OR level = ANY(%(levels)s::log_level[]))
          AND (%(text)s::text IS NULL OR strpos(lower(message), lower(%(text)s)) > 0)
          AND (%(metadata)s::jsonb[] IS NULL OR metadata @> ANY(%(metadata)s::jsonb[]))
        ORDER BY timestamp DESC, incarnation DESC, partition DESC, "offset" DESC
        LIMIT %(limit)s
    ) AS line
    ORDER BY timestamp DESC, incarnation DESC, partition DESC, "offset" DESC
    LIMIT %(limit)s
),
sized AS (
    SELECT *, count(*) OVER () AS found,
           sum(octet_length(message) + coalesce(octet_length(metadata::text), 0)) OVER (
               ORDER BY timestamp DESC, incarnation DESC, partition DESC, "offset" DESC) AS bytes,
           row_number() OVER (
               ORDER BY timestamp DESC, incarnation DESC, partition DESC, "offset" DESC) AS place
    FROM found
)
SELECT timestamp, service_id, level, message, metadata, id, arrival, incarnation, partition,
       "offset", found
FROM sized
WHERE place = 1 OR bytes <= %(bytes)s
ORDER BY place;
