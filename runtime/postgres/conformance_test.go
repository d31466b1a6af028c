package postgres

import (
	"fmt"
	"testing"

	"github.com/ckptd/ckptd/conformance/connectors"
	"github.com/ckptd/ckptd/runtime/state"
)

// output is a table of keys.
func output(t testing.TB, p *place) connectors.Output {
	p.options.Columns = Columns{{Name: "s", Field: "key"}}
	return connectors.Output{
		Open:       func(t testing.TB) state.Sink { return p.sink(t) },
		Visible:    func(t testing.TB) []string { return p.rows(t, "SELECT s FROM "+p.options.Table) },
		Unfinished: func(t testing.TB) int { return len(p.leftOver(t)) },
		Record:     func(key string) state.Record { return state.Record{Value: fmt.Appendf(nil, `{"key":%q}`, key)} },
	}
}

func TestConformance(t *testing.T) {
	connectors.TestSink(t, func(t testing.TB) connectors.Output { return output(t, newPlace(t, server(t))) })
}

func TestConformanceUpsert(t *testing.T) {
	connectors.TestAtLeastOnceSink(t, func(t testing.TB) connectors.Output {
		p := newPlace(t, server(t))
		p.exec(t, "ALTER TABLE "+p.options.Table+" ADD UNIQUE (s)")
		p.options.Mode, p.options.Key = Upsert, []string{"s"}
		return output(t, p)
	})
}
