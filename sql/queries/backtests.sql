-- name: fail_lost
-- Whoever runs one holds the lock as long as it lives. One that just ended is seen as such: the row
-- is looked at again once it is locked.
UPDATE backtests
SET state = 'failed', ended_at = clock_timestamp(),
    error = 'it ended unexpectedly: its process was killed, or lost the database; start it again'
WHERE state IN ('queued', 'running')
  AND (state = 'running' OR created_at < clock_timestamp() - INTERVAL '1 minute')
  AND NOT EXISTS (
      SELECT FROM pg_locks
      WHERE locktype = 'advisory' AND granted AND objsubid = 2
        AND classid = hashtext('tocsin backtest')::oid AND objid = 0
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()));

-- name: insert_backtest
INSERT INTO backtests (asked, created_by)
VALUES (%(asked)s, %(created_by)s)
RETURNING id, asked, state::text, created_at, created_by, started_at, ended_at, share, records,
          NULL::double precision AS took_s, error;

-- name: delete_surplus
DELETE FROM backtests
WHERE state NOT IN ('queued', 'running')
  AND id NOT IN (SELECT id FROM backtests ORDER BY created_at DESC, id DESC LIMIT %(most)s);

-- name: select_active
SELECT id FROM backtests WHERE state IN ('queued', 'running');

-- name: count_backtests
SELECT count(*) FROM backtests;

-- name: select_backtests
SELECT id, asked, state::text, created_at, created_by, started_at, ended_at, share, records,
       extract(epoch FROM coalesce(ended_at, reported_at) - started_at)::double precision AS took_s,
       error
FROM backtests
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s OFFSET %(offset)s;

-- name: select_backtest
SELECT id, asked, state::text, created_at, created_by, started_at, ended_at, share, records,
       extract(epoch FROM coalesce(ended_at, reported_at) - started_at)::double precision AS took_s,
       error
FROM backtests
WHERE id = %(id)s;

-- name: select_result
SELECT result FROM backtests WHERE id = %(id)s AND state = 'done';

-- name: select_page
SELECT page FROM backtests WHERE id = %(id)s AND state = 'done';

-- name: cancel_backtest
UPDATE backtests
SET state = 'cancelled', ended_at = clock_timestamp()
WHERE id = %(id)s AND state IN ('queued', 'running')
RETURNING id;

-- name: delete_backtest
DELETE FROM backtests
WHERE id = %(id)s AND state NOT IN ('queued', 'running')
RETURNING id;

-- name: fail_backtest
UPDATE backtests
SET state = 'failed', ended_at = clock_timestamp(), error = %(error)s
WHERE id = %(id)s AND state IN ('queued', 'running')
RETURNING id;

-- name: try_lock
SELECT lock_backtests();

-- name: begin_backtest
UPDATE backtests
SET state = 'running', started_at = clock_timestamp(), reported_at = clock_timestamp()
WHERE id = %(id)s AND state = 'queued'
RETURNING asked::text;

-- name: report_backtest
UPDATE backtests
SET share = %(share)s, records = %(records)s, reported_at = clock_timestamp()
WHERE id = %(id)s AND state = 'running'
RETURNING id;

-- name: finish_backtest
UPDATE backtests
SET state = 'done', ended_at = clock_timestamp(), share = 1, records = %(records)s,
    result = %(result)s, page = %(page)s
WHERE id = %(id)s AND state = 'running'
RETURNING id;

-- name: is_wanted
SELECT EXISTS (SELECT FROM backtests WHERE id = %(id)s AND state = 'queued');
