-- What every table, view and column means: docs/schema.md is made from these.

-- Migrations and offsets ---------------------------------------------------------------------

COMMENT ON TABLE migrations IS 'Which steps of the schema were applied, each once.';
COMMENT ON COLUMN migrations.number IS 'The step''s number; they are applied in order.';
COMMENT ON COLUMN migrations.name IS 'The step''s name, as in the name of its file.';
COMMENT ON COLUMN migrations.applied_at IS 'When it was applied.';

COMMENT ON TABLE topics IS
    'Every incarnation of the topic: one that was deleted and made again has another topic id, and its offsets start anew.';
COMMENT ON COLUMN topics.incarnation IS 'Counts the incarnations; what is stored of a record names it.';
COMMENT ON COLUMN topics.topic_id IS 'Kafka''s own id of the topic.';
COMMENT ON COLUMN topics.name IS 'The topic''s name.';
COMMENT ON COLUMN topics.first_seen IS 'When a flow first read it.';

COMMENT ON TABLE positions IS
    'How far each stage of the flow has stored each partition; moved in the transaction that stores the rows.';
COMMENT ON COLUMN positions.stage IS 'What has been stored: the records (logs) or the windows and incidents (detection).';
COMMENT ON COLUMN positions.incarnation IS 'Which incarnation of the topic; see topics.';
COMMENT ON COLUMN positions.partition IS 'The topic''s partition.';
COMMENT ON COLUMN positions.next_offset IS 'The first offset that is not stored yet.';
COMMENT ON COLUMN positions.moved_at IS 'When the detection last wrote it; of the stage logs when it began.';

-- Logs ---------------------------------------------------------------------------------------

COMMENT ON TABLE logs IS 'Every log record, once.';
COMMENT ON COLUMN logs.timestamp IS 'When it happened, by its producer.';
COMMENT ON COLUMN logs.service_id IS 'The service that logged it.';
COMMENT ON COLUMN logs.level IS 'How grave it is; levels compare by severity: level >= ''ERROR'' is an error.';
COMMENT ON COLUMN logs.message IS 'What was logged.';
COMMENT ON COLUMN logs.metadata IS 'The producer''s own fields, a JSON object; null where it sent none.';
COMMENT ON COLUMN logs.id IS 'The producer''s own id, if it gave one.';
COMMENT ON COLUMN logs.arrival IS 'When the broker appended it.';
COMMENT ON COLUMN logs.incarnation IS 'Which incarnation of the topic; see topics.';
COMMENT ON COLUMN logs.partition IS 'The topic''s partition that it came on.';
COMMENT ON COLUMN logs."offset" IS 'Its offset there; incarnation, partition and offset name one record.';

COMMENT ON VIEW logs_per_minute IS
    'How many records each service logged at each level, minute by minute.';
COMMENT ON COLUMN logs_per_minute.minute IS 'Where the minute begins.';
COMMENT ON COLUMN logs_per_minute.service_id IS 'The service.';
COMMENT ON COLUMN logs_per_minute.level IS 'The level.';
COMMENT ON COLUMN logs_per_minute.records IS 'How many records there are, 1 at least.';
COMMENT ON VIEW logs_per_hour IS
    'How many records each service logged at each level, hour by hour.';
COMMENT ON COLUMN logs_per_hour.hour IS 'Where the hour begins.';
COMMENT ON COLUMN logs_per_hour.service_id IS 'The service.';
COMMENT ON COLUMN logs_per_hour.level IS 'The level.';
COMMENT ON COLUMN logs_per_hour.records IS 'How many records there are, 1 at least.';
COMMENT ON VIEW logs_per_day IS
    'How many records each service logged at each level, day by day in UTC.';
COMMENT ON COLUMN logs_per_day.day IS 'Where the day begins, at midnight in UTC.';
COMMENT ON COLUMN logs_per_day.service_id IS 'The service.';
COMMENT ON COLUMN logs_per_day.level IS 'The level.';
COMMENT ON COLUMN logs_per_day.records IS 'How many records there are, 1 at least.';

COMMENT ON TABLE dead_letters IS
    'Records that break the contract, as they came, each with the reason for which it was put aside.';
