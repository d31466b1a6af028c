package clicks

import (
	"math/rand/v2"
	"testing"

	"github.com/ckptd/ckptd/conformance/connectors"
	"github.com/ckptd/ckptd/runtime/state"
)

func TestConnector(t *testing.T) {
	content, _, _ := mixedLog(rand.New(rand.NewPCG(3, 3)), 60)
	path := input(t, content)
	for name, o := range map[string]Options{
		"file":      {Input: path},
		"share":     {Input: path, Subtask: 1, Parallelism: 2},
		"generated": {Seed: 5, Users: 10, Records: 50, Subtask: 2, Parallelism: 3},
	} {
		t.Run(name, func(t *testing.T) {
			connectors.TestSource(t, func(testing.TB) connectors.Input {
				return connectors.Input{Open: func(t testing.TB) state.Source { return open(t, o) }}
			})
		})
	}
}
