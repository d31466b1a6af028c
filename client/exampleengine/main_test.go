package main

import (
	"os"
	"testing"

	"github.com/ckptd/ckptd/conformance/engines"
)

// TestMain is the example itself in the processes that the suite starts.
func TestMain(m *testing.M) {
	if os.Getenv("CKPTD_TEST_EXAMPLE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	t.Setenv("CKPTD_TEST_EXAMPLE", "1")
	engines.Run(t, engines.Command(os.Args[0], "-daemon", engines.Daemons, "-job", engines.Job, "-interval", "50ms"), rounds())
}

// rounds is 3, or 20 in a long run.
func rounds() *engines.Options {
	if os.Getenv("CKPTD_NIGHTLY") != "" {
		return &engines.Options{Rounds: 20}
	}
	return nil
}
