package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/runtime/state"
)

// upsertPlace has a table with a key.
func upsertPlace(t *testing.T) *place {
	p := newPlace(t, server(t))
	p.exec(t, "ALTER TABLE "+p.options.Table+" ADD PRIMARY KEY (n)")
	p.options.Mode, p.options.Key = Upsert, []string{"n"}
	return p
}

func upsert(t testing.TB, s *Sink, rows ...string) {
	t.Helper()
	for _, row := range rows {
		n, text, _ := strings.Cut(row, "=")
		check(t, s.Write(state.Record{Value: fmt.Appendf(nil, `{"n":%s,"s":"%s"}`, n, text)}))
	}
}

func (p *place) wantRows(t testing.TB, want string) {
	t.Helper()
	if got := strings.Join(p.rows(t, "SELECT n, s FROM "+p.options.Table+" ORDER BY n"), " "); got != want {
		t.Errorf("the table has %q, want %q", got, want)
	}
}

// await waits until the table has these rows.
func (p *place) await(t testing.TB, want string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if strings.Join(p.rows(t, "SELECT n, s FROM "+p.options.Table+" ORDER BY n"), " ") == want {
			return
		}
	}
	p.wantRows(t, want)
}

func TestUpsert(t *testing.T) {
	t.Run("by checkpoint", func(t *testing.T) {
		p := upsertPlace(t)
		s := p.begin(t, 1, 0, nil, func(o *Options) { o.FlushInterval = time.Hour })
		upsert(t, s, "1=a", "2=b", "1=c")
		p.wantRows(t, "")
		if saved := preCommit(t, s, 1); saved != nil {
			t.Errorf("state %s, want none", saved)
		}
		p.wantRows(t, "1|c 2|b")
		upsert(t, s, "2=d", "3=e")
		preCommit(t, s, 2)
		check(t, s.Commit(2))
		p.wantRows(t, "1|c 2|d 3|e")
	})
	t.Run("by size", func(t *testing.T) {
		p := upsertPlace(t)
		s := p.begin(t, 1, 0, nil, func(o *Options) { o.FlushInterval, o.BatchSize = time.Hour, 2 })
		upsert(t, s, "1=a", "1=b", "2=c", "3=d")
		p.await(t, "1|b 2|c")
	})
	t.Run("by bytes", func(t *testing.T) {
		p := upsertPlace(t)
		s := p.begin(t, 1, 0, nil, func(o *Options) { o.FlushInterval = time.Hour })
		long := strings.Repeat("x", maxBatch)
		upsert(t, s, "1="+long)
		p.await(t, "1|"+long)
	})
	t.Run("by time", func(t *testing.T) {
		p := upsertPlace(t)
		s := p.begin(t, 1, 0, nil, func(o *Options) { o.FlushInterval = time.Millisecond })
		upsert(t, s, "1=a")
		p.await(t, "1|a")
		upsert(t, s, "1=b")
		p.await(t, "1|b")
	})
	t.Run("all columns in the key", func(t *testing.T) {
		p := upsertPlace(t)
		p.exec(t, "CREATE UNIQUE INDEX ON "+p.options.Table+" (s, n)")
		s := p.begin(t, 1, 0, nil, func(o *Options) { o.Key = []string{"n", "s"} })
		upsert(t, s, "1=a", "1=a")
		preCommit(t, s, 1)
		p.wantRows(t, "1|a")
	})
	t.Run("keys that are equal in the database only", func(t *testing.T) {
		p := upsertPlace(t)
		p.exec(t, "ALTER TABLE "+p.options.Table+" ALTER n TYPE numeric")
		s := p.begin(t, 1, 0, nil)
		upsert(t, s, "1=a", "1.0=b", "1e0=c", "2=d")
		preCommit(t, s, 1)
		if got := p.rows(t, "SELECT s FROM "+p.options.Table+" ORDER BY s"); fmt.Sprint(got) != "[c d]" {
			t.Errorf("rows %v, want the newest of each key", got)
		}
	})
	t.Run("no key", func(t *testing.T) {
		p := upsertPlace(t)
		s := p.begin(t, 1, 0, nil)
		if err := s.Write(state.Record{Value: []byte(`{"s":"a"}`)}); err == nil || !strings.Contains(err.Error(), `the row has no "n"`) {
			t.Errorf("%v, want that the key is missing", err)
		}
	})
	t.Run("an error of a batch that the timer sent", func(t *testing.T) {
		p := upsertPlace(t)
		s := p.begin(t, 1, 0, nil, func(o *Options) { o.FlushInterval = time.Millisecond })
		p.exec(t, "ALTER TABLE "+p.options.Table+" ADD CHECK (n < 5)")
		upsert(t, s, "7=a")
		w := s.writer.(*upserts)
		for sent := false; !sent; time.Sleep(time.Millisecond) {
			w.mu.Lock()
			sent = len(w.filling.byKey) == 0
			w.mu.Unlock()
		}
		if _, err := s.PreCommit(1); err == nil || !strings.Contains(err.Error(), "CHECK") {
			t.Errorf("%v, want the table's CHECK", err)
		}
		if err := s.Write(record(1)); err == nil {
			t.Error("write after the error: no error")
		}
	})
	t.Run("connection lost", func(t *testing.T) {
		p := upsertPlace(t)
		s := p.begin(t, 1, 0, nil)
		for i, harm := range []string{"lost request", "lost reply", "cut"} {
			wire := &wire{harm: harm, message: "ORDINALITY"}
			s.writer.(*upserts).config.DialFunc = wire.dial
			s.writer.(*upserts).connection.close()
			upsert(t, s, fmt.Sprintf("1=%d", i))
			preCommit(t, s, uint64(i+1))
			if !wire.reached() {
				t.Error("no batch was sent")
			}
			p.wantRows(t, fmt.Sprintf("1|%d", i))
		}
	})
}

