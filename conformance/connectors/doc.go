// Package connectors is the suite that the sources and sinks of a streaming job pass: state.Source and state.Sink. It has a subtest for
// each sentence of their contract. The bundled connectors run it, and so can a connector of your own:
//
//	func TestSink(t *testing.T) {
//		connectors.TestSink(t, func(t testing.TB) connectors.Output {
//			table := newTable(t)
//			return connectors.Output{
//				Open:    func(t testing.TB) state.Sink { return NewSink(table) },
//				Visible: func(t testing.TB) []string { return table.keys(t) },
//			}
//		})
//	}
//
// The suite calls the create function once for each subtest. So every subtest has an input or output of its own. It plays the crash of a
// worker by leaving a sink without Close, and a suspended worker by calling an old sink after a new one.
//
// It owns no server and knows no connector.
package connectors