COMMENT ON COLUMN dead_letters.incarnation IS
    'Which incarnation of the topic; see topics. With partition and offset the letter''s id, as 1/0/42.';
COMMENT ON COLUMN dead_letters.partition IS 'The topic''s partition that it came on.';
COMMENT ON COLUMN dead_letters."offset" IS 'Its offset there.';
COMMENT ON COLUMN dead_letters.topic IS 'The topic that it came on.';
COMMENT ON COLUMN dead_letters.arrival IS 'When the broker appended it.';
COMMENT ON COLUMN dead_letters.reason IS
    'What is wrong with it, as `field: what`; only printable characters.';
COMMENT ON COLUMN dead_letters.key IS
    'The Kafka key, which should be the service id; null where the producer gave none.';
COMMENT ON COLUMN dead_letters.raw IS
    'The record as it came, byte for byte; empty for a tombstone. What the database itself refused is written again as JSON.';
COMMENT ON COLUMN dead_letters.corrected IS
    'What a redrive sends in its place; null where it sends the record as it came.';
COMMENT ON COLUMN dead_letters.redrive_begun_at IS
    'When a redrive began to send it. Without redriven_at it is in doubt whether Kafka has it.';
COMMENT ON COLUMN dead_letters.redriven_at IS
    'When it was sent again and Kafka had acknowledged it; it is never sent a second time.';
COMMENT ON COLUMN dead_letters.redriven_by IS 'The system''s user who sent it again.';
COMMENT ON COLUMN dead_letters.redriven_partition IS 'The partition that it was sent to.';
COMMENT ON COLUMN dead_letters.redriven_offset IS 'The offset that it has there.';

-- Detection ----------------------------------------------------------------------------------

COMMENT ON TABLE detection_settings IS
    'Every version of the numbers that decide what a spike is; a version judges the windows that start from effective_from on.';
COMMENT ON COLUMN detection_settings.version IS 'Its number, which verdicts and incidents name.';
COMMENT ON COLUMN detection_settings.effective_from IS 'The start of the first window that it judges.';
COMMENT ON COLUMN detection_settings.document IS
    'What differs from the defaults: {"settings": {…}, "overrides": [{"services": pattern, "settings": {…}}]}.';
COMMENT ON COLUMN detection_settings.created_at IS 'When it was made.';
COMMENT ON COLUMN detection_settings.created_by IS 'Who made it.';
COMMENT ON COLUMN detection_settings.withdrawn_at IS
    'When the version was withdrawn, before it began: it judges nothing, and its number is never used again.';
COMMENT ON COLUMN detection_settings.withdrawn_by IS 'Who withdrew it.';

COMMENT ON TABLE error_windows IS
    'One row for every minute of every service, with its baselines and the verdict on it.';
COMMENT ON COLUMN error_windows.service_id IS 'The service.';
COMMENT ON COLUMN error_windows.window_start IS 'Where the minute begins.';
COMMENT ON COLUMN error_windows.errors IS 'ERROR and FATAL records that came on time.';
COMMENT ON COLUMN error_windows.total IS 'Records of any level that came on time.';
COMMENT ON COLUMN error_windows.late_errors IS 'ERROR and FATAL records that came late, while the window was kept.';
COMMENT ON COLUMN error_windows.late_total IS 'Records of any level that came late, while the window was kept.';
COMMENT ON COLUMN error_windows.verdict IS
    'What was decided: warming_up, below_minimum, normal, signal, breach, fire, or unknown for a part of a silence.';
COMMENT ON COLUMN error_windows.severity IS 'How grave; null where the verdict is not about an incident.';
COMMENT ON COLUMN error_windows.z IS
    '(n*c - S) / sqrt(n*Q - S*S) of c errors; 999 over a baseline without any spread.';
COMMENT ON COLUMN error_windows.guarded_z IS
    'The same over the guarded baseline, whose spread is never less than that of chance.';
