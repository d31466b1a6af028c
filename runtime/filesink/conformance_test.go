package filesink

import (
	"testing"

	"github.com/ckptd/ckptd/conformance/connectors"
	"github.com/ckptd/ckptd/runtime/state"
)

func TestConnector(t *testing.T) {
	connectors.TestSink(t, func(t testing.TB) connectors.Output {
		dir := t.TempDir()
		return connectors.Output{
			Open: func(t testing.TB) state.Sink {
				s, err := New(Options{Dir: dir, Name: "job-1"})
				check(t, err)
				return s
			},
			Visible:    func(t testing.TB) []string { return visible(t, dir) },
			Unfinished: func(t testing.TB) int { return len(staging(t, dir)) },
		}
	})
}
