package stream

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// writerTo is a reader that passes its file on in WriteTo, as the reader of a file driver may.
type writerTo struct {
	io.Reader
	n int64
}

func (w writerTo) WriteTo(to io.Writer) (int64, error) {
	return io.Copy(to, &io.LimitedReader{R: w.Reader, N: w.n})
}

// decode reads messages with the default codec.
func decode(b []byte) (p []byte, sizes []int, err error) {
	for len(b) > 0 {
		if len(b) < envelopeSize || b[0] != 0 {
			return nil, nil, fmt.Errorf("bad envelope %x", b[:min(len(b), 10)])
		}
		n := int(binary.BigEndian.Uint32(b[1:]))
		var m ckptdv1.GetStateResponse
		if err := proto.Unmarshal(b[envelopeSize:envelopeSize+n], &m); err != nil {
			return nil, nil, err
		}
		p, sizes = append(p, m.GetChunk()...), append(sizes, len(m.GetChunk()))
		b = b[envelopeSize+n:]
	}
	return p, sizes, nil
}

// Messages that are written without Connect are the same that Connect would send, and have the promised length.
func TestPlainIsConnect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOfN(rapid.Byte(), 1, 500).Draw(t, "bytes")
		chunk := rapid.IntRange(1, 300).Draw(t, "chunk")
		r := rapid.SampledFrom([]io.Reader{
			bytes.NewReader(p), struct{ io.Reader }{bytes.NewReader(p)}, writerTo{bytes.NewReader(p), int64(len(p))},
		}).Draw(t, "reader")
		w := httptest.NewRecorder()
		if err := sendPlain(w, r, int64(len(p)), chunk); err != nil {
			t.Fatal(err)
		}
		got, sizes, err := decode(w.Body.Bytes())
		if err != nil || !bytes.Equal(got, p) || len(sizes) != (len(p)+chunk-1)/chunk {
			t.Fatalf("messages of %v bytes: %x, want %x; %v", sizes, got, p, err)
		}
		if want := strconv.Itoa(w.Body.Len() + endSize); w.Header().Get("Content-Length") != want {
			t.Fatalf("Content-Length %s, want %s", w.Header().Get("Content-Length"), want)
		}
	})
}

// The same holds over a socket and from a file, where the kernel copies.
func TestPlainFromFile(t *testing.T) {
	p := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, p, 0o600); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if _, err := f.Seek(10, io.SeekStart); err != nil {
			t.Error(err)
		}
		if err := sendPlain(w, writerTo{f, int64(len(p) - 20)}, int64(len(p)-20), 100_000); err != nil {
			t.Error(err)
		}
		_, _ = w.Write([]byte{2, 0, 0, 0, 2, '{', '}'})
	}))
	defer srv.Close()
	res, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.ContentLength != int64(len(b)) {
		t.Fatalf("%d bytes, announced %d: %v", len(b), res.ContentLength, err)
	}
	if got, _, err := decode(b[:len(b)-endSize]); err != nil || !bytes.Equal(got, p[10:len(p)-10]) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// A file that ends early breaks the connection, so that the client does not take later bytes for the file's.
func TestPlainBreaksOffWhenTheFileDoes(t *testing.T) {
	for _, r := range []io.Reader{bytes.NewReader(make([]byte, 99)), writerTo{bytes.NewReader(make([]byte, 99)), 100}} {
		func() {
			defer func() {
				if e := recover(); e != http.ErrAbortHandler {
					t.Errorf("recovered %v", e)
				}
			}()
			err := sendPlain(httptest.NewRecorder(), r, 100, 10)
			t.Errorf("returned %v", err)
		}()
	}
	// Before the first byte, an error can still be returned.
	w := httptest.NewRecorder()
	if err := sendPlain(w, bytes.NewReader(nil), 100, 10); err == nil || w.Header().Get("Content-Length") != "" {
		t.Errorf("got %v, header %v", err, w.Header())
	}
}
