package postgres

import (
	"errors"
	"testing"
	"time"
)

// An old worker that does nothing any more may hold locks that the new attempt needs: of rows that it wrote into its
// open transaction.
func TestOldSessionHoldsRows(t *testing.T) {
	p := newPlace(t, server(t))
	p.exec(t, "ALTER TABLE "+p.options.Table+" ADD UNIQUE (n)")
	a := p.begin(t, 1, 0, nil, func(o *Options) { o.BatchSize = 1 })
	write(t, a, 1)
	check(t, a.writer.(*inserts).wait())
	b := p.begin(t, 2, 0, nil, func(o *Options) { o.LockTimeout = 2 * time.Second })
	write(t, b, 1)
	preCommit(t, b, 1)
	check(t, b.Commit(1))
	p.want(t, "1")
	if _, err := a.PreCommit(2); err == nil {
		t.Error("the old attempt takes a checkpoint, want an error")
	}
	p.wantLeftOver(t, 0)
}

// An old worker whose batch waits for a row that a person has locked holds the lock of the fence meanwhile.
func TestOldSessionHoldsFence(t *testing.T) {
	p := upsertPlace(t)
	p.exec(t, "INSERT INTO "+p.options.Table+" VALUES (1, 'x'); BEGIN; UPDATE "+p.options.Table+" SET s = 'y'")
	a := p.begin(t, 1, 0, nil)
	upsert(t, a, "1=old")
	result := make(chan error)
	go func() {
		_, err := a.PreCommit(1)
		result <- err
	}()
	for len(p.rows(t, "SELECT FROM pg_locks WHERE NOT granted AND "+`
		pid IN (SELECT pid FROM pg_stat_activity WHERE application_name = '`+applicationName(a.subtask, 1)+"')")) == 0 {
		time.Sleep(time.Millisecond)
	}
	b := p.begin(t, 2, 0, nil)
	if err := <-result; !errors.Is(err, ErrReplaced) {
		t.Errorf("the old attempt: %v, want that it was replaced", err)
	}
	p.exec(t, "COMMIT")
	upsert(t, b, "1=new")
	preCommit(t, b, 1)
	p.wantRows(t, "1|new")
}

// A Restore that is suspended between its look at the fence and the raise of it does not lower the fence.
func TestLateRestore(t *testing.T) {
	p := newPlace(t, server(t))
	p.begin(t, 1, 0, nil).Close()
	late := p.sink(t)
	wire := holding(-1, "hold")
	wire.message = "INSERT INTO"
	late.config.DialFunc = wire.dial
	result := make(chan error)
	go func() { result <- late.Restore(2, 0, nil) }()
	<-wire.held
	s := p.begin(t, 3, 0, nil)
	write(t, s, 1)
	saved := preCommit(t, s, 1)
	close(wire.release)
	if err := <-result; !errors.Is(err, ErrReplaced) {
		t.Errorf("restore of the older attempt: %v, want that it was replaced", err)
	}
	check(t, s.Commit(1))
	p.want(t, "1")
	if err := p.sink(t).Restore(2, 1, saved); !errors.Is(err, ErrReplaced) {
		t.Errorf("restore of the older attempt again: %v, want that it was replaced", err)
	}
	p.begin(t, 3, 1, saved)
	// A session that nobody has ended yet is at the raise already.
	f := fence{connection: late.connection(2), subtask: p.subtask(), attempt: 2}
	defer f.close()
	if err := f.raise(t.Context()); !errors.Is(err, ErrReplaced) {
		t.Errorf("raise of the older attempt: %v, want that it was replaced", err)
	}
}
