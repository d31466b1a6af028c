package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// upserts inserts or replaces rows in batches, each its own transaction, as they come. While one batch is on its way,
// the next one is filled.
type upserts struct {
	columns []column
	key     []int
	sql     string
	fence   *fence

	mu sync.Mutex
	connection
	filling, sending *upsertBatch
	// running ends with the result of the batch that is on its way; nil if none is.
	running chan error
	// failed is the error of a batch that the timer sent.
	failed error
	timer  *time.Timer
	closed bool
}

// upsertBatch holds the newest row of each key.
type upsertBatch struct {
	text   []byte
	values []value
	byKey  map[string]int
}

func newUpserts(ctx context.Context, c connection, f *fence, columns []column) *upserts {
	w := &upserts{columns: columns, connection: c, fence: f, filling: &upsertBatch{byKey: map[string]int{}}, sending: &upsertBatch{byKey: map[string]int{}}}
	for _, name := range c.options.Key {
		w.key = append(w.key, slices.Index(c.options.Columns.names(), name))
	}
	w.sql = upsertSQL(c.options, columns)
	w.timer = time.AfterFunc(time.Hour, func() { w.late(ctx) })
	w.timer.Stop()
	return w
}

// upsertSQL takes an array for each column. A table for COPY would have to be temporary or shared; arrays need neither.
// DISTINCT ON keeps the newest row where keys differ only in their text. The order by key lets parallel subtasks lock
// rows in the same order.
func upsertSQL(o *Options, columns []column) string {
	names := quotedNames(o.Columns.names())
	key := quotedNames(o.Key)
	var casts, arrays, sets []string
	for i, c := range columns {
		casts = append(casts, fmt.Sprintf("u.%s::%s AS %[1]s", quotedName(c.name), c.typ))
		arrays = append(arrays, fmt.Sprintf("$%d::text[]", i+1))
		if !slices.Contains(o.Key, c.name) {
			sets = append(sets, fmt.Sprintf("%s = EXCLUDED.%[1]s", quotedName(c.name)))
		}
	}
	action := "DO NOTHING"
	if len(sets) > 0 {
		action = "DO UPDATE SET " + strings.Join(sets, ", ")
	}
	return fmt.Sprintf(`INSERT INTO %[1]s (%[2]s) SELECT DISTINCT ON (%[3]s) %[2]s FROM
		(SELECT %[4]s, u."ckptd order" FROM unnest(%[5]s) WITH ORDINALITY AS u(%[2]s, "ckptd order")) r
		ORDER BY %[3]s, "ckptd order" DESC ON CONFLICT (%[3]s) %[6]s`, quoted(o.Table), names, key, strings.Join(casts, ", "), strings.Join(arrays, ", "), action)
}

// write implements writer.
func (w *upserts) write(ctx context.Context, d *decoder) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed != nil {
		return w.failed
	}
	if err := w.filling.add(d, w.key); err != nil {
		return err
	}
	rows := len(w.filling.byKey)
	if rows == 1 {
		w.timer.Reset(w.options.FlushInterval)
	}
	if rows < w.options.BatchSize && len(w.filling.text) < maxBatch {
		return nil
	}
	return w.send(ctx)
}

// add adds a row, or replaces the one with the same key.
func (b *upsertBatch) add(d *decoder, key []int) error {
	var room [64]byte
	id := room[:0]
	for _, i := range key {
		v := d.values[i]
		if !v.set {
			return fmt.Errorf("the row has no %q, which is part of the key", d.columns[i].field)
		}
		id = binary.AppendUvarint(id, uint64(v.end-v.start))
		id = append(id, d.text[v.start:v.end]...)
	}
	row, found := b.byKey[string(id)]
	if !found {
		row = len(b.byKey)
		b.byKey[string(id)] = row
		b.values = append(b.values, d.values...)
	}
	base := len(b.text)
	b.text = append(b.text, d.text...)
	for i, v := range d.values {
		b.values[row*len(d.values)+i] = value{start: base + v.start, end: base + v.end, set: v.set}
	}
	return nil
}

func (b *upsertBatch) reset() {
	b.text, b.values = b.text[:0], b.values[:0]
	clear(b.byKey)
}

// array returns a column of all rows.
func (b *upsertBatch) array(column, columns int) []byte {
	array := []byte{'{'}
	for at := column; at < len(b.values); at += columns {
		if at > column {
			array = append(array, ',')
		}
		if v := b.values[at]; v.set {
			array = appendElement(array, b.text[v.start:v.end])
		} else {
			array = append(array, "NULL"...)
		}
	}
	return append(array, '}')
}

// send sends the batch, after the one before has arrived. The caller holds mu.
func (w *upserts) send(ctx context.Context) error {
	w.timer.Stop()
	if err := w.wait(); err != nil || len(w.filling.byKey) == 0 {
		return err
	}
	w.filling, w.sending = w.sending, w.filling
	w.filling.reset()
	running := make(chan error, 1)
	w.running = running
	go func() { running <- w.flush(ctx) }()
	return nil
}

// wait returns the result of the batch that is on its way. The caller holds mu.
func (w *upserts) wait() error {
	if w.running == nil {
		return w.failed
	}
	w.failed = <-w.running
	w.running = nil
	return w.failed
}

// flush sends a batch until its result is known: repeating it changes nothing. The first statement locks the fence, and
// divides by zero if the attempt is not the newest; then the server executes nothing.
func (w *upserts) flush(ctx context.Context) error {
	arrays := make([]any, len(w.columns))
	for i := range w.columns {
		arrays[i] = w.sending.array(i, len(w.columns))
	}
	newest := statement{"SELECT 1 / count(*) FROM (SELECT FROM " + w.fence.table() + " WHERE " + ofSubtask + " AND checkpoint = 0 AND attempt = $4 FOR SHARE) f",
		append(w.fence.row(), w.fence.attempt)}
	var fenced bool
	err := w.retry(ctx, func() error {
		fenced = false
		if _, err := w.batch(ctx, newest, statement{w.sql, arrays}); err != nil {
			fenced = sqlState(err) == divisionByZero
			return err
		}
		return nil
	})
	what := "write to table " + w.options.Table
	if fenced {
		return fmt.Errorf("%s: %w: this worker was replaced, or somebody removed its row from %s", what, ErrReplaced, w.options.FenceTable)
	}
	return w.options.explain(what, err)
}

// late sends rows that have waited for FlushInterval.
func (w *upserts) late(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed && w.failed == nil {
		w.failed = w.send(ctx)
	}
}

// preCommit implements writer: all rows before the checkpoint are in the database when it returns.
func (w *upserts) preCommit(ctx context.Context, _ *fence, _ transaction) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed != nil {
		return false, w.failed
	}
	if err := w.send(ctx); err != nil {
		return false, err
	}
	return false, w.wait()
}

// close implements writer.
func (w *upserts) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.timer.Stop()
	if w.running != nil {
		<-w.running
	}
	w.connection.close()
}
