package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
	"github.com/ckptd/ckptd/service/api"
)

// refusing is a daemon that answers each question for a checkpoint with an error.
type refusing struct {
	ckptdv1connect.UnimplementedJobServiceHandler
	err error
}

func (r *refusing) ShowCheckpoint(context.Context, *ckptdv1.ShowCheckpointRequest) (*ckptdv1.ShowCheckpointResponse, error) {
	return nil, api.Error(fmt.Errorf("show: %w", r.err))
}

// What is wrong with the store gets the same exit code whether the command or a daemon has read the store.
func TestExitCodeThroughADaemon(t *testing.T) {
	for _, err := range []error{
		catalog.ErrDamaged, catalog.ErrNoJob, catalog.ErrNoCheckpoint, layout.ErrCorrupt, journal.ErrCorrupt,
		layout.ErrNewerFormat, journal.ErrNewer, layout.ErrUnknownKind,
	} {
		_, handler := ckptdv1connect.NewJobServiceHandler(&refusing{err: err})
		server := httptest.NewServer(handler)
		var out bytes.Buffer
		code := run(t.Context(), []string{"show", "clicks/chk-1", "--server", server.URL}, &out, &out)
		if want := exitCode(t.Context(), err); code != want || !strings.Contains(out.String(), err.Error()) {
			t.Errorf("%v: exit code %d through a daemon, %d without\n%s", err, code, want, &out)
		}
		server.Close()
	}
	if code := exitCode(t.Context(), layout.ErrNewerFormat); code != exit.Damage {
		t.Errorf("a newer format: exit code %d, want %d", code, exit.Damage)
	}
}
