-- What each role may do, no more; applied at each `tocsin migrate`. Whoever adds a table, a view
-- or a function grants here what needs it: nothing is granted to all.

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM tocsin_flow, tocsin_api, analyst, scoped_analyst;
REVOKE ALL ON ALL TABLES IN SCHEMA scoped FROM tocsin_flow, tocsin_api, analyst, scoped_analyst;
-- A database that was made by PostgreSQL 14 lets everybody make tables and functions there.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO tocsin_flow, tocsin_api, analyst, scoped_analyst;
GRANT USAGE ON SCHEMA scoped TO scoped_analyst;

-- The flow: reads the topic into the tables, and publishes the timeline.
GRANT SELECT ON migrations, detection_settings TO tocsin_flow;
GRANT SELECT, INSERT ON topics, logs, dead_letters TO tocsin_flow;
GRANT SELECT, INSERT, UPDATE ON positions, error_windows, incidents TO tocsin_flow;
GRANT SELECT, INSERT, UPDATE (published_at) ON incident_events TO tocsin_flow;
GRANT SELECT, INSERT, DELETE ON incident_evidence TO tocsin_flow;

-- The API: shows everything to people, changes incidents, keeps users, sessions and keys, and runs
-- backtests, in a process of its own that logs in as the same role.
GRANT SELECT ON
    migrations, topics, positions, retention, logs, logs_per_minute, logs_per_hour, logs_per_day,
    error_windows, incident_evidence, detection_settings, dead_letters, missed_incidents
    TO tocsin_api;
GRANT SELECT, INSERT, UPDATE ON incidents, ingest_keys TO tocsin_api;
GRANT SELECT, INSERT ON incident_events, audit_log TO tocsin_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON users, sessions, incident_labels, backtests TO tocsin_api;
GRANT EXECUTE ON FUNCTION lock_backtests() TO tocsin_api;

-- Analysts: everything but people and keys, and what these did.
GRANT SELECT ON
    migrations, topics, positions, retention, logs, logs_per_minute, logs_per_hour, logs_per_day,
    dead_letters, error_windows, incidents, incident_events, incident_evidence, incident_labels,
    missed_incidents, detection_settings
    TO analyst;

-- Analysts of some services.
GRANT SELECT ON migrations TO scoped_analyst;
GRANT SELECT ON
    scoped.my_services, scoped.logs, scoped.logs_per_minute, scoped.logs_per_hour,
    scoped.logs_per_day, scoped.error_windows, scoped.incidents, scoped.incident_events,
    scoped.incident_evidence, scoped.incident_labels, scoped.missed_incidents,
    scoped.dead_letters, scoped.detection_settings
    TO scoped_analyst;

-- What PostgreSQL leaves to everybody, and a superuser alone can take away: locks that the flow,
-- migrations and maintenance would wait for, large objects, which are rows without a table, and
-- TimescaleDB's jobs, which take its workers.
DO $$
DECLARE
    own regprocedure;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RETURN;
    END IF;
    FOR own IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace
              AND (proname ~ '^pg_(try_)?advisory_' OR proname ~ '^(lo_|lowrite)')
           OR pronamespace = 'public'::regnamespace AND proname = 'add_job'
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', own);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO pg_database_owner', own);
        IF own::text LIKE 'pg_%' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO tocsin_flow', own);
        END IF;
    END LOOP;
END
$$;
