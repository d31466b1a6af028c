package clicks

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckptd/ckptd/runtime/lines"
	"github.com/ckptd/ckptd/runtime/state"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, o Options) state.Source {
	t.Helper()
	s, err := Open(o)
	check(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func input(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "input")
	check(t, os.WriteFile(path, []byte(content), 0o666))
	return path
}

// next returns the next record as text, or "" at the end.
func next(t testing.TB, s state.Source) string {
	t.Helper()
	for {
		var rec state.Record
		ready, err := s.Next(&rec)
		check(t, err)
		switch ready {
		case state.Ready:
			return fmt.Sprintf("%s=%s", rec.Key, rec.Value)
		case state.End:
			return ""
		}
	}
}

func all(t testing.TB, s state.Source) (records []string) {
	t.Helper()
	for r := next(t, s); r != ""; r = next(t, s) {
		records = append(records, r)
	}
	return records
}

// mixedLog returns a log with both formats, garbage, empty and long lines, lines of every length, and perhaps no
// newline at its end.
func mixedLog(r *rand.Rand, count int) (content string, records []string, unparsable uint64) {
	var b strings.Builder
	for i := range count {
		switch r.IntN(8) {
		case 0:
			b.WriteString(strings.Repeat("x", r.IntN(40)))
			unparsable++
		case 1:
			b.WriteString(strings.Repeat("y", lines.MaxLine+r.IntN(2*lines.MaxLine)))
			unparsable++
		case 2, 3, 4:
			fmt.Fprintf(&b, `10.0.0.%d - - [x] "%s" 200 1`, i, strings.Repeat("/", r.IntN(60)))
			records = append(records, fmt.Sprintf("10.0.0.%d=1", i))
		default:
			fmt.Fprintf(&b, `{"user":"u%d","logged_in":false}`, i)
			records = append(records, fmt.Sprintf("u%d=0", i))
		}
		if r.IntN(5) == 0 {
			b.WriteByte('\r')
		}
		if i < count-1 || r.IntN(2) == 0 {
			b.WriteByte('\n')
		}
	}
	if s := b.String(); strings.HasSuffix(s, "\n") || s == "" || count == 0 {
		return s, records, unparsable
	}
	return b.String() + "\n", records, unparsable
}

func TestSharesOfAFileAreTheWholeOfIt(t *testing.T) {
	for seed := range uint64(30) {
		content, want, unparsable := mixedLog(rand.New(rand.NewPCG(seed, 0)), int(seed))
		if seed%2 == 0 {
			content = strings.TrimSuffix(content, "\n") // may lose a last line that is empty
			if strings.HasSuffix(content, "\n") || content == "" {
				continue
			}
		}
		path := input(t, content)
		for _, p := range []int{1, 2, 3, 7, 50} {
			var got []string
			var sum state.Progress
			for i := range p {
				s := open(t, Options{Input: path, Subtask: i, Parallelism: p})
				got = append(got, all(t, s)...)
				sum.Records += s.Progress().Records
				sum.Unparsable += s.Progress().Unparsable
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("seed %d, %d shares, -want +got:\n%s", seed, p, d)
			}
			if wantSum := (state.Progress{Records: uint64(len(want)), Unparsable: unparsable}); sum != wantSum {
				t.Fatalf("seed %d, %d shares: %+v, want %+v", seed, p, sum, wantSum)
			}
		}
	}
}

// A byte order mark belongs to no line, wherever the shares begin. Within a file it belongs to its line.
func TestByteOrderMark(t *testing.T) {
	line := `{"user":"a","logged_in":true}` + "\n"
	path := input(t, "\xef\xbb\xbf"+line+line+"\xef\xbb\xbf"+line)
	for p := 1; p < 120; p++ {
		var got []string
		unparsable := uint64(0)
		for i := range p {
			s := open(t, Options{Input: path, Subtask: i, Parallelism: p})
			got = append(got, all(t, s)...)
			unparsable += s.Progress().Unparsable
		}
		if d := cmp.Diff([]string{"a=1", "a=1"}, got); d != "" || unparsable != 1 {
			t.Fatalf("%d shares, %d unparsable, want 1; -want +got:\n%s", p, unparsable, d)
		}
	}
}

// TestSeekGoesOnExactly stops at every call of Next, at NotNow too, and continues in a new source.
func TestSeekGoesOnExactly(t *testing.T) {
	content, _, _ := mixedLog(rand.New(rand.NewPCG(9, 9)), 60)
	content += strings.Repeat("z", 3*lines.MaxRead) + "\n" + `{"user":"last","logged_in":true}` + "\n"
	for name, o := range map[string]Options{
		"file":      {Input: input(t, content)},
		"share":     {Input: input(t, content), Subtask: 1, Parallelism: 3},
		"generated": {Seed: 5, Users: 10, Records: 50, Subtask: 2, Parallelism: 3},
	} {
		t.Run(name, func(t *testing.T) {
			whole := open(t, o)
			want := all(t, whole)
			s := open(t, o)
			var got []string
			for calls := 0; ; calls++ {
				again := open(t, o)
				all(t, again)
				check(t, again.Seek(s.Position())) // back from the end
				if again.Progress() != s.Progress() {
					t.Fatalf("progress %+v, want %+v", again.Progress(), s.Progress())
				}
				s = again
				var rec state.Record
				ready, err := s.Next(&rec)
				check(t, err)
				if ready == state.Ready {
					got = append(got, fmt.Sprintf("%s=%s", rec.Key, rec.Value))
				}
				if ready == state.End {
					break
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			if s.Progress() != whole.Progress() {
				t.Errorf("progress %+v, want %+v", s.Progress(), whole.Progress())
			}
		})
	}
}

func TestSeekRefusesOtherPositions(t *testing.T) {
	path := input(t, "{\"user\":\"a\",\"logged_in\":true}\n")
	o := Options{Input: path, Parallelism: 2}
	good := open(t, o).Position()
	for name, p := range map[string][]byte{
		"nothing":          nil,
		"no JSON":          []byte("x"),
		"an unknown field": []byte(strings.Replace(string(good), "{", `{"more":1,`, 1)),
		"a newer version":  []byte(strings.Replace(string(good), `"version":1`, `"version":2`, 1)),
		"beyond the end":   []byte(strings.Replace(string(good), `"next":0`, `"next":99`, 1)),
		"another share":    open(t, Options{Input: path, Parallelism: 2, Subtask: 1}).Position(),
		"another file":     open(t, Options{Input: input(t, "{\"user\":\"b\",\"logged_in\":true}\n"), Parallelism: 2}).Position(),
		"a generated log":  open(t, Options{Records: 5, Parallelism: 2}).Position(),
	} {
		if err := open(t, o).Seek(p); err == nil {
			t.Errorf("seek to %s: no error, want one", name)
		}
	}
	check(t, open(t, o).Seek(good))
}

func TestUnreadableInput(t *testing.T) {
	for name, o := range map[string]Options{
		"absent":          {Input: filepath.Join(t.TempDir(), "absent")},
		"a folder":        {Input: t.TempDir()},
		"shorter than it": {Input: input(t, "x\n"), Size: 3},
		"no such subtask": {Subtask: 2, Parallelism: 2},
		"negative rate":   {Rate: -1},
	} {
		if s, err := Open(o); err == nil {
			t.Errorf("open with %s: no error, want one", name)
			s.Close()
		}
	}
	path := input(t, strings.Repeat("{\"user\":\"a\",\"logged_in\":true}\n", 10000))
	s := open(t, Options{Input: path})
	check(t, os.Truncate(path, 10))
	var rec state.Record
	var err error
	for range 10001 {
		if _, err = s.Next(&rec); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("a file that became shorter: no error, want one")
	}
}

func TestAFileThatGrowsKeepsItsShares(t *testing.T) {
	line := "{\"user\":\"a\",\"logged_in\":true}\n"
	path := input(t, strings.Repeat(line, 20))
	o := Options{Input: path, Size: int64(10 * len(line)), Parallelism: 2}
	n := len(all(t, open(t, o)))
	o.Subtask = 1
	if n += len(all(t, open(t, o))); n != 10 {
		t.Errorf("%d records, want 10", n)
	}
}

func TestNextIsPatientForAMomentOnly(t *testing.T) {
	s := open(t, Options{Input: input(t, strings.Repeat("x", 5*lines.MaxRead)+"\n")})
	calls := 0
	for {
		var rec state.Record
		ready, err := s.Next(&rec)
		check(t, err)
		if calls++; ready == state.End {
			break
		}
	}
	if calls < 5 || s.Progress().Unparsable != 1 {
		t.Errorf("%d calls, %+v; want at least 5, and one unparsable line", calls, s.Progress())
	}
}

// counted returns the clicks of each logged-in user.
func counted(t testing.TB, o Options) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, r := range all(t, open(t, o)) {
		if user, ok := strings.CutSuffix(r, "=1"); ok {
			counts[user]++
		}
	}
	return counts
}

func TestGeneratedLogIsTheSameAtEveryParallelism(t *testing.T) {
	o := Options{Seed: 7, Users: 100, Records: 1000}
	want := counted(t, o)
	for _, p := range []int{2, 3, 16, 2000} {
		got := map[string]int{}
		o.Parallelism = p
		for o.Subtask = range p {
			for user, n := range counted(t, o) {
				got[user] += n
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("parallelism %d, -want +got:\n%s", p, d)
		}
	}
	o.Parallelism, o.Subtask, o.Seed = 1, 0, 8
	if cmp.Equal(want, counted(t, o)) {
		t.Error("another seed gives the same log, want another")
	}
	total, top := 0, ""
	for user, n := range want {
		if total += n; top == "" || n > want[top] {
			top = user
		}
	}
	if total < 850 || total > 950 {
		t.Errorf("%d of 1000 logged in, want about 900", total)
	}
	if top != "user-0" || want[top] < 50 || len(want) < 50 {
		t.Errorf("the top of %d users is %s with %d clicks: not Zipf's", len(want), top, want[top])
	}
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Options{Records: 1 << 40, Rate: 1000})
		begin := time.Now()
		count := func(until time.Duration) (n int) {
			for time.Since(begin) < until {
				var rec state.Record
				before := time.Now()
				ready, err := s.Next(&rec)
				check(t, err)
				if took := time.Since(before); took > state.MaxWait*time.Millisecond {
					t.Fatalf("Next took %v, want at most MaxWait", took)
				}
				if ready == state.Ready {
					n++
				}
			}
			return n
		}
		if n := count(2 * time.Second); n < 1990 || n > 2001 {
			t.Errorf("%d records in 2 s, want 2000", n)
		}
		time.Sleep(10 * time.Second) // backpressure
		if n := count(13 * time.Second); n < 1000 || n > 1110 {
			t.Errorf("%d records in a second after a pause, want 1000 and at most %v of making up", n, credit)
		}
	})
}

func TestOperators(t *testing.T) {
	rec := state.Record{Key: []byte("a"), Value: notLoggedIn}
	if LoggedIn(&rec) {
		t.Error("a click without a login passes the filter, want it dropped")
	}
	rec.Value = loggedIn
	if !LoggedIn(&rec) {
		t.Error("a click of a logged-in user is dropped, want it to pass")
	}
	check(t, Map("")(&rec))
	if string(rec.Value) != "1" {
		t.Errorf("mapped to %s, want 1", rec.Value)
	}
	check(t, Map("b")(&rec))
	if err := Map("a")(&rec); !errors.Is(err, ErrPoison) {
		t.Errorf("map of the poison user: %v, want ErrPoison", err)
	}
}