COMMENT ON COLUMN error_windows.mean IS 'Mean of the baseline''s errors a minute; null without a baseline.';
COMMENT ON COLUMN error_windows.sigma IS 'Their standard deviation.';
COMMENT ON COLUMN error_windows.guarded_mean IS 'Mean of the guarded baseline, which leaves incidents out.';
COMMENT ON COLUMN error_windows.guarded_sigma IS 'Its standard deviation, never less than that of chance.';
COMMENT ON COLUMN error_windows.baseline_windows IS 'n: how many windows the baseline has.';
COMMENT ON COLUMN error_windows.baseline_errors IS 'S: the sum of their errors.';
COMMENT ON COLUMN error_windows.baseline_squares IS 'Q: the sum of their errors squared.';
COMMENT ON COLUMN error_windows.guarded_windows IS 'How many windows the guarded baseline has.';
COMMENT ON COLUMN error_windows.guarded_errors IS 'The sum of their errors.';
COMMENT ON COLUMN error_windows.guarded_squares IS 'The sum of their errors squared.';
COMMENT ON COLUMN error_windows.guarded_records IS 'L: the sum of the guarded baseline''s records.';
COMMENT ON COLUMN error_windows.closed IS 'Whether the minute is over by the service''s clock; before that the row is the verdict so far.';
COMMENT ON COLUMN error_windows.flagged IS 'Part of an incident, so no guarded baseline learns it.';
COMMENT ON COLUMN error_windows."unknown" IS 'Part of a silence of a service that usually speaks.';
COMMENT ON COLUMN error_windows.settings_version IS 'The detection settings that judged it; see detection_settings.';
COMMENT ON COLUMN error_windows.incarnation IS 'Which incarnation of the topic; see topics.';
COMMENT ON COLUMN error_windows.partition IS
    'Partition that the last record of its service was read from.';
COMMENT ON COLUMN error_windows.read_offset IS
    'Offset of that record; "offset", by which rows are ordered, is higher where the service logs to several partitions.';
COMMENT ON COLUMN error_windows."offset" IS
    'Offset of its service up to which the row is true, in this incarnation of the topic.';
COMMENT ON COLUMN error_windows.arrival IS 'When the broker appended the record up to which the row is true.';
COMMENT ON COLUMN error_windows.clock_start IS
    'The window of the service''s clock then; with service_first, service_last and gap_windows what the detector is rebuilt from.';
COMMENT ON COLUMN error_windows.service_first IS 'The window of the service''s first record.';
COMMENT ON COLUMN error_windows.service_last IS 'The window of the service''s newest record then.';
COMMENT ON COLUMN error_windows.gap_windows IS 'Closed windows in a row without a record, up to the newest one.';
COMMENT ON COLUMN error_windows.too_late IS 'How many of the service''s records came after their window was kept; stored, but not counted.';

-- Incidents ----------------------------------------------------------------------------------

COMMENT ON TABLE incidents IS
    'Spikes of errors and silences, each with the evidence that it was opened on, and what people opened by hand (kind manual), of which nothing of the detection is set.';
COMMENT ON COLUMN incidents.id IS
    'First 16 bytes of SHA-256 over "service|window start in epoch ms", in hex; of kind manual at random.';
COMMENT ON COLUMN incidents.service_id IS 'The service.';
COMMENT ON COLUMN incidents.kind IS 'A spike of errors, a silence, or opened by hand.';
COMMENT ON COLUMN incidents.title IS 'What happened, in a line.';
COMMENT ON COLUMN incidents.status IS 'As people see it: what the detection said last, unless a person decided since.';
COMMENT ON COLUMN incidents.severity IS 'As people see it: the detection''s, until a person sets another.';
COMMENT ON COLUMN incidents.assignee IS 'The e-mail address of the person who looks after it.';
COMMENT ON COLUMN incidents.window_start IS 'The window that opened it.';
COMMENT ON COLUMN incidents.first_window IS 'Where it begins; a straggler may move it back.';
COMMENT ON COLUMN incidents.confirmed_window IS 'The window that confirmed it.';
COMMENT ON COLUMN incidents.resolved_window IS 'The last window of it, when the detection resolved it.';
COMMENT ON COLUMN incidents.resolve_reason IS 'Why the detection resolved it.';
COMMENT ON COLUMN incidents.observed IS 'Errors of the opening window when it was last judged.';
COMMENT ON COLUMN incidents.z IS 'z of the opening window when it was last judged; see error_windows.';
COMMENT ON COLUMN incidents.guarded_z IS 'Its z over the guarded baseline.';
COMMENT ON COLUMN incidents.peak_z IS 'The highest z of its windows.';
COMMENT ON COLUMN incidents.decided_by IS
    'The baseline on which the opening window is abnormal, plain (z, mean, sigma, baseline_*) or guarded (guarded_*): the one with the higher z if on both.';
