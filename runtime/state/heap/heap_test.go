package heap_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/runtime/state/heap"
	"github.com/ckptd/ckptd/runtime/state/statetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBackend(t *testing.T) { statetest.Backends(t, heap.Open) }
