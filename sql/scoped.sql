-- For analysts who may see some services only: the same names in a schema of its own, each showing
-- what analyst_services allows whoever asks. TimescaleDB has no row security on hypertables with a
-- columnstore, so these are views; as security barriers they let no function of the asker's look at
-- a row before the service has been checked.

CREATE SCHEMA IF NOT EXISTS scoped;

CREATE OR REPLACE VIEW scoped.my_services WITH (security_barrier) AS
SELECT services,
       replace(replace(replace(replace(services, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%')
           AS pattern
FROM public.analyst_services
JOIN pg_catalog.pg_roles ON rolname = analyst
WHERE pg_has_role(current_user, pg_roles.oid, 'USAGE');

CREATE OR REPLACE VIEW scoped.logs WITH (security_barrier) AS
SELECT * FROM public.logs
WHERE service_id LIKE ANY (ARRAY(SELECT pattern FROM scoped.my_services));

CREATE OR REPLACE VIEW scoped.logs_per_minute WITH (security_barrier) AS
SELECT * FROM public.logs_per_minute
WHERE service_id LIKE ANY (ARRAY(SELECT pattern FROM scoped.my_services));

CREATE OR REPLACE VIEW scoped.logs_per_hour WITH (security_barrier) AS
SELECT * FROM public.logs_per_hour
WHERE service_id LIKE ANY (ARRAY(SELECT pattern FROM scoped.my_services));

CREATE OR REPLACE VIEW scoped.logs_per_day WITH (security_barrier) AS
SELECT * FROM public.logs_per_day
WHERE service_id LIKE ANY (ARRAY(SELECT pattern FROM scoped.my_services));

CREATE OR REPLACE VIEW scoped.error_windows WITH (security_barrier) AS
SELECT * FROM public.error_windows
WHERE service_id LIKE ANY (ARRAY(SELECT pattern FROM scoped.my_services));

CREATE OR REPLACE VIEW scoped.incidents WITH (security_barrier) AS
SELECT * FROM public.incidents
WHERE service_id LIKE ANY (ARRAY(SELECT pattern FROM scoped.my_services));

CREATE OR REPLACE VIEW scoped.incident_events WITH (security_barrier) AS
SELECT * FROM public.incident_events
WHERE incident_id IN (SELECT id FROM scoped.incidents);

CREATE OR REPLACE VIEW scoped.incident_evidence WITH (security_barrier) AS
SELECT * FROM public.incident_evidence
WHERE incident_id IN (SELECT id FROM scoped.incidents);

CREATE OR REPLACE VIEW scoped.incident_labels WITH (security_barrier) AS
SELECT * FROM public.incident_labels
WHERE incident_id IN (SELECT id FROM scoped.incidents);

CREATE OR REPLACE VIEW scoped.missed_incidents WITH (security_barrier) AS
SELECT * FROM public.missed_incidents
WHERE service_id LIKE ANY (ARRAY(SELECT pattern FROM scoped.my_services));

-- By the Kafka key, as its bytes: it need not be text.
CREATE OR REPLACE VIEW scoped.dead_letters WITH (security_barrier) AS
SELECT * FROM public.dead_letters
WHERE key LIKE ANY (ARRAY(SELECT convert_to(pattern, 'UTF8') FROM scoped.my_services));

CREATE OR REPLACE VIEW scoped.detection_settings WITH (security_barrier) AS
SELECT * FROM public.detection_settings;
