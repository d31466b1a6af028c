package stream_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/conformance/daemontest"
	"github.com/ckptd/ckptd/runtime/filesink"
	"github.com/ckptd/ckptd/runtime/state/heap"
	"github.com/ckptd/ckptd/runtime/stream"
)

type sale struct {
	Shop  string `json:"shop"`
	Price int64  `json:"price"`
}

func shop(s sale) string { return s.Shop }

func price(s sale) float64 { return float64(s.Price) }

// Every keyed step gives the aggregate after each record, and steps behind it get its values.
func TestKeyedSteps(t *testing.T) {
	in := func() stream.Keyed[sale] {
		return stream.From(given[sale](stream.Unreadable{},
			`{"shop":"a","price":3}`, `{"shop":"b","price":5}`, `{"shop":"a","price":1}`, `{"shop":"a","price":4}`, `{"shop":"b","price":5}`)).KeyBy(shop)
	}
	show := func(s sale) string { return fmt.Sprint(s.Shop, s.Price) }
	pair := func(p stream.KeyValue[int64]) string { return fmt.Sprint(p.Key, p.Value) }
	for name, c := range map[string]struct {
		job  stream.Stream[string]
		want string
	}{
		"count":           {stream.Map(in().Count(), pair), "a1 a2 a3 b1 b2"},
		"sum":             {stream.Map(in().Sum(func(s sale) int64 { return s.Price }), pair), "a3 a4 a8 b10 b5"},
		"min":             {stream.Map(in().Min(price), show), "a1 a1 a3 b5 b5"},
		"max":             {stream.Map(in().Max(price), show), "a3 a3 a4 b5 b5"},
		"last":            {stream.Map(in().Last(), show), "a1 a3 a4 b5 b5"},
		"reduce":          {stream.Map(in().Reduce(func(a, s sale) sale { return sale{a.Shop, a.Price * s.Price} }), show), "a12 a3 a3 b25 b5"},
		"fold":            {stream.Map(stream.Fold(in(), "", func(a string, s sale) string { return fmt.Sprint(a, s.Price) }), func(p stream.KeyValue[string]) string { return p.Value }), "3 31 314 5 55"},
		"a filter behind": {stream.Map(in().Count().Filter(func(p stream.KeyValue[int64]) bool { return p.Value == 2 }), pair), "a2 b2"},
		"a second key": {stream.Map(stream.Map(in().Last(), func(s sale) sale { return sale{"all", s.Price} }).KeyBy(shop).Count().
			Filter(func(p stream.KeyValue[int64]) bool { return p.Value == 5 }), pair), "all5"},
		"any number of records": {stream.Map(stream.FlatMap(in().Count(), func(p stream.KeyValue[int64], emit func(stream.KeyValue[int64]) error) error {
			for range p.Value - 1 {
				if err := emit(p); err != nil {
					return err
				}
			}
			return nil
		}), pair), "a2 a3 a3 b2"},
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			l := start(t, daemontest.Start(t), c.job.To(toFiles(out)).Parallelism(1), heap.Open)
			defer l.Stop()
			if err := l.Wait(); err != nil {
				t.Fatal(err)
			}
			got := map[string]int{}
			if err := filesink.ReadLines(out, "clicks", func(_, value []byte) error { got[string(value)]++; return nil }); err != nil {
				t.Fatal(err)
			}
			want := map[string]int{}
			for _, v := range strings.Fields(c.want) {
				want[v]++
			}
			if !maps.Equal(got, want) {
				t.Errorf("the sink has %v, want %v", got, want)
			}
		})
	}
}
