package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/conformance/engines"
)

// TestMain is the example itself in the processes that the suite starts.
func TestMain(m *testing.M) {
	if os.Getenv("CKPTD_TEST_EXAMPLE") != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) {
	t.Setenv("CKPTD_TEST_EXAMPLE", "1")
	o := &engines.Options{Quick: true}
	if os.Getenv("CKPTD_NIGHTLY") != "" {
		o = &engines.Options{Rounds: 20}
	}
	engines.Run(t, engines.Command(os.Args[0], "-daemon", engines.Daemons, "-job", engines.Job, "-interval", "50ms"), o)
}
