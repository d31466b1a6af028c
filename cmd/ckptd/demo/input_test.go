package demo

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func gzipped(t *testing.T, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zstandard(t *testing.T, content string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return string(w.EncodeAll([]byte(content), nil))
}

// Inputs are recognized by their content. What cannot be read twice is copied to a file that can.
func TestOpenInput(t *testing.T) {
	text := strings.Repeat("a line\n", 10_000)
	half := len(text) / 2
	skipped := "\x50\x2a\x4d\x18\x03\x00\x00\x00abc" // a frame that decoders skip
	for name, c := range map[string]struct{ content, want, note string }{
		"plain":                {text, text, ""},
		"empty":                {"", "", ""},
		"plain.gz":             {text, text, ""},
		"packed.log":           {gzipped(t, text), text, "gzip, unpacked"},
		"two members":          {gzipped(t, text[:half]) + gzipped(t, text[half:]), text, "gzip, unpacked"},
		"an empty member":      {gzipped(t, ""), "", "gzip, unpacked"},
		"packed.txt":           {zstandard(t, text), text, "zstd, unpacked"},
		"two frames":           {zstandard(t, text[:half]) + zstandard(t, text[half:]), text, "zstd, unpacked"},
		"a skipped frame":      {skipped + zstandard(t, text), text, "zstd, unpacked"},
		"gzip in gzip, as one": {gzipped(t, gzipped(t, text)), gzipped(t, text), "gzip, unpacked"},
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(c.content), 0o666); err != nil {
			t.Fatal(err)
		}
		check := func(how string, in input, err error, note string) {
			t.Helper()
			if err != nil {
				t.Errorf("%s, %s: %v", name, how, err)
				return
			}
			got, err := os.ReadFile(in.path)
			if err != nil || string(got) != c.want || in.size != int64(len(c.want)) || !bytes.HasPrefix(got, in.head) || len(in.head) != min(len(got), headSize) {
				t.Errorf("%s, %s: %d bytes of size %d with a head of %d, %v; want %d bytes", name, how, len(got), in.size, len(in.head), err, len(c.want))
			}
			if !strings.Contains(in.note, note) || (note == "") != (in.note == "") {
				t.Errorf("%s, %s: the note is %q, want it to say %q", name, how, in.note, note)
			}
		}
		in, err := openInput(t.Context(), path, t.TempDir())
		check("as a file", in, err, c.note)
		pipe := filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(pipe, 0o666); err != nil {
			t.Fatal(err)
		}
		go func() { _ = os.WriteFile(pipe, []byte(c.content), 0o666) }()
		in, err = openInput(t.Context(), pipe, t.TempDir())
		if c.note == "" {
			c.note = "a stream, copied"
		}
		check("as a pipe", in, err, c.note)
	}
}

func TestOpenInputRefuses(t *testing.T) {
	packed, frames := gzipped(t, strings.Repeat("a line\n", 10_000)), zstandard(t, strings.Repeat("a line\n", 10_000))
	for name, c := range map[string]struct{ content, want string }{
		"gzip cut off":           {packed[:len(packed)-9], "gzip: damaged or cut off"},
		"gzip cut off at once":   {packed[:5], "gzip: damaged or cut off"},
		"gzip with a wrong sum":  {packed[:len(packed)-5] + "\x00" + packed[len(packed)-4:], "gzip: damaged or cut off"},
		"gzip with other things": {packed + "x", "gzip: damaged or cut off"},
		"zstd cut off":           {frames[:len(frames)-3], "zstd: damaged or cut off"},
	} {
		path := filepath.Join(t.TempDir(), "input")
		if err := os.WriteFile(path, []byte(c.content), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := openInput(t.Context(), path, t.TempDir()); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := openInput(t.Context(), t.TempDir(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Errorf("a folder: %v, want it refused", err)
	}
	if _, err := openInput(t.Context(), filepath.Join(t.TempDir(), "none"), t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v, want that it is not there", err)
	}
}

// An interruption ends the wait for a pipe's writer, before and after it has come.
func TestOpenInputInterrupted(t *testing.T) {
	for _, comes := range []bool{false, true} {
		pipe := filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(pipe, 0o666); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		if comes {
			opened := make(chan *os.File, 1)
			go func() {
				w, err := os.OpenFile(pipe, os.O_WRONLY, 0)
				if err == nil {
					_, err = w.WriteString("a li")
				}
				if err != nil {
					t.Error(err)
				}
				opened <- w
				cancel(errors.New("enough"))
			}()
			defer func() { (<-opened).Close() }()
		} else {
			cancel(errors.New("enough"))
		}
		if _, err := openInput(ctx, pipe, t.TempDir()); err == nil || !strings.Contains(err.Error(), "enough") {
			t.Errorf("a writer comes: %t; %v, want the cause of the end", comes, err)
		}
	}
}

func TestStrangeInput(t *testing.T) {
	for head, want := range map[string]string{
		"BZh91AY":                 "bzip2",
		"\xfd7zXZ\x00\x00":        "xz",
		"PK\x03\x04":              "zip",
		"\x1f\x8b\x08":            "twice",
		"\xff\xfea\x00":           "UTF-16",
		"\xfe\xff\x00a":           "UTF-16",
		"a\x00b\x00c\x00\n\x00":   "UTF-16",
		"a b\rc d\r":              "CR alone",
		"\x7fELF\x01\x00\x02\x03": "no text",
		"a b\r\n":                 "",
	} {
		in := input{head: []byte(head)}
		if got := in.strange(); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%q: %q, want %q", head, got, want)
		}
	}
}

func TestManySkippedLinesAreAWarning(t *testing.T) {
	for _, c := range []struct {
		clicks, skipped uint64
		want            string
	}{{100, 0, ""}, {0, 0, ""}, {95, 5, ""}, {95, 6, "6 of 101 lines (5%)"}, {1, 1, "1 of 2 lines (50%)"}} {
		d := &Demo{total: c.clicks, skipped: c.skipped}
		if got := d.warning(); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%d clicks, %d skipped: %q, want %q", c.clicks, c.skipped, got, c.want)
		}
	}
}
