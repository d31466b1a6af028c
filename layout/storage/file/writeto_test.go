package file

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

// socket stands for a connection: it takes what the system could copy from a file without a buffer.
type socket struct {
	bytes.Buffer
	from io.Reader
	err  error
}

func (s *socket) ReadFrom(src io.Reader) (int64, error) {
	s.from = src
	if s.err != nil {
		return 0, s.err
	}
	return s.Buffer.ReadFrom(src)
}

// TestWriteTo hands the file itself to a connection, and tells the errors of the file from those of the connection.
func TestWriteTo(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, realSystem()).Store
	if err := s.Publish(t.Context(), "k", []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	open := func() io.ReadCloser {
		r, err := s.Open(t.Context(), "k", 2, 5)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r
	}
	var to socket
	n, err := io.Copy(&to, open())
	limited, ok := to.from.(*io.LimitedReader)
	if !ok {
		t.Fatalf("the connection got a %T, want the file with a limit", to.from)
	}
	if _, ok := limited.R.(*os.File); !ok || n != 5 || err != nil || to.String() != "23456" {
		t.Errorf("the connection got %q of a %T, and %d bytes were counted (%v); want 23456 of a file", to.String(), limited.R, n, err)
	}
	r := open()
	if _, err := io.ReadFull(r, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	to = socket{}
	if n, err := io.Copy(&to, r); n != 3 || err != nil || to.String() != "456" {
		t.Errorf("after a Read of two bytes: %q, %d bytes, %v; want the three that are left", to.String(), n, err)
	}
	gone := errors.New("the peer is gone")
	if _, err := io.Copy(&socket{err: gone}, open()); err != gone {
		t.Errorf("a connection that fails: %v, want its own error", err)
	}
	r = open()
	if err := os.Truncate(filepath.Join(dir, "k"), 4); err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(new(socket), r)
	if failed, ok := errors.AsType[*storage.Error](err); !ok || failed.Key != "k" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that was cut: %v, want io.ErrUnexpectedEOF with the key", err)
	}
}
