package retention

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	return t
}

// TestForget is a table of the rules, one after the other and together.
func TestForget(t *testing.T) {
	group := []Candidate{
		{ID: 1, At: at("2025-12-30 10:00"), Tags: []string{"release", "a"}},
		{ID: 2, At: at("2026-01-01 09:00")},
		{ID: 3, At: at("2026-01-01 23:30"), Tags: []string{"release"}},
		{ID: 4, At: at("2026-02-01 00:10")},
		{ID: 5, At: at("2026-02-01 00:50")},
		{ID: 6, At: at("2026-02-01 01:10")},
	}
	for name, test := range map[string]struct {
		rules Rules
		want  string
	}{
		"last":               {Rules{Last: 2}, "6 last; 5 last"},
		"all":                {Rules{Last: -1}, "6 last; 5 last; 4 last; 3 last; 2 last; 1 last"},
		"hourly":             {Rules{Hourly: 2}, "6 hourly; 5 hourly"},
		"daily":              {Rules{Daily: 2}, "6 daily; 3 daily"},
		"daily, few":         {Rules{Daily: 9}, "6 daily; 3 daily; 1 daily"},
		"weekly":             {Rules{Weekly: 2}, "6 weekly; 3 weekly"},
		"weekly, the oldest": {Rules{Weekly: 3}, "6 weekly; 3 weekly; 1 oldest weekly"},
		"monthly":            {Rules{Monthly: 2}, "6 monthly; 3 monthly"},
		"yearly":             {Rules{Yearly: 1}, "6 yearly"},
		"within":             {Rules{Within: 40 * time.Minute}, "6 within the time; 5 within the time"},
		"a tag":              {Rules{Tags: [][]string{{"release"}}}, "3 has the tags; 1 has the tags"},
		"tags":               {Rules{Tags: [][]string{{"release", "a"}, {"b"}}}, "1 has the tags"},
		"together":           {Rules{Last: 1, Daily: 1, Tags: [][]string{{"a"}}}, "6 last, daily; 1 has the tags"},
		"nothing":            {Rules{}, ""},
	} {
		var got []string
		for _, v := range Forget(group, &test.rules) {
			if v.Keep {
				got = append(got, fmt.Sprintf("%d %s", v.ID, strings.Join(v.Reasons, ", ")))
			}
		}
		if text := strings.Join(got, "; "); text != test.want {
			t.Errorf("%s: keeps %s, want %s", name, text, test.want)
		}
		if name == "nothing" != test.rules.Empty() {
			t.Errorf("%s: empty is %v", name, test.rules.Empty())
		}
	}
}

// TestForgetKeepsWhatItMust: whatever the rules are, what is protected stays, each verdict has a reason, and more is never kept by a
// smaller number.
func TestForgetKeepsWhatItMust(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		group := make([]Candidate, r.IntN(12))
		for i := range group {
			group[i] = Candidate{ID: uint64(i + 1), At: at("2026-01-01 00:00").Add(time.Duration(r.IntN(200)) * 7 * time.Hour),
				Newest: r.IntN(9) == 0, Kept: r.IntN(9) == 0}
			if r.IntN(9) == 0 {
				group[i].Borrowers = []string{"other"}
			}
		}
		rules := Rules{Last: r.IntN(3), Hourly: r.IntN(3), Daily: r.IntN(3), Weekly: r.IntN(3), Monthly: r.IntN(3) - 1, Within: time.Duration(r.IntN(3)) * 24 * time.Hour}
		verdicts := Forget(group, &rules)
		if len(verdicts) != len(group) {
			t.Fatalf("seed %d: %d verdicts on %d checkpoints", seed, len(verdicts), len(group))
		}
		kept := 0
		for i, v := range verdicts {
			if len(v.Reasons) == 0 || !v.Keep && (v.Newest || v.Kept || len(v.Borrowers) > 0) {
				t.Fatalf("seed %d: %+v", seed, v)
			}
			if i > 0 && v.At.After(verdicts[i-1].At) {
				t.Fatalf("seed %d: not newest first", seed)
			}
			if i < rules.Last && !v.Keep {
				t.Fatalf("seed %d: number %d goes, %d are to stay", seed, i, rules.Last)
			}
			if v.Keep {
				kept++
			}
		}
		again := slices.Clone(group)
		r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		more := rules
		more.Last++
		if n := keptOf(Forget(again, &more)); n < kept {
			t.Fatalf("seed %d: %d stay, and only %d with one more", seed, kept, n)
		}
	}
}

func keptOf(all []Verdict) (n int) {
	for _, v := range all {
		if v.Keep {
			n++
		}
	}
	return n
}

func TestTheEndsOfLineages(t *testing.T) {
	for _, test := range []struct {
		lines []Line
		want  map[string]bool
	}{
		{nil, map[string]bool{}},
		{[]Line{{"a", "", true}}, map[string]bool{"a": true}},
		{[]Line{{"a", "", true}, {"b", "a", true}}, map[string]bool{"b": true}},
		{[]Line{{"a", "", true}, {"b", "a", false}}, map[string]bool{"a": true}},
		{[]Line{{"a", "", true}, {"b", "a", false}, {"c", "b", true}}, map[string]bool{"c": true}},
		{[]Line{{"a", "", true}, {"b", "a", true}, {"c", "a", true}}, map[string]bool{"b": true, "c": true}},
		{[]Line{{"a", "b", true}, {"b", "a", true}}, map[string]bool{}},
		{[]Line{{"b", "gone", true}}, map[string]bool{"b": true}},
	} {
		if got := Ends(test.lines); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%v: %v, want %v", test.lines, got, test.want)
		}
	}
}
