package postgres

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// world is the outside of a sink: an input that can be read again, and a daemon that knows which checkpoints are
// complete. Its rules are the three facts of the package comment.
type world struct {
	*place
	attempt, nextID uint64
	// complete is the newest complete checkpoint.
	complete checkpoint
	runs     []*run
}

type checkpoint struct {
	id       uint64
	position int
	saved    []byte
}

// run is one process with its attempt. The attempt may have been replaced without the process knowing.
type run struct {
	attempt  uint64
	from     checkpoint
	sink     *Sink
	wire     *wire
	position int
	// taken are checkpoints that were pre-committed and are neither complete nor dropped.
	taken []checkpoint
	// told is the newest checkpoint that this attempt was told to be complete, or can still be told.
	told  uint64
	begun bool
}

func newWorld(t testing.TB, p *place) *world {
	p.exec(t, "DROP TABLE IF EXISTS "+p.options.FenceTable+"; TRUNCATE "+p.options.Table)
	return &world{place: p, nextID: 1}
}

// assign begins the next attempt without its restore: the process may be slow, and may be replaced before it has begun.
func (w *world) assign(t tb, wire *wire) *run {
	w.attempt++
	o := w.options
	o.BatchSize, o.RetryTimeout, o.LockTimeout = 3, 10*time.Second, 5*time.Second
	s, err := NewSink(o, w.subtask())
	if err != nil {
		t.Fatalf("%v", err)
	}
	if wire != nil {
		s.config.DialFunc = wire.dial
		wire.die = s.cancel
	}
	r := &run{attempt: w.attempt, from: w.complete, sink: s, wire: wire, position: w.complete.position, told: w.complete.id}
	w.runs = append(w.runs, r)
	return r
}

func (w *world) current(r *run) bool { return r.attempt == w.attempt }

func (w *world) restore(r *run) error {
	r.begun = true
	return r.sink.Restore(r.attempt, r.from.id, r.from.saved)
}

func (w *world) write(r *run) error {
	err := r.sink.Write(record(r.position))
	if err == nil {
		r.position++
	}
	return err
}

func (w *world) preCommit(r *run) error {
	id := w.nextID
	w.nextID++
	saved, err := r.sink.PreCommit(id)
	if err == nil {
		r.taken = append(r.taken, checkpoint{id, r.position, saved})
	}
	return err
}

// finish completes the newest checkpoint taken; only the current attempt's can be completed.
func (w *world) finish(r *run) {
	if n := len(r.taken); n > 0 && w.current(r) {
		w.complete, r.taken = r.taken[n-1], nil
		r.told = w.complete.id
	}
}

// story is a run that includes an aborted checkpoint and a lost Complete. It ends at the first error. With a nil
// attempt it never ends early.
func (w *world) story(r *run, mu *sync.Mutex) error {
	mu.Lock()
	defer mu.Unlock()
	unlocked := func(f func(*run) error) func(*run) error { // other attempts may act meanwhile
		return func(r *run) error {
			mu.Unlock()
			defer mu.Lock()
			return f(r)
		}
	}
	write, commit := unlocked(w.write), unlocked(func(r *run) error { return r.sink.Commit(r.told) })
	finish := func(r *run) error { w.finish(r); return nil }
	pre := func(r *run) error {
		id := w.nextID
		w.nextID++
		var saved []byte
		err := unlocked(func(r *run) (err error) { saved, err = r.sink.PreCommit(id); return err })(r)
		if err == nil {
			r.taken = append(r.taken, checkpoint{id, r.position, saved})
		}
		return err
	}
	steps := []func(*run) error{unlocked(w.restore)}
	for range 2 {
		steps = append(steps, write, write, write, write, pre, write, pre, finish, commit, write, pre, finish)
	}
	for _, step := range steps {
		if err := step(r); err != nil {
			return err
		}
	}
	return nil
}

// exact ends the story: a last attempt writes up to limit rows, and the table is compared.
func (w *world) exact(t tb, limit int) {
	t.Helper()
	r := w.assign(t, nil)
	defer r.sink.Close()
	if err := w.restore(r); err != nil {
		t.Fatalf("last attempt: %v", err)
	}
	for r.position < limit {
		if err := w.write(r); err != nil {
			t.Fatalf("%v", err)
		}
	}
	if err := w.preCommit(r); err != nil {
		t.Fatalf("%v", err)
	}
	w.finish(r)
	if err := r.sink.Commit(r.told); err != nil {
		t.Fatalf("%v", err)
	}
	w.compare(t, limit)
}

// compare wants each row once, and no prepared transaction.
func (w *world) compare(t tb, limit int) {
	t.Helper()
	var want []string
	for n := range limit {
		want = append(want, strconv.Itoa(n))
	}
	if got := w.rows(t, "SELECT n FROM "+w.options.Table+" ORDER BY n"); !slices.Equal(got, want) {
		t.Fatalf("the table has %s, want 0 to %d, each once", strings.Join(got, " "), limit-1)
	}
	if left := w.leftOver(t); len(left) > 0 {
		t.Fatalf("prepared transactions %q, want none", left)
	}
}

// A wire is the network between a sink and the server. It harms the message with number at.
type wire struct {
	at int
	// message, if not empty, tells the message instead of at: the first one that has this text.
	message string
	// harm is "lost request", "lost reply", "cut" after the message was sent, or "hold" before or "hold reply" after
	// it.
	harm string
	// dead is true if the process dies: it never connects again.
	dead bool
	// held is closed when the message is held; release lets it go. "pass" closes held, and holds nothing.
	held, release chan struct{}
	// die ends the process of the sink.
	die func()

	mu   sync.Mutex
	sent int
	done bool
}

var errCut = errors.New("cut")

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done && w.dead {
		return nil, &net.OpError{Op: "dial", Err: errCut}
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	return &wireConn{c, w}, err
}

// reached reports whether the message was harmed.
func (w *wire) reached() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

// holding returns a wire that harms a message by "hold", "hold reply" or "pass".
func holding(at int, harm string) *wire {
	return &wire{at: at, harm: harm, held: make(chan struct{}), release: make(chan struct{})}
}

// turn reports whether the message is the one to harm.
func (w *wire) turn(p []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.sent == w.at
	if w.message != "" {
		now = !w.done && bytes.Contains(p, []byte(w.message))
	}
	w.sent++
	w.done = w.done || now
	return now
}

type wireConn struct {
	net.Conn
	wire *wire
}

func (c *wireConn) Write(p []byte) (int, error) {
	if !c.wire.turn(p) {
		return c.Conn.Write(p)
	}
	switch c.wire.harm {
	case "pass":
		close(c.wire.held)
		return c.Conn.Write(p)
	case "hold":
		close(c.wire.held)
		<-c.wire.release
		return c.Conn.Write(p)
	case "hold reply":
		n, err := c.Conn.Write(p)
		close(c.wire.held)
		<-c.wire.release
		return n, err
	case "lost reply", "cut":
		if _, err := c.Conn.Write(p); err != nil {
			return 0, err
		}
		if c.wire.harm == "lost reply" {
			// The server has executed the message when its reply begins. To the rows of a COPY there is none.
			_ = c.Conn.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
			_, _ = c.Conn.Read(make([]byte, 1))
		}
	}
	c.Conn.Close()
	if c.wire.dead {
		c.wire.die()
	}
	return 0, &net.OpError{Op: "write", Err: errCut}
}