COMMENT ON COLUMN incidents.mean IS 'Mean of the opening window''s plain baseline.';
COMMENT ON COLUMN incidents.sigma IS 'Standard deviation of the opening window''s plain baseline.';
COMMENT ON COLUMN incidents.guarded_mean IS 'Mean of its guarded baseline.';
COMMENT ON COLUMN incidents.guarded_sigma IS
    'Standard deviation of its guarded baseline, at least the square root of the mean.';
COMMENT ON COLUMN incidents.baseline_windows IS 'How many windows that baseline has.';
COMMENT ON COLUMN incidents.baseline_errors IS 'The sum of their errors.';
COMMENT ON COLUMN incidents.baseline_squares IS 'The sum of their errors squared.';
COMMENT ON COLUMN incidents.guarded_windows IS 'How many windows its guarded baseline has.';
COMMENT ON COLUMN incidents.guarded_errors IS 'The sum of their errors.';
COMMENT ON COLUMN incidents.guarded_squares IS 'The sum of their errors squared.';
COMMENT ON COLUMN incidents.guarded_records IS 'The sum of the guarded baseline''s records.';
COMMENT ON COLUMN incidents.settings_version IS 'The detection settings that judged it; see detection_settings.';
COMMENT ON COLUMN incidents.opened_at IS 'Arrival of the record that opened it.';
COMMENT ON COLUMN incidents.confirmed_at IS 'Arrival of the record that confirmed it; null: it was not.';
COMMENT ON COLUMN incidents.resolved_at IS 'When it was resolved, by the detection or a person.';
COMMENT ON COLUMN incidents.detected_at IS 'When the row was first written.';
COMMENT ON COLUMN incidents.updated_at IS 'When the row was last written.';
COMMENT ON COLUMN incidents.detected_late IS 'Whether late records opened it.';
COMMENT ON COLUMN incidents.calm_windows IS 'How many windows in a row have been calm; enough of them resolve it.';
COMMENT ON COLUMN incidents.absorbed IS 'Whether it went on for so long that the detection took it for the new normal.';
COMMENT ON COLUMN incidents.hot_window IS 'The newest window that was abnormal.';
COMMENT ON COLUMN incidents.machine_status IS
    'What the detection last said; status follows each change of it.';
COMMENT ON COLUMN incidents.machine_severity IS 'The severity that the detection last said.';
COMMENT ON COLUMN incidents.person_resolved_at IS
    'When a person resolved it; a hot window that begins later opens it again.';
COMMENT ON COLUMN incidents.deleted_at IS
    'When an admin deleted it: nobody sees it any more, but the detection still counts on it.';
COMMENT ON COLUMN incidents.evidence_at IS 'When its first and last log lines were last kept.';
COMMENT ON COLUMN incidents.incarnation IS 'Which incarnation of the topic; see topics.';
COMMENT ON COLUMN incidents."offset" IS 'Offset of its service up to which the row is true.';
COMMENT ON COLUMN incidents.clock_start IS 'The window of the service''s clock then.';

COMMENT ON TABLE incident_events IS
    'The timeline of each incident, append-only: what the detection decided and what people did. It is also the outbox of the topic of incidents.';
COMMENT ON COLUMN incident_events.seq IS 'Counts the entries of all incidents.';
COMMENT ON COLUMN incident_events.incident_id IS 'The incident.';
COMMENT ON COLUMN incident_events.moment IS 'What happened, as opened, confirmed, acknowledged, commented, resolved.';
COMMENT ON COLUMN incident_events.at IS
    'For the detection the arrival of the record that decided, for people the moment they acted.';
