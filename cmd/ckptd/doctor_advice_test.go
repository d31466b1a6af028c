package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/doctor"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
)

// keeper is a store whose deletes do nothing and return a given error.
type keeper struct {
	storage.Store
	says error
}

func (k keeper) Delete(_ context.Context, keys []string) []error {
	return slices.Repeat([]error{k.says}, len(keys))
}

// The advice for an unfit store depends on the promise that the store breaks.
func TestAdviceFitsTheCause(t *testing.T) {
	refused := errors.New("AccessDenied")
	for _, c := range []struct {
		root, want string
		says       error
	}{
		{"s3://bucket/x", "AccessDenied. Give ckptd's user s3:DeleteObject. To see all that is wrong: ckptd doctor s3://bucket/x", refused},
		{"file:///x", "AccessDenied. Give ckptd's user the permission to delete. ", refused},
		{"s3://bucket/x", doctor.DeleteAdvice, nil},
	} {
		_, err := layout.OpenRoot(t.Context(), keeper{mem.New(), c.says})
		if got := whatToDo(c.root, err); !errors.Is(got, layout.ErrUnfit) || !strings.Contains(got.Error(), c.want) || strings.Contains(got.Error(), "If-None-Match") {
			t.Errorf("%s: %v, want %q", c.root, got, c.want)
		}
	}
	stale := fmt.Errorf("%w: %w", layout.ErrUnfit, layout.ErrStale)
	if got := whatToDo("s3://bucket/x", stale); !strings.Contains(got.Error(), doctor.StaleAdvice) {
		t.Error(got)
	}
	if got := whatToDo("s3://bucket/x", layout.ErrUnfit); !strings.Contains(got.Error(), "If-None-Match") {
		t.Error(got)
	}
}

// What cannot be a root's folder is told so, and not of credentials.
func TestDoctorAdvisesOnFolders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{file, filepath.Join(file, "below"), "/proc/no-such-folder"} {
		r, code, said := runDoctor(t, root)
		if code == exit.Done || len(r.GetFindings()) != 1 || !strings.HasPrefix(r.GetFindings()[0].GetAdvice(), "Give a folder") {
			t.Errorf("%s: exit code %d, %v\n%s", root, code, r, said)
		}
	}
}

// An interruption can make the opening of a store fail with any error (here: no credentials). Doctor reports the
// interruption and not that error.
func TestDoctorInterruptedAtOnce(t *testing.T) {
	servers.Credentials(t)
	root := servers.StartS3(t, servers.Gofakes3, false).URL("x", "")
	id, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	var asked atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	giver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 { // doctor opens a store twice: to look, and to write
			fmt.Fprintf(w, `{"AccessKeyId": %q, "SecretAccessKey": %q, "Token": "", "Expiration": "2100-01-01T00:00:00Z"}`, id, secret)
			return
		}
		cancel()
		http.Error(w, "", http.StatusForbidden)
	}))
	defer giver.Close()
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", giver.URL)
	var out bytes.Buffer
	code := run(ctx, []string{"doctor", "--quick", root}, &out, &out)
	if ctx.Err() == nil {
		t.Fatalf("nobody was asked for credentials twice\n%s", &out)
	}
	if code != exit.Interrupted || strings.Contains(out.String(), "could not be examined") {
		t.Errorf("exit code %d\n%s", code, &out)
	}
}
