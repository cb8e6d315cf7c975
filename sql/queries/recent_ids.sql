-- name: select_recent_ids
-- Only a record that came more than a week late is looked for in vain.
SELECT service_id, id, arrival_ms
FROM (
    SELECT service_id, id, (extract(epoch FROM arrival) * 1000)::bigint AS arrival_ms, arrival,
           incarnation, "offset"
    FROM logs
    WHERE id IS NOT NULL
      AND partition = %(partition)s
      AND (incarnation, "offset") < (%(incarnation)s, %(offset)s)
      AND arrival >= to_timestamp(%(arrival_ms)s / 1000.0) - %(span)s
      AND timestamp >= to_timestamp(%(arrival_ms)s / 1000.0) - INTERVAL '7 days'
    ORDER BY arrival DESC, incarnation DESC, "offset" DESC
    LIMIT %(most)s::bigint
) AS newest
ORDER BY arrival, incarnation, "offset";
