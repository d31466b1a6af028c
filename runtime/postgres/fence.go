package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// A fence is the sink's table of attempts and of committed transactions, and the connection that ends prepared
// transactions.
type fence struct {
	connection
	subtask Subtask
	attempt uint64
}

// fenceColumns are the fence's table. checkpoint is 0 in the row that holds a subtask's newest attempt. The other rows
// say which transactions are committed: each transaction inserts its own.
const fenceColumns = `(job text, operator text, subtask bigint, checkpoint bigint, attempt bigint NOT NULL,
	PRIMARY KEY (job, operator, subtask, checkpoint))`

// raiseWait is how long the fence waits for transactions of older attempts before it looks for them again.
const raiseWait = 100 * time.Millisecond

func (f *fence) table() string { return quoted(f.options.FenceTable) }

// row are the parameters of ofSubtask.
func (f *fence) row() []any { return []any{f.subtask.Job, f.subtask.Operator, f.subtask.Index} }

const ofSubtask = `job = $1 AND operator = $2 AND subtask = $3`

// prepare makes the fence's table if it is missing, and checks the server's settings.
func (f *fence) prepare(ctx context.Context) error {
	if f.options.Mode == ExactlyOnce {
		if err := f.enoughPrepared(ctx); err != nil {
			return err
		}
	}
	var err error
	for range 3 { // another subtask may make the table at the same time
		var found [][]string
		if found, err = f.query(ctx, `SELECT to_regclass($1) IS NOT NULL`, f.table()); err != nil {
			return f.options.explain("read the catalog", err)
		}
		if found[0][0] == "t" {
			return nil
		}
		if _, err = f.query(ctx, "CREATE TABLE "+f.table()+" "+fenceColumns); err == nil {
			return nil
		}
	}
	if sqlState(err) == insufficientRight {
		return fmt.Errorf("make the table %s: %w: let an owner of the schema make it and grant SELECT, INSERT, UPDATE, DELETE: CREATE TABLE %s %s",
			f.options.FenceTable, err, f.table(), fenceColumns)
	}
	return f.options.explain("make the table "+f.options.FenceTable, err)
}

func (f *fence) enoughPrepared(ctx context.Context) error {
	rows, err := f.query(ctx, "SELECT current_setting('max_prepared_transactions')")
	if err != nil {
		return f.options.explain("read max_prepared_transactions", err)
	}
	have, err := strconv.Atoi(rows[0][0])
	if err != nil {
		return err
	}
	if need := max(f.subtask.Parallelism, 1); have < need {
		return fmt.Errorf("mode %s needs prepared transactions, and the server's max_prepared_transactions is %d: "+
			"set it to %d or more in postgresql.conf and restart the server, or choose mode %s", ExactlyOnce, have, 2*need, Upsert)
	}
	return nil
}

// newest returns the newest attempt that a subtask's fence has seen; 0 if there is none.
func (f *fence) newest(ctx context.Context) (uint64, error) {
	rows, err := f.query(ctx, "SELECT attempt FROM "+f.table()+" WHERE "+ofSubtask+" AND checkpoint = 0", f.row()...)
	if err != nil {
		return 0, f.options.explain("read the table "+f.options.FenceTable, err)
	}
	if len(rows) == 0 {
		return 0, nil
	}
	return strconv.ParseUint(rows[0][0], 10, 64)
}

// takeOver resolves what older attempts left, and shuts them out. The package comment says why this order is safe.
func (f *fence) takeOver(ctx context.Context, named []transaction) error {
	for end := time.Now().Add(f.options.LockTimeout); ; {
		newest, err := f.newest(ctx)
		if err != nil {
			return err
		}
		if newest > f.attempt {
			return f.replaced(newest)
		}
		for _, t := range named {
			if err := f.commit(ctx, t); err != nil {
				return err
			}
		}
		if err := f.rollBackOlder(ctx); err != nil {
			return err
		}
		if err = f.raise(ctx); err == nil {
			return f.endOlderSessions(ctx)
		}
		if sqlState(err) != lockNotAvailable || time.Now().After(end) {
			return f.options.explain("raise the fence in "+f.options.FenceTable, err)
		}
		if err := f.endOlderSessions(ctx); err != nil {
			return err
		}
	}
}

// raise makes this attempt the newest. It waits for transactions of older attempts that have read the fence and have
// not ended.
func (f *fence) raise(ctx context.Context) error {
	rows, err := f.batch(ctx,
		statement{"SELECT set_config('lock_timeout', $1, true)", []any{milliseconds(raiseWait)}},
		statement{"INSERT INTO " + f.table() + ` AS f VALUES ($1, $2, $3, 0, $4) ON CONFLICT (job, operator, subtask, checkpoint)
			DO UPDATE SET attempt = EXCLUDED.attempt WHERE f.attempt <= EXCLUDED.attempt RETURNING attempt`, append(f.row(), f.attempt)})
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		return nil
	}
	newest, err := f.newest(ctx)
	if err != nil {
		return err
	}
	return f.replaced(newest)
}

// rollBackOlder rolls back the prepared transactions of this subtask's older attempts.
func (f *fence) rollBackOlder(ctx context.Context) error {
	begin := prefix(f.subtask.Job, f.subtask.Operator, f.subtask.Index)
	rows, err := f.query(ctx, "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND starts_with(gid, $1) ORDER BY prepared", begin)
	if err != nil {
		return f.options.explain("list the prepared transactions", err)
	}
	for _, r := range rows {
		if attempt, ok := attemptOf(r[0], begin); !ok || attempt >= f.attempt {
			continue
		}
		err := f.retry(ctx, func() error {
			_, err := f.query(ctx, "ROLLBACK PREPARED "+quoteLiteral(r[0]))
			if sqlState(err) == undefinedObject {
				return nil // its own attempt, or a lost reply, ended it
			}
			return err
		})
		if err != nil {
			return f.options.explain("roll back the transaction "+r[0]+" of an older attempt", err)
		}
	}
	return nil
}

// endOlderSessions ends the sessions of this subtask's older attempts. A worker that is suspended keeps the locks of
// its session, which this attempt may need.
func (f *fence) endOlderSessions(ctx context.Context) error {
	begin := f.subtask.applicationPrefix()
	rows, err := f.query(ctx, `SELECT pid, application_name FROM pg_stat_activity WHERE datname = current_database() AND starts_with(application_name, $1)`, begin)
	if err != nil {
		return f.options.explain("list the sessions", err)
	}
	for _, r := range rows {
		attempt, err := strconv.ParseUint(r[1][len(begin):], 10, 64)
		if err != nil || attempt >= f.attempt {
			continue
		}
		if _, err := f.query(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND application_name = $2", r[0], r[1]); err != nil {
			return f.options.explain("end a session of an older attempt", err)
		}
	}
	return nil
}

// commit commits a prepared transaction, or finds that it is committed.
func (f *fence) commit(ctx context.Context, t transaction) error {
	err := f.retry(ctx, func() error {
		_, err := f.query(ctx, "COMMIT PREPARED "+quoteLiteral(t.gid()))
		if sqlState(err) == undefinedObject {
			return f.judge(ctx, t)
		}
		return err
	})
	return f.options.explain("commit the transaction "+t.gid(), err)
}

// judge says what became of a transaction that is not prepared: nil if it is committed.
func (f *fence) judge(ctx context.Context, t transaction) error {
	rows, err := f.query(ctx, "SELECT coalesce(max(checkpoint), 0), coalesce(max(attempt) FILTER (WHERE checkpoint = 0), 0) FROM "+f.table()+" WHERE "+ofSubtask,
		t.Job, t.Operator, t.Subtask)
	if err != nil {
		return err
	}
	committed, err := strconv.ParseUint(rows[0][0], 10, 64)
	if err != nil {
		return err
	}
	newest, err := strconv.ParseUint(rows[0][1], 10, 64)
	switch {
	case err != nil:
		return err
	case committed >= t.Checkpoint:
		return nil // transactions of a subtask are committed in the order of their checkpoints
	case t.Job == f.subtask.Job && newest > f.attempt:
		return f.replaced(newest)
	}
	return fmt.Errorf("%w: %s is not in pg_prepared_xacts, and %s does not say that it was committed: somebody rolled it back, the server was "+
		"restored from an older backup, or dsn names another database. Name the right database, or begin from an older checkpoint. To go on "+
		"without its rows, or if you have inserted them by hand: INSERT INTO %s VALUES (%s, %s, %d, %d, %d)", ErrLost, t.gid(), f.options.FenceTable,
		f.table(), quoteLiteral(t.Job), quoteLiteral(t.Operator), t.Subtask, t.Checkpoint, t.Attempt)
}

// forget removes the rows of transactions below a committed one: the later row says that they are committed, too.
func (f *fence) forget(ctx context.Context, t transaction) error {
	return f.retry(ctx, func() error {
		_, err := f.batch(ctx,
			statement{"SELECT set_config('synchronous_commit', 'off', true)", nil}, // a crash may bring the rows back
			statement{"DELETE FROM " + f.table() + " WHERE " + ofSubtask + " AND checkpoint > 0 AND checkpoint < $4", append(f.row(), t.Checkpoint)})
		return err
	})
}

// prepared reports whether a transaction is prepared.
func (f *fence) prepared(ctx context.Context, t transaction) (found bool, err error) {
	err = f.retry(ctx, func() error {
		rows, err := f.query(ctx, "SELECT 1 FROM pg_prepared_xacts WHERE database = current_database() AND gid = $1", t.gid())
		found = len(rows) > 0
		return err
	})
	return found, err
}

// replaced explains why this attempt may not write.
func (f *fence) replaced(newest uint64) error {
	return fmt.Errorf("%w: attempt %d, and this is attempt %d. If no newer attempt runs, the job began anew under an old id: choose another id, or "+
		"forget the old job's attempts: DELETE FROM %s WHERE job = %s", ErrReplaced, newest, f.attempt, f.table(), quoteLiteral(f.subtask.Job))
}

// fenced explains why the server refused a statement that reads the fence.
func (f *fence) fenced(ctx context.Context) error {
	var newest uint64
	err := f.retry(ctx, func() (err error) {
		newest, err = f.newest(ctx)
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("%w; which one is unknown: %w", ErrReplaced, err)
	case newest > f.attempt:
		return f.replaced(newest)
	}
	return fmt.Errorf("%w, or somebody removed the row of attempt %d from %s: the next attempt makes it again", ErrReplaced, f.attempt, f.options.FenceTable)
}
