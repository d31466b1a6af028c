package kafka

import (
	"os"
	"testing"

	"github.com/ckptd/ckptd/conformance/servers"
)

// real starts a real broker for a test of the full run.
func real(t testing.TB, settings map[string]string) (*servers.Kafka, *brokers) {
	t.Helper()
	if os.Getenv("CKPTD_TEST_FULL") == "" {
		t.Skip("a real broker takes ten seconds; CKPTD_TEST_FULL=1 runs it")
	}
	k := servers.StartKafka(t, settings)
	return k, use(t, k.Address)
}

func TestRealConnector(t *testing.T) {
	_, b := real(t, nil)
	t.Run("source", func(t *testing.T) { testSource(t, b) })
	t.Run("sink", func(t *testing.T) { testSink(t, b, true) })
	t.Run("sink, at least once", func(t *testing.T) { testAtLeastOnce(t, b) })
}
