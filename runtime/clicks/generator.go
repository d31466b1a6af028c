package clicks

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/ckptd/ckptd/runtime/lines"
	"github.com/ckptd/ckptd/runtime/state"
)

// The generated log: users follow Zipf's law, so that a few click most. One click in ten is not logged in.
const (
	zipfExponent = 1.1
	zipfShift    = 5
	outOfTen     = 10
)

// generator is a log whose record g is a function of (seed, g), so that reading can begin at any record. A subtask's
// share is every parallelism-th record.
type generator struct {
	lines.Counters
	input        string
	seed         uint64
	first, step  uint64
	next, shares uint64 // shares is the number of records of this share
	source       *mixer
	zipf         *rand.Zipf
	user         []byte
}

var _ state.Source = (*generator)(nil)

func newGenerator(o Options) *generator {
	g := &generator{
		input: fmt.Sprintf("generated seed=%d users=%d records=%d subtask=%d/%d", o.Seed, o.Users, o.Records, o.Subtask, o.Parallelism),
		seed:  o.Seed, first: uint64(o.Subtask), step: uint64(o.Parallelism), source: &mixer{},
	}
	if o.Records > g.first {
		g.shares = (o.Records-g.first-1)/g.step + 1
	}
	g.zipf = rand.NewZipf(rand.New(g.source), zipfExponent, zipfShift, o.Users-1)
	return g
}

// Next implements state.Source.
func (g *generator) Next(rec *state.Record) (state.Readiness, error) {
	if g.next >= g.shares {
		return state.End, nil
	}
	g.source.begin(g.seed, g.first+g.next*g.step)
	rec.Value = loggedIn
	if g.source.Uint64()%outOfTen == 0 {
		rec.Value = notLoggedIn
	}
	g.user = strconv.AppendUint(append(g.user[:0], "user-"...), g.zipf.Uint64(), 10)
	rec.Key = g.user
	g.next++
	g.Records.Add(1)
	return state.Ready, nil
}

// Position implements state.Source.
func (g *generator) Position() []byte {
	return lines.Position{Input: g.input, Next: g.next, Records: g.Records.Load()}.Encode()
}

// Seek implements state.Source.
func (g *generator) Seek(p []byte) error {
	to, err := lines.DecodePosition(p, g.input, g.shares)
	if err != nil {
		return err
	}
	g.next = to.Next
	g.Set(to)
	return nil
}

// Close implements state.Source.
func (g *generator) Close() error { return nil }

// mixer is SplitMix64: a rand.Source that restarts for each record.
type mixer struct{ state uint64 }

const golden = 0x9e3779b97f4a7c15

func (m *mixer) begin(seed, record uint64) {
	m.state = seed
	m.state = m.Uint64() ^ record*0xd1342543de82ef95
	m.Uint64()
}

// Uint64 implements rand.Source.
func (m *mixer) Uint64() uint64 {
	m.state += golden
	z := m.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