// A worker that was replaced, and wakes, replaces no row; nor does it keep its successor waiting.
func TestUpsertZombie(t *testing.T) {
	p := upsertPlace(t)
	for _, harm := range []string{"hold", "hold reply"} {
		p.exec(t, "DROP TABLE IF EXISTS "+p.options.FenceTable+"; TRUNCATE "+p.options.Table)
		a := p.sink(t)
		wire := holding(-1, harm)
		wire.message = "ORDINALITY"
		a.config.DialFunc = wire.dial
		check(t, a.Restore(1, 0, nil))
		upsert(t, a, "1=old", "2=old")
		result := make(chan error)
		go func() {
			_, err := a.PreCommit(1)
			result <- err
		}()
		<-wire.held
		b := p.begin(t, 2, 0, nil)
		upsert(t, b, "1=new", "2=new")
		preCommit(t, b, 2)
		p.wantRows(t, "1|new 2|new")
		close(wire.release)
		err := <-result
		if harm == "hold" && !errors.Is(err, ErrReplaced) {
			t.Errorf("%v, want that it was replaced", err)
		}
		_ = a.Write(record(1))
		_, _ = a.PreCommit(2)
		p.wantRows(t, "1|new 2|new")
	}
}

// A sink may change its mode: what the other mode prepared is resolved.
func TestModeChanges(t *testing.T) {
	p := upsertPlace(t)
	s := p.begin(t, 1, 0, nil, func(o *Options) { o.Mode, o.Key = ExactlyOnce, nil })
	upsert(t, s, "1=a")
	saved := preCommit(t, s, 1)
	upsert(t, s, "1=lost")
	check(t, s.Close())
	s = p.begin(t, 2, 1, saved)
	p.wantRows(t, "1|a")
	upsert(t, s, "1=b")
	preCommit(t, s, 2)
	p.wantRows(t, "1|b")
	p.wantLeftOver(t, 0)
}