COMMENT ON COLUMN incident_events.actor IS 'Who did it; null for the detection.';
COMMENT ON COLUMN incident_events.severity IS 'The incident''s severity after it.';
COMMENT ON COLUMN incident_events.status IS 'The incident''s status after it.';
COMMENT ON COLUMN incident_events.assignee IS 'Who looked after the incident after it.';
COMMENT ON COLUMN incident_events.window_start IS 'The window that the detection decided on.';
COMMENT ON COLUMN incident_events.count IS 'That window''s errors.';
COMMENT ON COLUMN incident_events.z IS 'That window''s z.';
COMMENT ON COLUMN incident_events.note IS 'What the person wrote.';
COMMENT ON COLUMN incident_events.published_at IS 'When Kafka acknowledged it.';

COMMENT ON TABLE incident_evidence IS
    'The first and the last 20 errors of each incident, so that its evidence outlives the logs.';
COMMENT ON COLUMN incident_evidence.incident_id IS 'The incident.';
COMMENT ON COLUMN incident_evidence.timestamp IS 'As in logs.';
COMMENT ON COLUMN incident_evidence.level IS 'As in logs.';
COMMENT ON COLUMN incident_evidence.message IS 'As in logs.';
COMMENT ON COLUMN incident_evidence.metadata IS 'As in logs.';
COMMENT ON COLUMN incident_evidence.id IS 'As in logs.';
COMMENT ON COLUMN incident_evidence.arrival IS 'As in logs.';
COMMENT ON COLUMN incident_evidence.incarnation IS 'As in logs.';
COMMENT ON COLUMN incident_evidence.partition IS 'As in logs.';
COMMENT ON COLUMN incident_evidence."offset" IS 'As in logs.';

-- Labels -------------------------------------------------------------------------------------

COMMENT ON TABLE incident_labels IS
    'Which incidents were any, as people say: what a backtest is scored against.';
COMMENT ON COLUMN incident_labels.incident_id IS 'The incident.';
COMMENT ON COLUMN incident_labels.is_true IS 'Whether there was an incident; false: a false alarm.';
COMMENT ON COLUMN incident_labels.note IS 'What there is to say beside it.';
COMMENT ON COLUMN incident_labels.labelled_at IS 'When it was said last.';
COMMENT ON COLUMN incident_labels.labelled_by IS
    'Who said it last: a user''s e-mail address, or whose command line it was.';

COMMENT ON TABLE missed_incidents IS
    'Times in which a service had an incident and none was opened, as people say: labels, too.';
COMMENT ON COLUMN missed_incidents.id IS 'Its number; the command line calls it missed:NUMBER.';
COMMENT ON COLUMN missed_incidents.service_id IS 'The service that had it.';
COMMENT ON COLUMN missed_incidents.started_at IS
    'When it began: the time to detect counts from then.';
COMMENT ON COLUMN missed_incidents.ended_at IS 'When it was over.';
COMMENT ON COLUMN missed_incidents.note IS 'What there is to say beside it.';
COMMENT ON COLUMN missed_incidents.labelled_at IS 'When it was said.';
COMMENT ON COLUMN missed_incidents.labelled_by IS
    'Who said it: a user''s e-mail address, or whose command line it was.';

-- Keeping ------------------------------------------------------------------------------------

COMMENT ON TABLE retention IS
    'How long rows are kept, as the settings say, and from when on none has been dropped.';
COMMENT ON COLUMN retention.relation IS 'The table.';
COMMENT ON COLUMN retention.keep IS 'How long its rows are kept; null: for ever.';
COMMENT ON COLUMN retention.whole_from IS 'Rows before this may have been dropped; null: none has.';

-- Backtests ----------------------------------------------------------------------------------

COMMENT ON TABLE backtests IS
    'The newest backtests that were started over HTTP, one of which runs at most.';
COMMENT ON COLUMN backtests.id IS 'Its id.';
COMMENT ON COLUMN backtests.asked IS 'What was asked for: the range, and what is tried.';
COMMENT ON COLUMN backtests.state IS
    'queued until its process has the lock that lets one run at a time, then running; in the end done, failed or cancelled.';
