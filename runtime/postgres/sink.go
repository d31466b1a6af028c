package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ckptd/ckptd/runtime/state"
)

// Sink implements state.Sink. The value of each record is a row: a JSON object. The keys of the records have no
// meaning.
type Sink struct {
	o       Options
	subtask Subtask
	config  *pgconn.Config
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc

	restored, closed bool
	// failed is the first error of a write: rows are missing in the open transaction.
	failed  error
	fence   fence
	decoder *decoder
	writer  writer
	// pending are the transactions that are prepared and not committed, by checkpoint, ascending.
	pending []transaction
}

var (
	_ state.Sink        = (*Sink)(nil)
	_ state.Interrupter = (*Sink)(nil)
)

// A writer brings decoded rows to the table.
type writer interface {
	write(ctx context.Context, row *decoder) error
	// preCommit ends what the rows are written in. It reports whether the transaction is prepared now, and has to be
	// committed.
	preCommit(ctx context.Context, f *fence, t transaction) (bool, error)
	close()
}

// NewSink returns a sink. It connects in Restore.
func NewSink(o Options, subtask Subtask) (*Sink, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if subtask.Job == "" || subtask.Operator == "" || subtask.Index < 0 {
		return nil, fmt.Errorf("postgres: subtask %d of operator %q of job %q: want names, and an index of 0 or more", subtask.Index, subtask.Operator, subtask.Job)
	}
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	s := &Sink{o: o.withDefaults(), subtask: subtask, config: config}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// connection returns a connection that nothing uses yet.
func (s *Sink) connection(attempt uint64) connection {
	config := s.config.Copy()
	config.RuntimeParams["application_name"] = applicationName(s.subtask, attempt)
	config.RuntimeParams["client_encoding"] = "UTF8"
	return connection{config: config, options: &s.o}
}

// Restore implements state.Sink. It checks the database, the table and the server's settings, too.
func (s *Sink) Restore(attempt, restored uint64, saved []byte) error {
	if s.restored || s.closed {
		return errors.New("postgres: restore: this sink was restored or closed before")
	}
	named, err := decodeState(saved, restored)
	if err == nil {
		s.fence = fence{connection: s.connection(attempt), subtask: s.subtask, attempt: attempt}
		err = s.fence.retry(s.ctx, func() error { return s.begin(named) })
	}
	if err != nil {
		return fmt.Errorf("postgres: restore checkpoint %d in attempt %d: %w", restored, attempt, err)
	}
	s.restored = true
	return nil
}

// begin may be repeated if it fails.
func (s *Sink) begin(named []transaction) error {
	f := &s.fence
	if _, err := f.open(s.ctx); err != nil {
		return s.o.explain("connect", err)
	}
	columns, err := describe(s.ctx, &f.connection, &s.o)
	if err != nil {
		return err
	}
	if err := f.prepare(s.ctx); err != nil {
		return err
	}
	if err := f.takeOver(s.ctx, named); err != nil {
		return err
	}
	s.decoder = newDecoder(columns)
	if c := s.connection(f.attempt); s.o.Mode == Upsert {
		s.writer = newUpserts(s.ctx, c, f, columns)
	} else {
		s.writer = newInserts(c)
	}
	return nil
}

// Write implements state.Sink. After an error the sink can only be closed: the attempt ends, and the next one writes
// the rows again.
func (s *Sink) Write(rec state.Record) error {
	if err := s.usable(); err != nil {
		return fmt.Errorf("postgres: write: %w", err)
	}
	err := s.decoder.decode(rec.Value)
	if err == nil {
		err = s.writer.write(s.ctx, s.decoder)
	}
	if err != nil {
		s.failed = err
		return fmt.Errorf("postgres: %w", err)
	}
	return nil
}

// PreCommit implements state.Sink. The state is nil if no transaction waits to be committed.
func (s *Sink) PreCommit(checkpoint uint64) ([]byte, error) {
	err := s.usable()
	if n := len(s.pending); err == nil && n > 0 && s.pending[n-1].Checkpoint >= checkpoint {
		err = fmt.Errorf("the later checkpoint %d was pre-committed before", s.pending[n-1].Checkpoint)
	}
	if err != nil {
		return nil, fmt.Errorf("postgres: pre-commit %d: %w", checkpoint, err)
	}
	t := transaction{Job: s.subtask.Job, Operator: s.subtask.Operator, Subtask: s.subtask.Index, Attempt: s.fence.attempt, Checkpoint: checkpoint}
	prepared, err := s.writer.preCommit(s.ctx, &s.fence, t)
	if err != nil {
		s.failed = err
		return nil, fmt.Errorf("postgres: pre-commit %d: %w", checkpoint, err)
	}
	if prepared {
		s.pending = append(s.pending, t)
	}
	return encodeState(s.pending), nil
}

// Commit implements state.Sink. It stops at the first transaction that it cannot commit, so that none is committed
// before an older one.
func (s *Sink) Commit(checkpoint uint64) error {
	if s.closed || !s.restored {
		return fmt.Errorf("postgres: commit %d: %w", checkpoint, s.usable())
	}
	for len(s.pending) > 0 && s.pending[0].Checkpoint <= checkpoint {
		t := s.pending[0]
		err := s.fence.commit(s.ctx, t)
		if err == nil {
			err = s.fence.forget(s.ctx, t)
		}
		if err != nil {
			return fmt.Errorf("postgres: commit %d: %w", checkpoint, err)
		}
		s.pending = s.pending[1:]
	}
	return nil
}

// Abort implements state.Sink.
func (s *Sink) Abort(uint64) {}

// Interrupt implements state.Interrupter.
func (s *Sink) Interrupt() { s.cancel() }

// Close implements state.Sink.
func (s *Sink) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.cancel()
	if s.writer != nil {
		s.writer.close()
	}
	s.fence.close()
	return nil
}

func (s *Sink) usable() error {
	switch {
	case s.closed:
		return errors.New("the sink is closed")
	case !s.restored:
		return errors.New("the sink was not restored; call Restore first")
	}
	return s.failed
}

// savedState is a sink's state, stored as JSON.
type savedState struct {
	Version      int           `json:"version"`
	Transactions []transaction `json:"transactions"`
}

func encodeState(pending []transaction) []byte {
	if len(pending) == 0 {
		return nil
	}
	p, err := json.Marshal(savedState{Version: 1, Transactions: pending})
	if err != nil {
		panic(err) // numbers and texts only
	}
	return p
}

// decodeState refuses a state that no sink can have saved, because the state decides which rows become visible.
func decodeState(p []byte, restored uint64) ([]transaction, error) {
	if len(p) == 0 {
		return nil, nil
	}
	var saved savedState
	if err := state.UnmarshalStrict(p, &saved); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if saved.Version != 1 {
		return nil, fmt.Errorf("state of version %d; this program reads version 1", saved.Version)
	}
	last := uint64(0)
	for _, t := range saved.Transactions {
		if t.Checkpoint > restored || t.Checkpoint <= last || t.Job == "" || t.Operator == "" || t.Subtask < 0 {
			return nil, fmt.Errorf("state names a transaction %s after checkpoint %d", t.gid(), last)
		}
		last = t.Checkpoint
	}
	return saved.Transactions, nil
}
