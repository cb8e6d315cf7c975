-- Statistics on TimescaleDB's Community edition: continuous aggregates, each on top of the finer
-- one, real-time (what is not materialized yet is added when asked).

CREATE MATERIALIZED VIEW IF NOT EXISTS logs_per_minute
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT time_bucket(INTERVAL '1 minute', timestamp) AS minute,
       service_id,
       level,
       count(*) AS records
FROM logs
GROUP BY 1, 2, 3
WITH NO DATA;

CREATE MATERIALIZED VIEW IF NOT EXISTS logs_per_hour
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT time_bucket(INTERVAL '1 hour', minute) AS hour,
       service_id,
       level,
       sum(records)::bigint AS records
FROM logs_per_minute
GROUP BY 1, 2, 3
WITH NO DATA;

CREATE MATERIALIZED VIEW IF NOT EXISTS logs_per_day
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT time_bucket(INTERVAL '1 day', hour) AS day,
       service_id,
       level,
       sum(records)::bigint AS records
FROM logs_per_hour
GROUP BY 1, 2, 3
WITH NO DATA;

SELECT add_continuous_aggregate_policy('logs_per_minute', start_offset => INTERVAL '3 days',
    end_offset => INTERVAL '2 minutes', schedule_interval => INTERVAL '1 minute',
    if_not_exists => true);
SELECT add_continuous_aggregate_policy('logs_per_hour', start_offset => INTERVAL '7 days',
    end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '30 minutes',
    if_not_exists => true);
SELECT add_continuous_aggregate_policy('logs_per_day', start_offset => INTERVAL '30 days',
    end_offset => INTERVAL '1 day', schedule_interval => INTERVAL '6 hours',
    if_not_exists => true);
