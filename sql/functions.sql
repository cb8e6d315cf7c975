-- Functions for analysts, made anew by every `tocsin migrate`. One whose result changes its columns
-- is dropped by a migration first: CREATE OR REPLACE can't do that.
--
-- Applied twice: with the search path `public, pg_temp`, and in the schema of those who may see some
-- services only with `scoped, public, pg_temp`. Each function keeps the one that it was made with,
-- and runs with the rights of whoever calls it.

CREATE OR REPLACE FUNCTION service_matches(service text, pattern text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path FROM CURRENT AS $$
BEGIN
    RETURN service ~ (
        SELECT '^' || coalesce(string_agg(
            CASE
                WHEN token = '*' THEN '.*'
                WHEN token = '?' THEN '.'
                WHEN token ~ '^\[.+\]$' THEN
                    CASE WHEN token LIKE '[!%' THEN '[^' ELSE '[' END
                    || regexp_replace(substr(token, CASE WHEN token LIKE '[!%' THEN 3 ELSE 2 END,
                                             length(token) - CASE WHEN token LIKE '[!%' THEN 3
                                                                  ELSE 2 END),
                                      '([^[:alnum:]-])', '\\\1', 'g')
                    || ']'
                ELSE regexp_replace(token, '([^[:alnum:]])', '\\\1')
            END, '' ORDER BY place), '') || '$'
        FROM regexp_matches(pattern, '\[!?\]?[^]]*\]|.', 'g') WITH ORDINALITY AS found (parts, place)
        CROSS JOIN LATERAL (SELECT parts[1] AS token) AS own
    );
EXCEPTION WHEN invalid_regular_expression THEN
    RETURN false;  -- a range that runs backwards, as [z-a], has no characters
END
$$;
COMMENT ON FUNCTION service_matches(text, text) IS
    'Whether a service''s id matches a pattern of the detection settings: * any characters, ? any one, [a-z] one of these, [!a-z] none of these.';

CREATE OR REPLACE FUNCTION detection_numbers(service text, version integer) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
    SELECT '{"threshold_sigma": 3, "critical_sigma": 5, "minimum_count": 5, "baseline_windows": 30,
             "minimum_baseline_windows": 5, "breach_lift": 1.5, "guarded_lookback_windows": 151,
             "unknown_gap_windows": 5, "unknown_records_per_window": 3}'::jsonb
        || coalesce(document -> 'settings', '{}')
        || coalesce((SELECT override -> 'settings'
                     FROM jsonb_array_elements(document -> 'overrides')
                          WITH ORDINALITY AS given (override, place)
                     WHERE service_matches(detection_numbers.service, override ->> 'services')
                     ORDER BY place LIMIT 1), '{}')
    FROM detection_settings
    WHERE detection_settings.version = detection_numbers.version
$$;
COMMENT ON FUNCTION detection_numbers(text, integer) IS
    'The numbers by which a version of the detection settings judges a service: what it changes, and of the others those that a decision is explained with.';

CREATE OR REPLACE FUNCTION incident_logs(id text)
RETURNS TABLE (
    "timestamp" timestamptz, service_id text, level log_level, message text, metadata jsonb,
    record_id text, arrival timestamptz, incarnation smallint, partition integer, "offset" bigint)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH incident AS MATERIALIZED (
        SELECT incidents.service_id, first_window,
               CASE WHEN resolved_window IS NOT NULL THEN resolved_window + INTERVAL '1 minute'
                    WHEN status = 'RESOLVED' THEN coalesce(resolved_at, 'infinity')
                    ELSE 'infinity' END AS ends
        FROM incidents
        WHERE incidents.id = $1
    ),
    -- Compared with what is looked up before, not joined: so other chunks are not opened.
    found AS (
        SELECT logs.*
        FROM logs
        WHERE logs.service_id = (SELECT incident.service_id FROM incident)
          AND logs.timestamp >= (SELECT first_window FROM incident)
          AND logs.timestamp < (SELECT ends FROM incident)
          AND logs.level IN ('ERROR', 'FATAL')
    )
    SELECT found.timestamp, found.service_id, found.level, found.message, found.metadata, found.id,
           found.arrival, found.incarnation, found.partition, found."offset"
    FROM found
    UNION ALL
    SELECT kept.timestamp, incident.service_id, kept.level, kept.message, kept.metadata, kept.id,
           kept.arrival, kept.incarnation, kept.partition, kept."offset"
    FROM incident
    JOIN incident_evidence AS kept ON kept.incident_id = $1
         AND kept.timestamp >= incident.first_window AND kept.timestamp < incident.ends
    WHERE (kept.incarnation, kept.partition, kept."offset") NOT IN (
        SELECT found.incarnation, found.partition, found."offset" FROM found)
    ORDER BY 1, 8, 9, 10
