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
		v, err := Check(want, from(nil), from(c.lines))
		if err != nil {
			t.Fatal(err)
		}
		if v.Missing != c.missing || v.Duplicate != c.duplicate || v.Foreign != c.foreign || v.Exact() != (name == "exact") || v.Exact() != (len(v.Problems) == 0) {
			t.Errorf("%s: %v %v, want %d missing, %d duplicate, %d foreign", name, v, v.Problems, c.missing, c.duplicate, c.foreign)
		}
	}
	unreadable := func(func(_, _ []byte) error) error { return os.ErrPermission }
	for _, lines := range [][2]func(func(_, _ []byte) error) error{{from(nil), unreadable}, {unreadable, from(nil)}} {
		if _, err := Check(want, lines[0], lines[1]); !errors.Is(err, os.ErrPermission) {
			t.Errorf("check of an unreadable output: %v, want its error", err)
		}
	}
}

// from gives lines as "user count".
func from(lines []string) func(func(user, count []byte) error) error {
	return func(f func(user, count []byte) error) error {
		for _, l := range lines {
			user, count, _ := strings.Cut(l, " ")
			if err := f([]byte(user), []byte(count)); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestCheckAfterEarlierRuns: a run that goes on from a checkpoint has each user's last lines, the runs before it the
// others.
func TestCheckAfterEarlierRuns(t *testing.T) {
	want := Counts{"a": 3, "b": 1}
	for name, c := range map[string]struct {
		before, lines []string
		missing       uint64
		foreign       uint64
		said          string
	}{
		"exact":                     {before: []string{"a 1", "b 1"}, lines: []string{"a 3", "a 2"}, said: "exact: 2 lines of 2 users, each once, after 2 lines of earlier runs"},
		"the earlier run went on":   {before: []string{"a 1", "a 2", "a 3", "b 1"}, lines: []string{"a 2", "a 3"}, said: "exact: 2 lines of 2 users, each once, after 2 lines of earlier runs"},
		"nothing was left to do":    {before: []string{"a 1", "a 2", "a 3", "b 1"}, said: "exact: 0 lines of 2 users, each once, after 4 lines of earlier runs"},
		"a gap after the beginning": {before: []string{"a 1", "a 2", "a 3", "b 1"}, lines: []string{"a 1", "a 3"}, missing: 1},
		"a gap before it":           {before: []string{"b 1"}, lines: []string{"a 2", "a 3"}, missing: 1},
		"a user that nobody has":    {before: []string{"a 1", "a 2", "a 3"}, missing: 1},
		"a foreign line":            {before: []string{"a 1", "b 1", "b 2"}, lines: []string{"a 3", "a 2"}, foreign: 1},
	} {
		v, err := Check(want, from(c.before), from(c.lines))
		if err != nil {
			t.Fatal(err)
		}
		if v.Missing != c.missing || v.Foreign != c.foreign || c.said != "" && v.String() != c.said {
			t.Errorf("%s: %v %v, want %d missing, %d foreign, %q", name, v, v.Problems, c.missing, c.foreign, c.said)
		}
	}
}
