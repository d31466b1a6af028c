package recount

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	want := Counts{"a": 3, "b": 1, "c": 70}
	good := []string{"a 1", "a 2", "a 3", "b 1"}
	for n := range 70 {
		good = append(good, fmt.Sprintf("c %d", n+1))
	}
	slices.Reverse(good)
	with := func(more ...string) []string { return append(slices.Clone(good), more...) }
	for name, c := range map[string]struct {
		lines                       []string
		missing, duplicate, foreign uint64
	}{
		"exact":             {lines: good},
		"nothing":           {missing: 74},
		"one missing":       {lines: good[1:], missing: 1},
		"one twice":         {lines: with("a 2"), duplicate: 1},
		"one for another":   {lines: with("a 2")[1:], duplicate: 1, missing: 1},
		"one too many":      {lines: with("a 4"), foreign: 1},
		"a foreign user":    {lines: with("d 1"), foreign: 1},
		"zero":              {lines: with("a 0"), foreign: 1},
		"no number":         {lines: with("a x"), foreign: 1},
		"beyond any number": {lines: with("a 99999999999999999999"), foreign: 1},
	} {
		v, err := Check(want, func(f func(user, count []byte) error) error {
			for _, l := range c.lines {
				user, count, _ := strings.Cut(l, " ")
				if err := f([]byte(user), []byte(count)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if v.Missing != c.missing || v.Duplicate != c.duplicate || v.Foreign != c.foreign || v.Exact() != (name == "exact") || v.Exact() != (len(v.Problems) == 0) {
			t.Errorf("%s: %v %v, want %d missing, %d duplicate, %d foreign", name, v, v.Problems, c.missing, c.duplicate, c.foreign)
		}
	}
	if _, err := Check(want, func(func(_, _ []byte) error) error { return os.ErrPermission }); !errors.Is(err, os.ErrPermission) {
		t.Errorf("check of an unreadable output: %v, want its error", err)
	}
}