$$;
COMMENT ON FUNCTION incident_logs(text) IS
    'The ERROR and FATAL records of an incident, oldest first; where retention has removed them, those that are kept with it.';

CREATE OR REPLACE FUNCTION explain_incident(id text)
RETURNS TABLE (
    baseline text, errors bigint, on_time bigint, n integer, sum numeric, squares numeric,
    records numeric, mean double precision, sigma double precision, above numeric, spread numeric,
    z double precision, threshold_sigma numeric, minimum_count integer, holds boolean,
    severity incident_severity, agrees boolean, windows timestamptz[], counts bigint[])
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH numbered AS MATERIALIZED (
        SELECT incidents.*, detection_numbers(service_id, settings_version) AS numbers,
               CASE kind WHEN 'silence' THEN coalesce(confirmed_window, window_start)
                         ELSE window_start END AS judged
        FROM incidents
        WHERE incidents.id = $1 AND kind <> 'manual'
    ),
    incident AS MATERIALIZED (
        SELECT numbered.*, opening.service_first, width, gap,
               coalesce(least(observed, opening.errors), observed) AS on_time,
               greatest(opening.service_first, judged - (width + 1) * INTERVAL '1 minute')
                   AS plain_floor,
               greatest(opening.service_first, judged - lookback * INTERVAL '1 minute')
                   AS guarded_floor
        FROM numbered
        CROSS JOIN LATERAL (
            SELECT (numbers ->> 'baseline_windows')::int AS width,
                   (numbers ->> 'guarded_lookback_windows')::int AS lookback,
                   (numbers ->> 'unknown_gap_windows')::int AS gap) AS own
        -- Unless a service that was forgotten has written the window anew since.
        LEFT JOIN error_windows AS opening
            ON opening.service_id = (SELECT numbered.service_id FROM numbered)
           AND opening.window_start = (SELECT judged FROM numbered)
           AND opening.window_start >= opening.service_first
           AND NOT ((opening.incarnation, opening."offset") > (numbered.incarnation, numbered."offset")
                    AND opening.clock_start < numbered.clock_start)
    ),
    before AS (
        SELECT kept.window_start, kept.errors, kept.total, flagged, "unknown", plain_floor,
               guarded_floor, width, gap,
               count(*) FILTER (WHERE NOT "unknown") OVER (ORDER BY kept.window_start DESC)
                   AS spoken
        FROM incident
        JOIN error_windows AS kept ON kept.service_first = incident.service_first
        WHERE kept.service_id = (SELECT incident.service_id FROM incident)
          AND kept.window_start >= (SELECT least(plain_floor, guarded_floor) FROM incident)
          AND kept.window_start < (SELECT judged - INTERVAL '1 minute' FROM incident)
    ),
    -- A gap that was too short when the window opened was no silence yet.
    learned AS (
        SELECT *, row_number() OVER (ORDER BY window_start DESC) AS place
        FROM before
        WHERE window_start >= guarded_floor AND NOT flagged
          AND (NOT "unknown"
               OR spoken = 0 AND gap > (SELECT count(*) FROM before WHERE spoken = 0))
    ),
    plain AS (
        SELECT count(*)::int AS n, coalesce(sum(errors), 0) AS sum,
               coalesce(sum(errors::numeric * errors), 0) AS squares,
               array_agg(window_start ORDER BY window_start) AS windows,
               array_agg(errors ORDER BY window_start) AS counts
        FROM before
        WHERE window_start >= plain_floor
    ),
    guarded AS (
        SELECT count(*)::int AS n, coalesce(sum(errors), 0) AS sum,
               coalesce(sum(errors::numeric * errors), 0) AS squares,
               coalesce(sum(total), 0) AS records,
               array_agg(window_start ORDER BY window_start) AS windows,
               array_agg(errors ORDER BY window_start) AS counts
        FROM learned
        WHERE place <= width
    ),
    -- The sums as they are recomputed, or as they are stored where the windows no longer tell them.
    sums AS (
        SELECT 'plain' AS baseline, incident.on_time, baseline_windows AS stored_n,
               baseline_errors AS stored_sum, baseline_squares AS stored_squares,
               NULL::numeric AS records, incident.z AS stored_z,
               plain.n = extract(epoch FROM judged - INTERVAL '1 minute' - plain_floor) / 60
                   AS is_told,
               plain.n, plain.sum, plain.squares, windows, counts
        FROM incident, plain
        UNION ALL
        SELECT 'guarded', incident.on_time, guarded_windows, guarded_errors, guarded_squares,
               guarded_records, guarded_z,
               (guarded.n, guarded.sum, guarded.squares, guarded.records)
                   = (guarded_windows, guarded_errors, guarded_squares, guarded_records),
               guarded.n, guarded.sum, guarded.squares, windows, counts
        FROM incident, guarded
        WHERE guarded_windows IS NOT NULL
    ),
    chosen AS (
        SELECT sums.*, incident.kind, incident.observed, incident.numbers,
               CASE WHEN is_told THEN sums.n ELSE stored_n END AS own_n,
               CASE WHEN is_told THEN sums.sum ELSE stored_sum END AS own_sum,
               CASE WHEN is_told THEN sums.squares ELSE stored_squares END AS own_squares
        FROM sums, incident
    ),
    scored AS (
        SELECT chosen.*, own_n * observed - own_sum AS above,
               CASE chosen.baseline
                   WHEN 'plain' THEN own_n * own_squares - own_sum * own_sum
                   ELSE greatest(own_n * own_squares - own_sum * own_sum, own_n * own_sum)
               END AS spread
        FROM chosen
    ),
    judged AS (
        SELECT scored.*,
               CASE WHEN own_n = 0 THEN NULL
                    WHEN spread > 0 THEN above::float8 / sqrt(spread::float8)
                    WHEN above > 0 THEN 999 ELSE 0 END AS z,
               CASE baseline WHEN 'plain' THEN observed ELSE on_time END AS tested,
               (numbers ->> 'threshold_sigma')::numeric AS threshold,
               (numbers ->> 'critical_sigma')::numeric AS critical
        FROM scored
    ),
    tested AS (
        SELECT judged.*, own_n * judged.tested - own_sum AS tested_above,
               CASE kind
                   WHEN 'silence' THEN
                       baseline = 'guarded' AND own_n > 0
                       AND records >= (numbers ->> 'unknown_records_per_window')::int * own_n
                   ELSE
                       own_n >= (numbers ->> 'minimum_baseline_windows')::int
                       AND judged.tested > (numbers ->> 'minimum_count')::int
                       AND own_n * judged.tested > own_sum
                       AND (own_n * judged.tested - own_sum) ^ 2 > threshold ^ 2 * spread
                       AND (baseline = 'plain'
                            OR own_n * judged.tested >= (numbers ->> 'breach_lift')::numeric * own_sum)
               END AS holds
        FROM judged
    )
    SELECT baseline, observed, on_time, own_n, own_sum, own_squares, records,
           own_sum::float8 / nullif(own_n, 0), sqrt(spread::float8) / nullif(own_n, 0),
           above, spread, z,
           CASE WHEN kind <> 'silence' THEN threshold END,
           CASE WHEN kind <> 'silence' THEN (numbers ->> 'minimum_count')::int END,
           holds,
           CASE WHEN holds AND kind <> 'silence' THEN
               CASE WHEN tested_above ^ 2 > critical ^ 2 * spread THEN 'CRITICAL'
                    ELSE 'HIGH' END::incident_severity END,
           CASE WHEN (stored_n, stored_sum, stored_squares) <> (own_n, own_sum, own_squares) THEN false
                WHEN kind <> 'silence' AND stored_z IS DISTINCT FROM z THEN false
                WHEN is_told THEN true END,
           CASE WHEN is_told THEN coalesce(windows, '{}') END,
           CASE WHEN is_told THEN coalesce(counts, '{}') END
    FROM tested
    ORDER BY baseline DESC
