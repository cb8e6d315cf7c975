-- name: select_now_ms
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint;

-- name: select_lines
SELECT incarnation, partition, "offset", topic, arrival, reason, key, octet_length(raw),
       redrive_begun_at, redriven_at, redriven_by, redriven_partition, redriven_offset
FROM dead_letters
WHERE (%(reason)s::text IS NULL OR strpos(lower(reason), lower(%(reason)s)) > 0)
  AND (%(key)s::bytea IS NULL OR key = %(key)s)
  AND (%(since)s::timestamptz IS NULL OR arrival >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR arrival < %(until)s)
ORDER BY arrival DESC, incarnation DESC, partition DESC, "offset" DESC
LIMIT %(limit)s;

-- name: select_summary
SELECT reason, count(*), count(redriven_at), min(arrival), max(arrival)
FROM dead_letters
WHERE (%(reason)s::text IS NULL OR strpos(lower(reason), lower(%(reason)s)) > 0)
  AND (%(key)s::bytea IS NULL OR key = %(key)s)
  AND (%(since)s::timestamptz IS NULL OR arrival >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR arrival < %(until)s)
GROUP BY reason
ORDER BY count(*) DESC, reason
LIMIT %(limit)s;

-- name: count_letters
SELECT count(*), count(DISTINCT reason)
FROM dead_letters
WHERE (%(reason)s::text IS NULL OR strpos(lower(reason), lower(%(reason)s)) > 0)
  AND (%(key)s::bytea IS NULL OR key = %(key)s)
  AND (%(since)s::timestamptz IS NULL OR arrival >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR arrival < %(until)s);

-- name: select_letters
SELECT letter.incarnation, letter.partition, letter."offset", topic, arrival, reason, key,
       octet_length(raw), redrive_begun_at, redriven_at, redriven_by, redriven_partition,
       redriven_offset, raw, corrected
FROM unnest(%(incarnations)s::integer[], %(partitions)s::integer[], %(offsets)s::bigint[])
     WITH ORDINALITY AS wanted (incarnation, partition, "offset", place)
JOIN dead_letters AS letter USING (incarnation, partition, "offset")
ORDER BY place;

-- name: select_unsent
-- A record that is longer than the contract allows is refused whatever it says.
SELECT incarnation, partition, "offset", topic, arrival, reason, key, octet_length(raw),
       redrive_begun_at, redriven_at, redriven_by, redriven_partition, redriven_offset,
       substr(raw, 1, %(bytes)s), corrected
FROM dead_letters
WHERE redriven_at IS NULL
  AND (%(reason)s::text IS NULL OR strpos(lower(reason), lower(%(reason)s)) > 0)
ORDER BY incarnation, partition, "offset";

-- name: count_unsent
SELECT count(*)
FROM dead_letters
WHERE redriven_at IS NULL
  AND (%(reason)s::text IS NULL OR strpos(lower(reason), lower(%(reason)s)) > 0);

-- name: notice_lost_clients
SELECT set_config('tcp_keepalives_idle', '5', false),
       set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '3', false);

-- name: try_redrive_lock
SELECT pg_try_advisory_lock(hashtext('tocsin redrive'), 0);

-- name: claim_letters
-- What is in doubt may be sent again only while the flow still drops the repetition of its id.
UPDATE dead_letters AS letter
SET redrive_begun_at = CASE WHEN %(even_late)s THEN clock_timestamp()
                            ELSE coalesce(redrive_begun_at, clock_timestamp()) END,
    corrected = given.corrected
FROM unnest(%(incarnations)s::integer[], %(partitions)s::integer[], %(offsets)s::bigint[],
            %(corrected)s::bytea[]) AS given (incarnation, partition, "offset", corrected)
WHERE (letter.incarnation, letter.partition, letter."offset")
    = (given.incarnation, given.partition, given."offset")
  AND redriven_at IS NULL
  AND (redrive_begun_at IS NULL OR %(even_late)s
       OR redrive_begun_at > clock_timestamp() - make_interval(secs => %(resend_s)s))
RETURNING letter.incarnation, letter.partition, letter."offset";

-- name: release_letters
UPDATE dead_letters AS letter
SET redrive_begun_at = NULL, corrected = NULL
FROM unnest(%(incarnations)s::integer[], %(partitions)s::integer[], %(offsets)s::bigint[])
     AS given (incarnation, partition, "offset")
WHERE (letter.incarnation, letter.partition, letter."offset")
    = (given.incarnation, given.partition, given."offset")
  AND redriven_at IS NULL;

-- name: mark_redriven
UPDATE dead_letters AS letter
SET redriven_at = clock_timestamp(), redriven_by = %(redriven_by)s,
    redriven_partition = given.to_partition, redriven_offset = given.to_offset
FROM unnest(%(incarnations)s::integer[], %(partitions)s::integer[], %(offsets)s::bigint[],
            %(to_partitions)s::integer[], %(to_offsets)s::bigint[])
     AS given (incarnation, partition, "offset", to_partition, to_offset)
WHERE (letter.incarnation, letter.partition, letter."offset")
    = (given.incarnation, given.partition, given."offset")
  AND redriven_at IS NULL
RETURNING letter.incarnation, letter.partition, letter."offset", letter.corrected IS NOT NULL;

-- name: select_stored_again
-- A letter in doubt that is among the logs was sent.
SELECT DISTINCT ON (place) place - 1, logs.partition, logs."offset"
FROM unnest(%(service_ids)s::text[], %(timestamps)s::timestamptz[], %(ids)s::text[],
            %(begun_at)s::timestamptz[])
     WITH ORDINALITY AS sent (service_id, timestamp, id, begun_at, place)
JOIN logs ON logs.service_id = sent.service_id AND logs.timestamp = sent.timestamp
         AND logs.id = sent.id AND (logs.id LIKE 'redrive-%%' OR logs.arrival >= sent.begun_at)
ORDER BY place, logs.incarnation DESC, logs.partition, logs."offset";