COMMENT ON COLUMN backtests.created_at IS 'When it was asked for.';
COMMENT ON COLUMN backtests.created_by IS 'The e-mail address of who asked for it.';
COMMENT ON COLUMN backtests.started_at IS 'When it began to run.';
COMMENT ON COLUMN backtests.reported_at IS 'When its process last said how far it has come.';
COMMENT ON COLUMN backtests.ended_at IS 'When it ended, in whatever way.';
COMMENT ON COLUMN backtests.share IS 'How much of its range was read then, from 0 to 1.';
COMMENT ON COLUMN backtests.records IS 'How many records were read then, with those from before the range.';
COMMENT ON COLUMN backtests.error IS 'Why it failed, in one line.';
COMMENT ON COLUMN backtests.result IS 'Its scores as JSON, packed by gzip.';
COMMENT ON COLUMN backtests.page IS 'Its page as HTML, packed by gzip.';
COMMENT ON FUNCTION lock_backtests() IS
    'For the API alone: takes the lock that lets one backtest run at a time, if nobody holds it; its session keeps it until it ends.';

-- People and keys ----------------------------------------------------------------------------

COMMENT ON TABLE users IS 'Who may log in to the API.';
COMMENT ON COLUMN users.id IS 'The user''s id.';
COMMENT ON COLUMN users.email IS 'By which they log in, in any case.';
COMMENT ON COLUMN users.password_hash IS 'bcrypt''s hash of the password.';
COMMENT ON COLUMN users.role IS 'What they may do: viewer, operator or admin.';
COMMENT ON COLUMN users.created_at IS 'When the user was made.';
COMMENT ON COLUMN users.updated_at IS 'When the user was last changed.';

COMMENT ON TABLE sessions IS
    'Who is logged in: one row a login. Without its row no token of it is good any more.';
COMMENT ON COLUMN sessions.id IS 'The session''s id, which its tokens carry.';
COMMENT ON COLUMN sessions.user_id IS 'Who has logged in.';
COMMENT ON COLUMN sessions.refresh_hash IS
    'SHA-256 of the refresh token''s secret part; every refresh replaces it.';
COMMENT ON COLUMN sessions.created_at IS 'When they logged in.';
COMMENT ON COLUMN sessions.refreshed_at IS 'When a token was last refreshed.';
COMMENT ON COLUMN sessions.expires_at IS 'When they must log in again.';

COMMENT ON TABLE ingest_keys IS 'With which logs may be sent over HTTP.';
COMMENT ON COLUMN ingest_keys.id IS 'The key''s public part.';
COMMENT ON COLUMN ingest_keys.name IS 'What people call it.';
COMMENT ON COLUMN ingest_keys.hash IS 'SHA-256 of the secret part; the key itself is shown once and never kept.';
COMMENT ON COLUMN ingest_keys.services IS
    'Whose records it may send: ids, or patterns as `batch-*`; null for those of every service.';
COMMENT ON COLUMN ingest_keys.created_at IS 'When it was made.';
COMMENT ON COLUMN ingest_keys.last_used_at IS 'When it was last used, to the minute.';
COMMENT ON COLUMN ingest_keys.revoked_at IS 'When it was revoked; null: it is good.';

COMMENT ON TABLE audit_log IS
    'Who did what, append-only: logins, and what people changed, each in the transaction of its change.';
COMMENT ON COLUMN audit_log.seq IS 'Counts the entries.';
COMMENT ON COLUMN audit_log.at IS 'When.';
COMMENT ON COLUMN audit_log.actor IS
    'E-mail address of a user, or whose command line it was; null where nobody has proved who they are.';
COMMENT ON COLUMN audit_log.actor_id IS 'The user''s id.';
COMMENT ON COLUMN audit_log.action IS 'What was done, as incident.resolved.';
COMMENT ON COLUMN audit_log.subject IS 'Id of what it was done to.';
COMMENT ON COLUMN audit_log.address IS 'Where the request came from.';
COMMENT ON COLUMN audit_log.request_id IS 'The request''s id, as in the API''s log.';
COMMENT ON COLUMN audit_log.details IS 'What else is to be known of it.';

COMMENT ON TABLE analyst_services IS
    'Which services a role sees through the views of the schema scoped.';
COMMENT ON COLUMN analyst_services.analyst IS 'The role; whoever is a member of it sees them, too.';
COMMENT ON COLUMN analyst_services.services IS 'A service id, or a pattern as `batch-*`.';
