-- Statistics on TimescaleDB's Apache 2 edition: plain views, always true, computed when asked.

CREATE OR REPLACE VIEW logs_per_minute AS
SELECT time_bucket(INTERVAL '1 minute', timestamp) AS minute,
       service_id,
       level,
       count(*) AS records
FROM logs
GROUP BY 1, 2, 3;

CREATE OR REPLACE VIEW logs_per_hour AS
SELECT time_bucket(INTERVAL '1 hour', timestamp) AS hour,
       service_id,
       level,
       count(*) AS records
FROM logs
GROUP BY 1, 2, 3;

CREATE OR REPLACE VIEW logs_per_day AS
SELECT time_bucket(INTERVAL '1 day', timestamp) AS day,
       service_id,
       level,
       count(*) AS records
FROM logs
GROUP BY 1, 2, 3;
