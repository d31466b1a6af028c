package s3

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout/storage"
)

// A large object is copied by the server in parts, and the whole has the announced sum.
func TestCopyInParts(t *testing.T) {
	servers.Credentials(t)
	for _, kind := range []string{servers.Versitygw, servers.MinIO} {
		t.Run(kind, func(t *testing.T) {
			server := servers.StartS3(t, kind, false)
			at := func(root string) storage.Opened {
				c, err := Parse(server.URL(root, ""))
				if err != nil {
					t.Fatal(err)
				}
				opened, err := Open(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = opened.Close() })
				return opened
			}
			from, to := at("from"), at("to")
			s := to.Store.(*store)
			s.copySize, s.copyPart = 6<<20, 5<<20 // 5 MiB is the least that S3 allows
			data := bytes.Repeat([]byte("0123456789abcdef"), 11<<16)
			opts := storage.CreateOptions{Size: int64(len(data)), HasSize: true, CRC32C: crc32c.Sum(data), HasCRC32C: true}
			w, err := from.Store.Create(t.Context(), "a/f", opts)
			if err == nil {
				_, err = w.Write(data)
			}
			if err == nil {
				err = w.Commit()
			}
			if err != nil {
				t.Fatal(err)
			}
			err = s.CopyFrom(t.Context(), from.Store, "a/f", "b/f", opts)
			if err != nil {
				t.Fatal(err)
			}
			body, err := s.Open(t.Context(), "b/f", 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v; want %d", len(got), err, len(data))
			}
			opts.CRC32C++
			if err := s.CopyFrom(t.Context(), from.Store, "a/f", "b/g", opts); !errors.Is(err, storage.ErrMismatch) {
				t.Errorf("with another sum than announced: %v", err)
			}
			if _, err := s.Stat(t.Context(), "b/g"); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("stat: %v, want that there is no object", err)
			}
		})
	}
}
