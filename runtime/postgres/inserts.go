package postgres

import (
	"bytes"
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// maxBatch is the number of bytes that are sent at a time at the latest.
const maxBatch = 1 << 20

// inserts writes rows by COPY into a transaction. While one batch is on its way, the next one is filled.
type inserts struct {
	connection
	copy string
	// filling is the batch that takes rows; sending belongs to the COPY that runs.
	filling, sending []byte
	rows             int
	// begun is true while a transaction is open or its begin failed half-way.
	begun bool
	// running ends with the result of the COPY; nil if none runs.
	running chan error
}

func newInserts(c connection) *inserts {
	return &inserts{connection: c, copy: "COPY " + quoted(c.options.Table) + " (" + quotedNames(c.options.Columns.names()) + ") FROM STDIN"}
}

// write implements writer.
func (w *inserts) write(ctx context.Context, d *decoder) error {
	w.filling = d.appendCopyLine(w.filling)
	w.rows++
	if w.rows < w.options.BatchSize && len(w.filling) < maxBatch {
		return nil
	}
	return w.send(ctx)
}

// send begins a COPY of the batch, after the one before has ended.
func (w *inserts) send(ctx context.Context) error {
	if err := w.wait(); err != nil || w.rows == 0 {
		return err
	}
	conn, err := w.begin(ctx)
	if err != nil {
		return err
	}
	w.filling, w.sending, w.rows = w.sending[:0], w.filling, 0
	running := make(chan error, 1)
	w.running = running
	go func() {
		ctx, cancel := w.bounded(ctx)
		defer cancel()
		_, err := conn.CopyFrom(ctx, bytes.NewReader(w.sending), w.copy)
		running <- err
	}()
	return nil
}

// wait returns the result of the COPY that runs.
func (w *inserts) wait() error {
	if w.running == nil {
		return nil
	}
	err := <-w.running
	w.running = nil
	return w.options.explain("write to table "+w.options.Table, err)
}

// begin begins a transaction if none is open. A connection that was lost between two transactions is made anew. A
// connection that is lost within a transaction loses its rows, so that is an error of the attempt.
func (w *inserts) begin(ctx context.Context) (*pgconn.PgConn, error) {
	if !w.begun {
		err := w.retry(ctx, func() error {
			_, err := w.query(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED")
			return err
		})
		if err != nil {
			return nil, w.options.explain("begin a transaction", err)
		}
		w.begun = true
	}
	return w.conn, nil
}

// preCommit implements writer. The row of the transaction takes its attempt from the fence, which it locks. If the
// attempt is not the newest, there is none to take, and the server refuses the row. It does so in the message that
// prepares: between the look and the PREPARE the client has no part.
func (w *inserts) preCommit(ctx context.Context, f *fence, t transaction) (bool, error) {
	if err := w.send(ctx); err != nil {
		return false, err
	}
	if err := w.wait(); err != nil || !w.begun {
		return false, err
	}
	what := "prepare the transaction " + t.gid()
	own := append(f.row(), f.attempt, t.Checkpoint)
	if w.conn.TxStatus() != 'T' {
		return false, fmt.Errorf("%s: the session's transaction has ended; the job goes on from its last checkpoint", what)
	}
	_, err := w.batchOn(ctx, w.conn,
		statement{"INSERT INTO " + f.table() + " VALUES ($1, $2, $3, $5, (SELECT attempt FROM " + f.table() + " WHERE " + ofSubtask +
			" AND checkpoint = 0 AND attempt = $4 FOR SHARE))", own},
		statement{"PREPARE TRANSACTION " + quoteLiteral(t.gid()), nil})
	switch {
	case err == nil:
		w.begun = false
		return true, nil
	case sqlState(err) == notNullViolation:
		return false, fmt.Errorf("%s: %w", what, f.fenced(ctx))
	case !lost(err):
		return false, w.options.explain(what, err)
	}
	if found, err2 := f.prepared(ctx, t); err2 != nil || !found {
		return false, w.options.explain(what, err)
	}
	w.begun = false
	return true, nil
}

// close implements writer.
func (w *inserts) close() {
	if w.running != nil {
		<-w.running
	}
	w.connection.close()
}
