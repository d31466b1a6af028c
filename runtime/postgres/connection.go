package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A connection to the server that is made when it is needed, and anew when it was lost. One goroutine uses it at a
// time.
type connection struct {
	config  *pgconn.Config
	options *Options
	conn    *pgconn.PgConn
}

// settings are the parameters of the sink's sessions. The server notices a client whose machine is gone within a
// minute: until then the client's locks would stay. A role may have synchronous_commit off: what was flushed for a
// checkpoint must survive a crash.
const settings = `SELECT set_config('lock_timeout', $1, false), set_config('statement_timeout', $2, false), set_config('tcp_keepalives_idle', '20', false),
	set_config('tcp_keepalives_interval', '10', false), set_config('tcp_keepalives_count', '4', false),
	set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)`

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// open returns the session, and begins one if there is none.
func (c *connection) open(ctx context.Context) (*pgconn.PgConn, error) {
	if c.conn != nil && !c.conn.IsClosed() {
		return c.conn, nil
	}
	ctx, cancel := context.WithTimeout(ctx, min(c.options.RetryTimeout, 10*time.Second))
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, c.config)
	if err != nil {
		return nil, err
	}
	params := parameters([]any{milliseconds(c.options.LockTimeout), milliseconds(c.options.StatementTimeout)})
	if err := conn.ExecParams(ctx, settings, params, nil, nil, nil).Read().Err; err != nil {
		conn.Close(ctx)
		return nil, err
	}
	c.conn = conn
	return conn, nil
}

// bounded ends a statement that the server does not end by itself, because the connection is dead.
func (c *connection) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.options.StatementTimeout+5*time.Second)
}

// statement is SQL with its parameters, as texts.
type statement struct {
	sql  string
	args []any
}

// batch sends statements at once, as one transaction. It returns the rows of the last statement.
func (c *connection) batch(ctx context.Context, statements ...statement) ([][]string, error) {
	conn, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	last, err := c.batchOn(ctx, conn, statements...)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for _, row := range last.Rows {
		texts := make([]string, len(row))
		for i, p := range row {
			texts[i] = string(p)
		}
		rows = append(rows, texts)
	}
	return rows, nil
}

// batchOn sends statements at once, in the session's open transaction if there is one. It returns the result of the
// last statement.
func (c *connection) batchOn(ctx context.Context, conn *pgconn.PgConn, statements ...statement) (*pgconn.Result, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	b := &pgconn.Batch{}
	for _, s := range statements {
		b.ExecParams(s.sql, parameters(s.args), nil, nil, nil)
	}
	results, err := conn.ExecBatch(ctx, b).ReadAll()
	if err != nil {
		return nil, err
	}
	return results[len(results)-1], nil
}

func parameters(args []any) [][]byte {
	all := make([][]byte, len(args))
	for i, a := range args {
		if p, ok := a.([]byte); ok {
			all[i] = p
		} else {
			all[i] = fmt.Append(nil, a)
		}
	}
	return all
}

func (c *connection) query(ctx context.Context, sql string, args ...any) ([][]string, error) {
	return c.batch(ctx, statement{sql, args})
}

// close ends the session. The server rolls back its open transaction.
func (c *connection) close() {
	if c.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.conn.Close(ctx)
}

// retry repeats what may be repeated while the server does not answer, for RetryTimeout at most.
func (c *connection) retry(ctx context.Context, do func() error) error {
	delays := backoff.NewExponentialBackOff()
	delays.InitialInterval, delays.MaxInterval = 20*time.Millisecond, time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := do()
		if err != nil && !transient(err) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(delays), backoff.WithMaxElapsedTime(c.options.RetryTimeout))
	return err
}

// The SQLSTATEs that decide something.
const (
	undefinedObject   = "42704" // COMMIT PREPARED: there is no such transaction
	notReady          = "55000" // COMMIT PREPARED: another session is at it; or prepared transactions are off
	notNullViolation  = "23502"
	divisionByZero    = "22012"
	lockNotAvailable  = "55P03"
	uniqueViolation   = "23505"
	insufficientRight = "42501"
)

// sqlState returns the server's code of an error; empty if the server did not answer.
func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// lost reports whether the connection broke, or there was none, so that the result of the statement is unknown.
func lost(err error) bool {
	switch code := sqlState(err); {
	case code != "":
		return strings.HasPrefix(code, "57P") || strings.HasPrefix(code, "08")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, pgconn.ErrConnClosed), pgconn.Timeout(err):
		return true
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	_, network := errors.AsType[net.Error](err)
	return connecting || network
}

// transient reports whether a later try may succeed.
func transient(err error) bool {
	if errors.Is(err, ErrReplaced) || errors.Is(err, ErrLost) {
		return false
	}
	switch code := sqlState(err); code {
	case notReady, "53300", "40001", "40P01": // too many sessions; serialization; deadlock
		return true
	default:
		return lost(err)
	}
}

// applicationName of a session; it tells sessions of older attempts.
func applicationName(s Subtask, attempt uint64) string {
	return s.applicationPrefix() + strconv.FormatUint(attempt, 10)
}

// quoteLiteral returns a text for a statement that takes no parameters. The names of transactions hold no backslash.
func quoteLiteral(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
