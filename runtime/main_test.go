package runtime_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "4"); err != nil { // they wait most of the time; -parallel says otherwise
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
