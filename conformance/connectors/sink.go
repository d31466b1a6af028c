package connectors

import (
	"slices"
	"testing"

	"github.com/ckptd/ckptd/runtime/state"
)

// An Output is where the sinks of one subtask write. At first nothing is there.
type Output struct {
	// Open returns a sink that was not restored. Each call is another process.
	Open func(t testing.TB) state.Sink
	// Visible returns the keys of the visible records, in any order. It waits for what is about to become visible.
	Visible func(t testing.TB) []string
	// Unfinished returns the number of transactions that are neither visible nor discarded; nil leaves it out.
	Unfinished func(t testing.TB) int
	// Record makes a record of a key; nil means the value "1".
	Record func(key string) state.Record
}

// A sinkTest is one subtest of a sink.
type sinkTest struct {
	testing.TB
	output
}

// output is embedded under another name, because testing.TB has a method Output.
type output = Output

// TestSink checks the contract of state.Sink: each record becomes visible exactly once.
func TestSink(t *testing.T, create func(t testing.TB) Output) {
	tests := map[string]func(sinkTest){
		"nothing is visible before its checkpoint is complete":                     sinkTest.visibleAfterCommit,
		"SN-1 Commit makes this and earlier checkpoints visible, no later one":     sinkTest.commitUpTo,
		"SN-2 a repeated or older Commit changes nothing":                          sinkTest.commitAgain,
		"SN-3 Restore commits what the state names and discards the rest":          sinkTest.restoreCommits,
		"SN-4 SN-5 checkpoints without records":                                    sinkTest.empty,
		"Abort leaves the transaction to the next complete checkpoint":             sinkTest.abort,
		"Restore discards pre-committed transactions that the state does not name": sinkTest.restoreDiscards,
		"Restore without a checkpoint discards everything":                         sinkTest.restoreNothing,
		"Restore of one checkpoint by several attempts shows its records once":     sinkTest.restoreAgain,
		"Restore of an older checkpoint shows nothing twice":                       sinkTest.restoreOlder,
		"Close discards the open transaction and leaves the pre-committed ones":    sinkTest.closes,
		"the record remains the caller's":                                          sinkTest.reusedRecord,
		"a method out of turn is an error":                                         sinkTest.outOfTurn,
		"a state that is none is refused":                                          sinkTest.foreignState,
		"a zombie that goes on writing shows nothing":                              sinkTest.zombieWrites,
		"a zombie that commits late shows nothing twice":                           sinkTest.zombieCommits,
		"a zombie that restores late takes nothing from a later attempt":           sinkTest.zombieRestores,
		"a zombie that closes takes nothing from a later attempt":                  sinkTest.zombieCloses,
		"Interrupt ends what waits":                                                sinkTest.interrupt,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := sinkTest{t, create(t)}
			if s.Record == nil {
				s.Record = func(key string) state.Record { return state.Record{Key: []byte(key), Value: []byte("1")} }
			}
			test(s)
		})
	}
}

