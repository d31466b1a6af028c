package api_test

import (
	"strings"
	"testing"

	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
)

// TestMatch: the uid decides which operator gets the state. Where one of the two has none, the id does, with a warning.
func TestMatch(t *testing.T) {
	op := func(id, uid string) *ckptdv1.Operator { return &ckptdv1.Operator{Id: id, Uid: uid, Parallelism: 1} }
	source := func(names ...string) (all []api.SourceOperator) {
		for i := 0; i < len(names); i += 2 {
			all = append(all, api.SourceOperator{Operator: layout.Operator{ID: names[i], UID: names[i+1], Parallelism: 1, MaxParallelism: 64}, HasState: true})
		}
		return all
	}
	for _, c := range []struct {
		name   string
		plan   []*ckptdv1.Operator
		source []api.SourceOperator
		want   string // the id that gets the state of each, and how
		warns  int
		refuse string
	}{
		{"RR-15 the same uid", []*ckptdv1.Operator{op("a", "x"), op("b", "y")}, source("a", "y", "b", "x"), "b:UID a:UID", 0, ""},
		{"the same id and another uid", []*ckptdv1.Operator{op("a", "x")}, source("a", "y"), "-", 0, "operator a (y) has state and is not in the plan"},
		{"no uid in the plan", []*ckptdv1.Operator{op("a", "")}, source("a", "y"), "a:ID", 1, ""},
		{"no uid in the checkpoint", []*ckptdv1.Operator{op("a", "x")}, source("a", ""), "a:ID", 1, ""},
		{"no uid at all", []*ckptdv1.Operator{op("a", "")}, source("a", ""), "a:ID", 1, ""},
		{"two operators with the uid, one with the id", []*ckptdv1.Operator{op("a", "x"), op("b", "x")}, source("b", "x"), "b:UID", 0, ""},
		{"two operators with the uid, none with the id", []*ckptdv1.Operator{op("a", "x"), op("b", "x")}, source("c", "x"), "-", 0, "operator c (x) has state and is not in the plan"},
		{"one operator for the state of two", []*ckptdv1.Operator{op("b", "x")}, source("a", "x", "b", ""), "b:UID b:ID", 0, "operator b would get the state of both a (x) and b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			diff, err := api.Match(&ckptdv1.Plan{Operators: c.plan}, c.source, false)
			var got []string
			for _, m := range diff.GetOperators() {
				switch {
				case m.GetCheckpoint() == nil:
				case m.GetPlan() == nil:
					got = append(got, "-")
				default:
					got = append(got, m.GetPlan().GetId()+":"+strings.TrimPrefix(m.GetMatchedBy().String(), "MATCHED_BY_"))
				}
			}
			if strings.Join(got, " ") != c.want || len(diff.GetWarnings()) != c.warns || diff.GetWhy() != c.refuse || (err != nil) != (c.refuse != "") {
				t.Errorf("%q, %d warnings, refused: %q (%v); want %q, %d, %q", got, len(diff.GetWarnings()), diff.GetWhy(), err, c.want, c.warns, c.refuse)
			}
		})
	}
	t.Run("RS-3", func(t *testing.T) {
		keyed := source("a", "x")
		keyed[0].Keyed = true
		asked := op("a", "x")
		asked.MaxParallelism = 128
		diff, err := api.Match(&ckptdv1.Plan{Operators: []*ckptdv1.Operator{asked}}, keyed, false)
		if want := "operator a (x): max parallelism was 64, the plan has 128"; err == nil || diff.GetWhy() != want {
			t.Errorf("refused: %q (%v), want %q", diff.GetWhy(), err, want)
		}
	})
}

func TestSourceIn(t *testing.T) {
	t.Run("FS-7", func(t *testing.T) {
		const root = "file:///srv/root"
		for _, from := range []string{"a/chk-7", "a/chk-7/", "a/chk-7/_metadata", root + "/a/chk-7", root + "/a/chk-7/", root + "/a/chk-7/_metadata", "/srv/root/a/chk-7/_metadata"} {
			got, err := api.SourceIn(&ckptdv1.AttachJobRequest{JobId: "b", Plan: &ckptdv1.Plan{}, RestoreFrom: from}, root)
			if err != nil || got.Source != root+"/a/chk-7" || got.Job != "a" || got.Checkpoint != 7 {
				t.Errorf("%s is %+v, %v; want checkpoint 7 of job a", from, got, err)
			}
		}
	})
}
