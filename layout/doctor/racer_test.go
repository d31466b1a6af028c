package doctor

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Racers behind pipes do the same as racers in this process.
func TestFarRacers(t *testing.T) {
	s := mem.New()
	var served sync.WaitGroup
	defer served.Wait()
	racers := func(context.Context) (racers []Racer, err error) {
		for range 3 {
			inRead, inWrite := io.Pipe()
			outRead, outWrite := io.Pipe()
			served.Go(func() {
				if err := ServeRacer(context.Background(), NewRacer(opened(s)), inRead, outWrite); err != nil {
					t.Error(err)
				}
			})
			r, err := DialRacer(outRead, inWrite, inWrite.Close)
			if err != nil {
				return nil, err
			}
			racers = append(racers, r)
		}
		return racers, nil
	}
	r := examineIt(t, opened(s), &Options{Quick: true, Racers: racers})
	if r.GetVerdict() != ckptdv1.Verdict_VERDICT_FIT || !strings.Contains(text(r), "64 of 64 races between 3 creators") {
		t.Errorf("%s\nwant it fit, with 64 of 64 races between 3 creators", text(r))
	}
	failing := func(context.Context) ([]Racer, error) { return nil, errors.New("no more processes") }
	r = examineIt(t, opened(s), &Options{Quick: true, Racers: failing})
	if r.GetVerdict() != ckptdv1.Verdict_VERDICT_NOT_EXAMINED || !strings.Contains(text(r), "no more processes") {
		t.Errorf("%s\nwant it not examined, with the racers' error", text(r))
	}
}

// One race, judged.
func TestTally(t *testing.T) {
	won := Outcome{Told: ToldWon, Seen: SeenWhole, Author: 1}
	lost := Outcome{Told: ToldLost, Seen: SeenWhole, Author: 1}
	with := func(o Outcome, change func(*Outcome)) Outcome { change(&o); return o }
	for name, c := range map[string]struct {
		outcomes []Outcome
		decided  int
		unfit    string
	}{
		"one winner":           {[]Outcome{won, lost, lost}, 1, ""},
		"no reply to winner":   {[]Outcome{{Told: ToldUnknown}, lost, lost}, 0, ""},
		"winner told exists":   {[]Outcome{lost, lost, lost}, 1, ""},
		"two winners":          {[]Outcome{won, won, lost}, 0, "2 of 3"},
		"the wrong winner":     {[]Outcome{with(lost, func(o *Outcome) { o.Author = 2 }), with(won, func(o *Outcome) { o.Author = 1 })}, 0, "another's"},
		"another's object":     {[]Outcome{with(won, func(o *Outcome) { o.Author = 2 }), with(lost, func(o *Outcome) { o.Author = 2 })}, 0, "another's"},
		"a part":               {[]Outcome{won, with(lost, func(o *Outcome) { o.Seen = SeenTorn })}, 1, "a part"},
		"not found":            {[]Outcome{won, with(lost, func(o *Outcome) { o.Seen = SeenAbsent })}, 1, "not found"},
		"a read that failed":   {[]Outcome{won, with(lost, func(o *Outcome) { o.Seen = SeenFailed })}, 1, ""},
		"one that was refused": {[]Outcome{won, {Told: ToldFailed, Error: "x"}}, 0, ""},
	} {
		var got tally
		got.count(c.outcomes)
		if got.decided != c.decided || !strings.Contains(got.unfit, c.unfit) || (got.unfit == "") != (c.unfit == "") {
			t.Errorf("%s: %+v, want decided %d, unfit %q", name, got, c.decided, c.unfit)
		}
	}
}