func (t sinkTest) check(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// begin opens a sink and restores it.
func (t sinkTest) begin(attempt, restored uint64, saved []byte) state.Sink {
	t.Helper()
	s := t.open()
	t.check(s.Restore(attempt, restored, saved))
	return s
}

func (t sinkTest) open() state.Sink {
	t.Helper()
	s := t.Open(t)
	t.Cleanup(func() { s.Close() })
	return s
}

func (t sinkTest) write(s state.Sink, keys ...string) {
	t.Helper()
	for _, k := range keys {
		t.check(s.Write(t.Record(k)))
	}
}

// checkpoint writes and pre-commits.
func (t sinkTest) checkpoint(s state.Sink, n uint64, keys ...string) []byte {
	t.Helper()
	t.write(s, keys...)
	saved, err := s.PreCommit(n)
	t.check(err)
	return saved
}

// want compares the visible records.
func (t sinkTest) want(keys ...string) {
	t.Helper()
	got := slices.Sorted(slices.Values(t.Visible(t)))
	slices.Sort(keys)
	if !slices.Equal(got, keys) {
		t.Fatalf("visible are %q, want %q", got, keys)
	}
}

// finished checks that no transaction is left over.
func (t sinkTest) finished() {
	t.Helper()
	if t.Unfinished == nil {
		return
	}
	if n := t.Unfinished(t); n != 0 {
		t.Fatalf("%d transactions are left over, want none", n)
	}
}

func (t sinkTest) visibleAfterCommit() {
	s := t.begin(1, 0, nil)
	t.write(s, "a", "b")
	t.want()
	t.checkpoint(s, 1)
	t.want()
	t.check(s.Commit(1))
	t.want("a", "b")
	t.finished()
}

func (t sinkTest) commitUpTo() {
	s := t.begin(1, 0, nil)
	t.checkpoint(s, 1, "a")
	t.checkpoint(s, 2, "b")
	t.checkpoint(s, 3, "c")
	t.write(s, "d")
	t.check(s.Commit(2))
	t.want("a", "b")
	t.check(s.Commit(3))
	t.want("a", "b", "c")
}

func (t sinkTest) commitAgain() {
	s := t.begin(1, 0, nil)
	t.check(s.Commit(1)) // there may be nothing
	for n, k := range []string{"a", "b", "c", "d", "e", "f"} {
		t.checkpoint(s, uint64(n)+1, k)
		if n%2 == 1 {
			t.check(s.Commit(uint64(n) + 1))
			t.check(s.Commit(uint64(n)))
			t.check(s.Commit(uint64(n) + 1))
		}
	}
	t.want("a", "b", "c", "d", "e", "f")
	t.finished()
}

func (t sinkTest) restoreCommits() {
	s := t.begin(1, 0, nil)
	t.checkpoint(s, 1, "a")
	saved := t.checkpoint(s, 2, "b")
	t.write(s, "open")
	again := t.begin(2, 2, saved)
	t.want("a", "b")
	t.finished()
	t.checkpoint(again, 3, "c")
	t.check(again.Commit(3))
	t.want("a", "b", "c")
}

func (t sinkTest) empty() {
	s := t.begin(1, 0, nil)
	saved := t.checkpoint(s, 1)
	t.check(s.Commit(1))
	t.want()
	s = t.begin(2, 1, saved)
	t.checkpoint(s, 2, "a")
	saved = t.checkpoint(s, 3)
	t.begin(3, 3, saved)
	t.want("a")
	t.finished()
}

func (t sinkTest) abort() {
	s := t.begin(1, 0, nil)
	t.checkpoint(s, 1, "a")
	s.Abort(1)
	t.want()
	saved := t.checkpoint(s, 2, "b")
	s.Abort(7) // nobody pre-committed it
	t.begin(2, 2, saved)
	t.want("a", "b")
}

func (t sinkTest) restoreDiscards() {
	s := t.begin(1, 0, nil)
	saved := t.checkpoint(s, 1, "a")
	t.check(s.Commit(1))
	t.checkpoint(s, 2, "b")
	t.checkpoint(s, 3, "c")
	t.write(s, "open")
	again := t.begin(2, 1, saved)
	t.want("a")
	t.finished()
	t.checkpoint(again, 2, "b")
	t.check(again.Commit(2))
	t.want("a", "b")
}

func (t sinkTest) restoreNothing() {
	s := t.begin(1, 0, nil)
	t.checkpoint(s, 1, "a")
	t.write(s, "open")
	t.begin(2, 0, nil)
	t.want()
	t.finished()
}

func (t sinkTest) restoreAgain() {
	saved := t.checkpoint(t.begin(1, 0, nil), 1, "a")
	for attempt := range uint64(3) {
		s := t.begin(attempt+2, 1, saved)
		t.want("a")
		t.checkpoint(s, 2, "never")
	}
	t.begin(9, 1, saved)
	t.want("a")
	t.finished()
}

func (t sinkTest) restoreOlder() {
	s := t.begin(1, 0, nil)
	var older []byte
	keys := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for n, k := range keys {
		saved := t.checkpoint(s, uint64(n)+1, k)
		t.check(s.Commit(uint64(n) + 1))
		if n == 1 {
			older = saved
		}
	}
	for n := range uint64(4) { // whatever a sink uses again, one of them uses what the older checkpoint names
		t.checkpoint(s, n+9, "never")
	}
	t.write(s, "open")
	t.begin(2, 2, older)
	t.want(keys...)
	t.finished()
}

func (t sinkTest) closes() {
	s := t.begin(1, 0, nil)
	saved := t.checkpoint(s, 1, "a")
	t.write(s, "open")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	t.want()
	if t.Unfinished != nil {
		if n := t.Unfinished(t); n != 1 {
			t.Errorf("%d transactions are left after Close, want the pre-committed one", n)
		}
	}
	t.begin(2, 1, saved)
	t.want("a")
	t.finished()
}

func (t sinkTest) reusedRecord() {
	s := t.begin(1, 0, nil)
	rec := t.Record("a")
	t.check(s.Write(rec))
	clear(rec.Key)
	clear(rec.Value)
	t.checkpoint(s, 1, "b")
	t.check(s.Commit(1))
	t.want("a", "b")
}

func (t sinkTest) outOfTurn() {
	s := t.open()
	for what, err := range map[string]error{"Write": s.Write(t.Record("a")), "Commit": s.Commit(1)} {
		if err == nil {
			t.Errorf("%s before Restore says nothing", what)
		}
	}
	t.check(s.Restore(1, 0, nil))
	if s.Restore(1, 0, nil) == nil {
		t.Error("a second Restore says nothing")
	}
	t.checkpoint(s, 2, "a")
	if _, err := s.PreCommit(1); err == nil {
		t.Error("PreCommit of a checkpoint before the last one says nothing")
	}
	t.check(s.Close())
	for what, err := range map[string]error{"Write": s.Write(t.Record("a")), "Commit": s.Commit(2), "Restore": s.Restore(2, 0, nil)} {
		if err == nil {
			t.Errorf("%s after Close says nothing", what)
		}
	}
}

func (t sinkTest) foreignState() {
	saved := t.checkpoint(t.begin(1, 0, nil), 5, "a")
	for _, c := range []struct {
		restored uint64
		state    []byte
	}{{5, []byte("x")}, {5, append(slices.Clone(saved), 'x')}, {4, saved}} {
		if t.open().Restore(2, c.restored, c.state) == nil {
			t.Errorf("Restore of checkpoint %d with the state %q says nothing", c.restored, c.state)
		}
	}
	t.want()
}

func (t sinkTest) zombieWrites() {
	zombie := t.begin(1, 0, nil)
	saved := t.checkpoint(zombie, 1, "a")
	t.check(zombie.Commit(1))
	t.checkpoint(zombie, 2, "lost")
	t.write(zombie, "lost")
	s := t.begin(2, 1, saved)
	t.write(s, "b")
	for n := range uint64(3) { // each call may fail
		zombie.Write(t.Record("zombie"))
		zombie.PreCommit(n + 3)
	}
	zombie.Write(t.Record("zombie"))
	t.checkpoint(s, 2, "c")
	t.want("a")
	t.check(s.Commit(2))
	zombie.Close()
	t.want("a", "b", "c")
	saved = t.checkpoint(s, 3, "d")
	t.check(s.Commit(3))
	t.begin(3, 3, saved)
	t.want("a", "b", "c", "d")
	t.finished()
}

func (t sinkTest) zombieCommits() {
	zombie := t.begin(1, 0, nil)
	saved := t.checkpoint(zombie, 1, "a")
	t.checkpoint(zombie, 2, "lost")
	s := t.begin(2, 1, saved)
	t.want("a")
	t.checkpoint(s, 2, "b")
	zombie.Commit(1) // it may fail
	t.want("a")
	t.check(s.Commit(2))
	t.want("a", "b")
}

func (t sinkTest) zombieRestores() {
	saved := t.checkpoint(t.begin(1, 0, nil), 1, "a")
	zombie := t.open() // of attempt 2
	s := t.begin(3, 1, saved)
	t.checkpoint(s, 2, "b")
	t.write(s, "c")
	if zombie.Restore(2, 1, saved) == nil {
		zombie.Write(t.Record("zombie"))
	}
	t.check(s.Commit(2))
	t.checkpoint(s, 3, "d")
	t.check(s.Commit(3))
	zombie.Close()
	t.want("a", "b", "c", "d")
	t.finished()
}

func (t sinkTest) zombieCloses() {
	zombie := t.begin(1, 0, nil)
	t.checkpoint(zombie, 1, "lost")
	t.write(zombie, "lost")
	s := t.begin(2, 0, nil)
	t.checkpoint(s, 1, "a")
	t.write(s, "b")
	zombie.Close()
	t.check(s.Commit(1))
	t.checkpoint(s, 2)
	t.check(s.Commit(2))
	t.want("a", "b")
	t.finished()
}

func (t sinkTest) interrupt() {
	s := t.begin(1, 0, nil)
	i, ok := s.(state.Interrupter)
	if !ok {
		t.Skip("the sink has no Interrupt")
	}
	saved := t.checkpoint(s, 1, "a")
	t.write(s, "open")
	within(t, "Interrupt", func() { i.Interrupt(); i.Interrupt() })
	within(t, "PreCommit after Interrupt", func() { s.PreCommit(2) })
	within(t, "Close after Interrupt", func() { s.Close() })
	t.want()
	t.begin(2, 1, saved)
	t.want("a")
	t.finished()
}

// TestAtLeastOnceSink checks a sink that loses nothing, and may show a record again: all records are visible when PreCommit returns.
func TestAtLeastOnceSink(t *testing.T, create func(t testing.TB) Output) {
	t.Run("records are visible when PreCommit returns, whatever follows", func(t *testing.T) {
		s := sinkTest{t, create(t)}
		if s.Record == nil {
			s.Record = func(key string) state.Record { return state.Record{Key: []byte(key), Value: []byte("1")} }
		}
		sink := s.begin(1, 0, nil)
		saved := s.checkpoint(sink, 1, "a", "b")
		s.contains("a", "b")
		s.check(sink.Commit(1))
		s.checkpoint(sink, 2, "c")
		sink.Abort(2)
		sink = s.begin(2, 1, saved)
		s.checkpoint(sink, 2, "d")
		s.check(sink.Close())
		s.contains("a", "b", "c", "d")
		s.finished()
	})
}

// contains checks that records are visible, among others.
func (t sinkTest) contains(keys ...string) {
	t.Helper()
	got := t.Visible(t)
	for _, k := range keys {
		if !slices.Contains(got, k) {
			t.Fatalf("visible are %q, and %q is missing", got, k)
		}
	}
}
