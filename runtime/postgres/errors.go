package postgres

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrReplaced says that a newer attempt writes, so this one may not.
var ErrReplaced = errors.New("a newer attempt of the job writes to the database")

// ErrLost says that rows of a complete checkpoint are neither committed nor prepared.
var ErrLost = errors.New("a prepared transaction of a complete checkpoint is gone")

// advice says what a person can do about an error of the server, by SQLSTATE.
var advice = map[string]string{
	"28P01":           "check the user and the password in dsn, PGPASSWORD or PGPASSFILE",
	"28000":           "check the user in dsn, and the server's pg_hba.conf",
	"3D000":           "create the database, or correct dbname in dsn",
	"42501":           "grant the right to the user of dsn, or choose another user",
	"42P01":           "create the table, or correct the option table",
	"42703":           "add the column, or correct the option columns",
	"3F000":           "create the schema, or correct the option table",
	"53200":           "raise max_prepared_transactions in postgresql.conf to twice the sinks' parallelism or more, and restart the server",
	"53300":           "raise max_connections; each sink subtask needs two",
	"55000":           "look at the prepared transactions in pg_prepared_xacts",
	"0A000":           "the table or the transaction does not allow it",
	lockNotAvailable:  "another session or prepared transaction holds a lock on the rows: see pg_locks and pg_prepared_xacts, or raise lock-timeout",
	"57014":           "raise statement-timeout, or lower batch-size",
	uniqueViolation:   "mode exactly-once only inserts: drop the unique index, or choose mode upsert with a key",
	notNullViolation:  "give the row the field, or let the column be NULL",
	"23503":           "insert the rows that the foreign key names first, or drop the key",
	"23514":           "mend the rows, or the table's CHECK",
	"25006":           "the server is a standby: name the primary in dsn, or add target_session_attrs=read-write",
	"22P02":           "change the column's type, or what the job writes into the field",
	"22003":           "choose a larger type for the column",
	"22001":           "let the column hold longer texts",
	"22007":           "write dates and times as PostgreSQL reads them: 2026-01-31T23:59:59Z",
	"22008":           "write dates and times as PostgreSQL reads them: 2026-01-31T23:59:59Z",
	"22021":           "PostgreSQL's texts cannot hold the character U+0000: remove it",
	"42804":           "change the column's type, or what the job writes into the field",
	"21000":           "name the key's columns with types that compare equal only if their texts do",
	undefinedObject:   "look at the prepared transactions in pg_prepared_xacts",
	divisionByZero:    "look at the table's generated columns and triggers",
	"no server":       "check host and port in dsn, and that the server runs and can be reached",
	"connection lost": "the job goes on from its last checkpoint",
}

// explain adds what was tried, on what, and what to do. The driver's errors hold no password.
func (o *Options) explain(what string, err error) error {
	if err == nil || errors.Is(err, ErrReplaced) || errors.Is(err, ErrLost) {
		return err
	}
	code := sqlState(err)
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	switch {
	case code == "" && connecting:
		code = "no server"
	case code == "":
		code = "connection lost"
	}
	detail := ""
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		for _, more := range []string{pg.Detail, pg.Where} {
			if more != "" {
				detail += "; " + strings.ReplaceAll(more, "\n", "; ")
			}
		}
	}
	// The driver puts each try of a connection on a line of its own.
	text := what + ": " + strings.Join(strings.Fields(err.Error()), " ") + detail
	if todo := advice[code]; todo != "" {
		text += ": " + todo
	}
	return &explained{text, err}
}

// explained is an error with advice.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }
