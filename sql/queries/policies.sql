-- name: upsert_retention
-- What the retention so far, or the new one, has dropped or will drop is not whole any more.
INSERT INTO retention AS kept (relation, keep, whole_from)
VALUES (%(relation)s, %(keep)s, now() - %(keep)s::interval)
ON CONFLICT (relation) DO UPDATE SET
    keep = excluded.keep,
    whole_from = greatest(kept.whole_from, now() - kept.keep, excluded.whole_from);

-- name: update_whole_from
UPDATE retention SET whole_from = greatest(whole_from, now() - keep) WHERE keep IS NOT NULL;

-- name: select_whole_days
SELECT floor(extract(epoch FROM now() - whole_from) / 86400)::integer
FROM retention
WHERE relation = 'logs';

-- name: set_chunk_interval
SELECT set_chunk_time_interval(%(relation)s::regclass, %(interval)s::interval)
FROM timescaledb_information.dimensions
WHERE hypertable_schema = 'public' AND hypertable_name = %(relation)s::text
  AND time_interval <> %(interval)s::interval;

-- name: select_jobs
-- The policies of a kind, by relation, with their numbers.
SELECT coalesce(aggregate.view_name, job.hypertable_name) AS relation,
       (config ->> 'drop_after')::interval AS drop_after,
       coalesce(config ->> 'compress_after', config ->> 'columnstore_after')::interval
           AS compress_after,
       (config ->> 'start_offset')::interval AS start_offset,
       (config ->> 'end_offset')::interval AS end_offset,
       schedule_interval,
       (config ->> 'buckets_per_batch')::integer AS buckets_per_batch
FROM timescaledb_information.jobs AS job
LEFT JOIN timescaledb_information.continuous_aggregates AS aggregate
    ON (aggregate.materialization_hypertable_schema, aggregate.materialization_hypertable_name)
     = (job.hypertable_schema, job.hypertable_name)
WHERE proc_name = %(procedure)s
  AND coalesce(aggregate.view_schema, job.hypertable_schema) = 'public';

-- name: remove_retention
SELECT remove_retention_policy(%(relation)s::regclass, if_exists => true);

-- name: add_retention
-- In an hour: what the refreshes under way still look at is not dropped beneath them.
SELECT add_retention_policy(%(relation)s::regclass, drop_after => %(drop_after)s::interval,
                            schedule_interval => INTERVAL '1 hour',
                            initial_start => now() + INTERVAL '1 hour');

-- name: remove_columnstore
CALL remove_columnstore_policy(%(relation)s::regclass, if_exists => true);

-- name: add_columnstore
CALL add_columnstore_policy(%(relation)s::regclass, after => %(compress_after)s::interval);

-- name: remove_refresh
SELECT remove_continuous_aggregate_policy(%(relation)s::regclass, if_exists => true);

-- name: add_refresh
SELECT add_continuous_aggregate_policy(%(relation)s::regclass,
    start_offset => %(start_offset)s::interval, end_offset => %(end_offset)s::interval,
    schedule_interval => %(schedule_interval)s::interval,
    buckets_per_batch => %(buckets_per_batch)s::integer);

-- name: select_without_columnstore
SELECT hypertable_name
FROM timescaledb_information.hypertables
WHERE hypertable_schema = 'public' AND hypertable_name IN ('logs', 'error_windows')
  AND NOT compression_enabled;

-- name: enable_columnstore_logs
ALTER TABLE logs SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'service_id',
                      timescaledb.orderby = 'timestamp DESC');

-- name: enable_columnstore_error_windows
ALTER TABLE error_windows SET (timescaledb.enable_columnstore,
                               timescaledb.segmentby = 'service_id',
                               timescaledb.orderby = 'window_start DESC');
