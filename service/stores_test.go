package service

import (
	"io"
	"os"
	"testing"

	"github.com/ckptd/ckptd/layout/storage/file"
)

// readsFrom notes the reader that io.Copy hands to a connection.
type readsFrom struct {
	io.Writer
	src io.Reader
}

func (r *readsFrom) ReadFrom(src io.Reader) (int64, error) {
	r.src = src
	return io.Copy(r.Writer, src)
}

// TestStoresHandFilesOver reads a file through all layers over the driver. The connection gets the file itself, so that
// the system copies without a buffer.
func TestStoresHandFilesOver(t *testing.T) {
	root, err := file.Open(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	o := (*Options)(nil).withDefaults()
	store := newStores(root, &o, newMetrics()).restore
	if err := store.Publish(t.Context(), "k", []byte("bytes")); err != nil {
		t.Fatal(err)
	}
	r, err := store.Open(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	to := readsFrom{Writer: io.Discard}
	if _, err := io.Copy(&to, r); err != nil {
		t.Fatal(err)
	}
	limited, ok := to.src.(*io.LimitedReader)
	if !ok {
		t.Fatalf("the connection got a %T, want the file with a limit", to.src)
	}
	if _, ok := limited.R.(*os.File); !ok {
		t.Errorf("the connection got a %T, want an *os.File", limited.R)
	}
}