$$;
COMMENT ON FUNCTION explain_incident(text) IS
    'The arithmetic of an incident, a row for each baseline that judged it (plain; guarded): its n windows with their sums, z of the errors, whether the test holds, and whether all agrees with what is stored (null where the windows are gone or were frozen).';

CREATE OR REPLACE FUNCTION error_rate(
    service text, since timestamptz, until timestamptz, step interval)
RETURNS TABLE (start timestamptz, records bigint, errors bigint, rate double precision)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
DECLARE
    width CONSTANT numeric := extract(epoch FROM step);
    most CONSTANT integer := 1000000;
    unit text;
BEGIN
    IF width < 60 OR width % 60 <> 0 THEN
        RAISE EXCEPTION 'error_rate: a step of % is no number of whole minutes', step
            USING HINT = 'The finest counts are those of a minute: INTERVAL ''1 minute''.',
                  ERRCODE = 'invalid_parameter_value';
    END IF;
    IF extract(epoch FROM until) - extract(epoch FROM since) > most * width THEN
        RAISE EXCEPTION 'error_rate: from % to % are more than % steps of %', since, until, most, step
            USING HINT = 'Give a longer step, or a shorter time.',
                  ERRCODE = 'invalid_parameter_value';
    END IF;
    IF since >= until THEN
        RETURN;
    END IF;
    -- The coarsest counts that steps and borders are made of.
    unit := CASE
        WHEN width % 86400 = 0 AND time_bucket('1 day', since) = since
             AND time_bucket('1 day', until) = until THEN 'day'
        WHEN width % 3600 = 0 AND time_bucket('1 hour', since) = since
             AND time_bucket('1 hour', until) = until THEN 'hour'
        ELSE 'minute'
    END;
    RETURN QUERY
    WITH kept AS (
        SELECT minute AS at, level, counts.records FROM logs_per_minute AS counts
        WHERE unit = 'minute' AND service_id = service AND minute >= since AND minute < until
        UNION ALL
        SELECT hour, level, counts.records FROM logs_per_hour AS counts
        WHERE unit = 'hour' AND service_id = service AND hour >= since AND hour < until
        UNION ALL
        SELECT day, level, counts.records FROM logs_per_day AS counts
        WHERE unit = 'day' AND service_id = service AND day >= since AND day < until
    ),
    counted AS (
        SELECT time_bucket(step, at) AS start, sum(kept.records)::bigint AS records,
               coalesce(sum(kept.records) FILTER (WHERE level >= 'ERROR'), 0)::bigint AS errors
        FROM kept
        GROUP BY 1
    )
    SELECT at, coalesce(counted.records, 0), coalesce(counted.errors, 0),
           counted.errors::float8 / counted.records
    FROM generate_series(time_bucket(step, since), until - INTERVAL '1 microsecond', step) AS at
    LEFT JOIN counted ON counted.start = at
    ORDER BY at;
END
$$;
COMMENT ON FUNCTION error_rate(text, timestamptz, timestamptz, interval) IS
    'Records, errors and their share in every step of a service''s time, also in those without records, whose rate is null; from the coarsest counts that fit, so steps of whole hours between whole hours are read fastest.';
