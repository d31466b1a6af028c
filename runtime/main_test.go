package runtime_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(engineEnv) != "" {
		if err := engineMain(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "engine:", err)
			os.Exit(1)
		}
		return
	}
	if err := flag.Set("test.parallel", "4"); err != nil { // the tests mostly wait; -parallel overrides this
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
