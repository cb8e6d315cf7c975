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
