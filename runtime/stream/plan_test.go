package stream_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/state"
	"github.com/ckptd/ckptd/runtime/stream"
)

const plan = `job clicks: source (lines) -> filter -> map -> keyBy ==by key==> sum -> sink (files)

TASK  OPERATOR   STEP            UID        PARALLELISM  STATE
1     clicks     source (lines)  clicks     2            position
1     logged-in  filter          logged-in  2            -
1     one        map             one        2            -
1     keyBy      keyBy           -          2            -
2     count      sum             count      2            keyed
2     sink       sink (files)    sink       2            transactions
`

func TestPlan(t *testing.T) {
	job := tutorial(fromFile[click]("clicks.jsonl", 0), toFiles("out"))
	var text bytes.Buffer
	if err := job.WritePlan(&text); err != nil {
		t.Fatal(err)
	}
	if text.String() != plan {
		t.Errorf("the plan is\n%swant\n%s", &text, plan)
	}
	data, err := job.PlanJSON()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Operators []struct {
			ID, UID                     string
			Parallelism, MaxParallelism int
			Triggered                   bool
		}
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if n := len(got.Operators); n != 6 || !got.Operators[0].Triggered || got.Operators[4].UID != "count" || got.Operators[4].MaxParallelism != 128 {
		t.Errorf("the plan in JSON is %+v", got)
	}
}

// A graph that cannot run is refused with the name of the step.
func TestGraphsThatAreRefused(t *testing.T) {
	in := func() stream.Stream[click] { return stream.From(fromFile[click]("x", 0)) }
	keep := func(click) bool { return true }
	out := toFiles("out")
	twice := in().UID("source")
	twice.Filter(keep)
	for name, c := range map[string]struct {
		job  *stream.Job
		want string
	}{
		"a uid twice":                 {in().UID("a").Filter(keep).UID("a").To(out), `uid "a" is given twice`},
		"a uid with a space":          {in().UID("a b").To(out), `uid "a b": want 1 to 128 of letters, digits and . _ -`},
		"two steps after one":         {twice.Filter(keep).To(out), `two steps follow source "source"`},
		"two parallelisms in a chain": {in().Parallelism(2).Filter(keep).Parallelism(3).To(out), "filter has parallelism 3, a step before it in the same task 2"},
		"a parallelism below one":     {in().Parallelism(-1).To(out), "parallelism -1"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := c.job.Build(nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// given is a source of the given values.
func given[T any](unreadable stream.Unreadable, values ...string) stream.Source[T] {
	return stream.Source[T]{Kind: "given", Unreadable: unreadable, Open: func(runtime.Subtask) (state.Source, error) { return &list{values: values}, nil }}
}

type list struct {
	state.Source
	values []string
	next   int
}

func (l *list) Next(rec *state.Record) (state.Readiness, error) {
	if l.next == len(l.values) {
		return state.End, nil
	}
	rec.Key, rec.Value = nil, []byte(l.values[l.next])
	l.next++
	return state.Ready, nil
}

func (l *list) Progress() state.Progress   { return state.Progress{Records: uint64(l.next)} }
func (l *list) Position() []byte           { return []byte{byte(l.next)} }
func (l *list) Seek(position []byte) error { l.next = int(position[0]); return nil }
func (l *list) Close() error               { return nil }

func TestUnreadableRecords(t *testing.T) {
	values := []string{`{"user":"a"}`, `nonsense`, `{"user":"b"}`, `{"user":1}`, `{"user":"c"}`}
	open := func(u stream.Unreadable) (state.Source, runtime.Subtask) {
		job, err := stream.From(given[click](u, values...)).Filter(func(click) bool { return true }).To(toFiles("x")).Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		sub := runtime.Subtask{Chain: map[string]any{}}
		s, err := job.Tasks[0].Operators[0].Source(sub)
		if err != nil {
			t.Fatal(err)
		}
		return s, sub
	}
	read := func(s state.Source) (got []string, err error) {
		for {
			var rec state.Record
			switch ready, err := s.Next(&rec); {
			case err != nil:
				return got, err
			case ready == state.End:
				return got, nil
			case ready == state.Ready:
				got = append(got, string(rec.Value))
			}
		}
	}
	good := []string{values[0], values[2], values[4]}
	t.Run("fail names the record", func(t *testing.T) {
		s, _ := open(stream.Unreadable{})
		if _, err := read(s); err == nil || !strings.Contains(err.Error(), `record 2 of the source cannot be read`) || !strings.Contains(err.Error(), `"nonsense"`) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("skip counts, over a restore too", func(t *testing.T) {
		s, _ := open(stream.Unreadable{OnError: stream.Skip})
		if got, err := read(s); err != nil || !reflect.DeepEqual(got, good) {
			t.Errorf("read %q, %v", got, err)
		}
		next, _ := open(stream.Unreadable{OnError: stream.Skip})
		if err := next.Seek(s.Position()); err != nil {
			t.Fatal(err)
		}
		for name, p := range map[string]state.Progress{"read": s.Progress(), "restored": next.Progress()} {
			if p.Records != 3 || p.Unparsable != 2 {
				t.Errorf("%s: progress %+v, want 3 records and 2 unparsable", name, p)
			}
		}
	})
	t.Run("a dead-letter file holds them", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "dead")
		s, _ := open(stream.Unreadable{OnError: stream.DeadLetter, File: file})
		if got, err := read(s); err != nil || !reflect.DeepEqual(got, good) {
			t.Errorf("read %q, %v", got, err)
		}
		if b, err := os.ReadFile(file); string(b) != values[1]+"\n"+values[3]+"\n" {
			t.Errorf("the file holds %q, %v", b, err)
		}
	})
}

// Values come back from the bytes of every codec.
func TestCodecs(t *testing.T) {
	back(t, "text", "", "ü\x00")
	back(t, "bytes", []byte{}, []byte("x"))
	back(t, "int64", int64(0), int64(-1)<<63)
	back(t, "float64", 0.0, 1e300)
	back(t, "JSON", click{}, click{"a", true})
	back(t, "key and value", stream.KeyValue[int64]{}, stream.KeyValue[int64]{"a", 7})
	back(t, "key and JSON", stream.KeyValue[click]{"", click{"b", true}})
	if _, err := stream.CodecOf[stream.KeyValue[string]]().Decode([]byte{200, 1, 'a'}); err == nil {
		t.Error("a key that is cut off was decoded")
	}
}

func back[T any](t *testing.T, name string, values ...T) {
	t.Run(name, func(t *testing.T) {
		c := stream.CodecOf[T]()
		for _, v := range values {
			b, err := c.Append([]byte("before"), v)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Decode(b[len("before"):])
			if err != nil || !reflect.DeepEqual(got, v) {
				t.Errorf("%v became %v, %v", v, got, err)
			}
		}
	})
}
