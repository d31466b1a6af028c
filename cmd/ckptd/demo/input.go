package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
)

const (
	// stdin is the name of standard input as a value of --input.
	stdin = "-"
	// headSize is how much of an input is looked at to recognize its form.
	headSize = 4 << 10
	// maxWindow bounds the memory of the zstd decoder. The zstd command refuses larger windows, too, unless it is told.
	maxWindow = 128 << 20
)

// An input is a file that the job's sources can read again from any position.
type input struct {
	path string
	size int64
	// note says where the file comes from, if it is a copy.
	note string
	head []byte
}

// openInput returns the input that a person named. The job has to read it again after each failure, so standard input,
// pipes and compressed files are copied to a file in dir first.
func openInput(ctx context.Context, name, dir string) (input, error) {
	in, err := openInputIn(ctx, name, dir)
	if err != nil {
		return input{}, fmt.Errorf("demo: --input %s: %w", output.Clean(name), err)
	}
	return in, nil
}

func openInputIn(ctx context.Context, name, dir string) (input, error) {
	f, err := openWaiting(ctx, name)
	if err != nil {
		return input{}, plainPath(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return input{}, err
	}
	if info.IsDir() {
		return input{}, errors.New("it is a folder; want a file, a pipe, or - for standard input")
	}
	in := input{path: name, size: info.Size()}
	regular := info.Mode().IsRegular() && name != stdin
	if regular {
		in.head = make([]byte, headSize)
		n, err := f.ReadAt(in.head, 0)
		if err != nil && err != io.EOF {
			return input{}, err
		}
		in.head = in.head[:n]
		if in.path, err = filepath.Abs(name); err != nil || compression(in.head) == "" {
			return in, err
		}
	}
	in.path = filepath.Join(dir, "input")
	what := "unpacked"
	kind, err := in.copyFrom(ctx, f)
	if kind == "" {
		kind, what = "a stream", "copied"
	}
	if err != nil {
		return input{}, err
	}
	in.note = fmt.Sprintf("%s, %s to %s (%s)", kind, what, in.path, output.Bytes(uint64(in.size)))
	return in, nil
}

// openWaiting opens an input. A pipe is opened only when its writer comes, and ctx can end that wait.
func openWaiting(ctx context.Context, name string) (*os.File, error) {
	if name == stdin {
		return os.Stdin, nil
	}
	type opened struct {
		f   *os.File
		err error
	}
	// No call interrupts an open that waits. The goroutine ends with the program if nobody writes to the pipe.
	done := make(chan opened, 1)
	go func() {
		f, err := os.Open(name)
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		return o.f, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// plainPath drops the path from an error that is printed after it.
func plainPath(err error) error {
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		return at.Err
	}
	return err
}

// copyFrom writes the input, unpacked, to its path. It returns the compression, "" for none.
func (in *input) copyFrom(ctx context.Context, from io.Reader) (kind string, err error) {
	stream, closeStream := readUntil(ctx, from)
	defer closeStream()
	raw := bufio.NewReaderSize(stream, 64<<10)
	head, err := raw.Peek(headSize)
	if err != nil && err != io.EOF {
		return "", err
	}
	kind = compression(head)
	unpacked, closeReader, err := unpack(kind, raw)
	if err != nil {
		return kind, damaged(kind, 0, err)
	}
	defer closeReader()
	to, err := os.Create(in.path)
	if err != nil {
		return kind, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	reader := &readErrors{r: unpacked}
	in.size, err = io.Copy(to, reader)
	switch {
	case ctx.Err() != nil:
		return kind, context.Cause(ctx)
	case reader.err != nil:
		return kind, damaged(kind, in.size, reader.err)
	case err != nil:
		return kind, fmt.Errorf("copy it to %s: %w; TMPDIR names the folder for such files", in.path, plainPath(err))
	}
	in.head = make([]byte, min(in.size, headSize))
	copied, err := os.Open(in.path)
	if err != nil {
		return kind, err
	}
	_, err = io.ReadFull(copied, in.head)
	return kind, errors.Join(err, copied.Close())
}

func damaged(kind string, after int64, err error) error {
	if kind == "" {
		return fmt.Errorf("read it: %w", err)
	}
	return fmt.Errorf("%s: damaged or cut off after %s unpacked: %w", kind, output.Bytes(uint64(after)), err)
}

// readErrors tells the errors of a reader from those of the writer that it is copied to.
type readErrors struct {
	r   io.Reader
	err error
}

func (r *readErrors) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// readUntil reads in another goroutine, so that ctx can end a read that waits for a pipe's writer.
func readUntil(ctx context.Context, from io.Reader) (stream io.Reader, closeStream func()) {
	r, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, from)
		w.CloseWithError(err)
	}()
	stop := context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	return r, func() { stop(); r.Close() }
}

// compression recognizes the compression of an input by its first bytes, "" for none or an unknown one.
func compression(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return "gzip"
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")), len(head) > 3 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18":
		return "zstd" // the second is a frame that is skipped: pzstd writes one first
	}
	return ""
}

// unpack returns a reader of the content. Both formats may hold several members, one after the other.
func unpack(kind string, raw io.Reader) (content io.Reader, closeReader func(), err error) {
	switch kind {
	case "gzip":
		r, err := gzip.NewReader(raw)
		if err != nil {
			return nil, nil, err
		}
		return r, func() { _ = r.Close() }, nil // Close tells again what Read has told
	case "zstd":
		r, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return r, r.Close, nil
	}
	return raw, func() {}, nil
}

// strange says why no line of an input can be read, as far as its first bytes show that.
func (in *input) strange() string {
	for prefix, kind := range map[string]string{"BZh": "bzip2", "\xfd7zXZ\x00": "xz", "PK\x03\x04": "zip", "\x04\x22\x4d\x18": "lz4", "7z\xbc\xaf": "7z"} {
		if bytes.HasPrefix(in.head, []byte(prefix)) {
			return "it is compressed by " + kind + "; unpack it first"
		}
	}
	nulls := bytes.Count(in.head, []byte{0})
	switch {
	case compression(in.head) != "":
		return "it is compressed twice; unpack it first"
	case bytes.HasPrefix(in.head, []byte("\xff\xfe")), bytes.HasPrefix(in.head, []byte("\xfe\xff")), nulls > len(in.head)/3:
		return "it looks like UTF-16; convert it first, as by iconv -f UTF-16 -t UTF-8"
	case nulls > 0:
		return "it is no text"
	case bytes.IndexByte(in.head, '\r') >= 0 && bytes.IndexByte(in.head, '\n') < 0:
		return `its lines end with CR alone; convert them first, as by tr '\r' '\n'`
	}
	return ""
}

// unreadable is the error for an input in which no line is a click.
func (d *Demo) unreadable(in input) error {
	why := in.strange()
	if why == "" {
		why = "want lines of an access log (common or combined, also with a virtual host), or JSON as {\"user\": \"ann\", \"logged_in\": true}"
	}
	return fmt.Errorf("demo: --input %s: none of its %s is a click: %s. %s", output.Clean(d.o.Input), lines(d.skipped), why, d.firstSkipped())
}

// lines is a number of lines in words.
func lines(n uint64) string {
	if n == 1 {
		return "1 line"
	}
	return launch.Grouped(n) + " lines"
}

// firstSkipped shows one line that is no click, and why.
func (d *Demo) firstSkipped() string {
	const shown = 100
	text := strings.ToValidUTF8(d.first.Text, "\ufffd")
	if runes := []rune(text); len(runes) > shown {
		text = string(runes[:shown]) + "…"
	}
	return fmt.Sprintf("Line %s: %v: %s", launch.Grouped(d.first.Number), d.first.Why, output.Clean(text))
}

// Many skipped lines are a warning: a hundredth may be noise, a twentieth is another format.
const manySkipped = 20

// warning is what to say loudly about skipped lines, "" for nothing.
func (d *Demo) warning() string {
	all := d.total + d.skipped
	if d.skipped*manySkipped <= all || d.skipped == 0 {
		return ""
	}
	return fmt.Sprintf("WARNING: %s of %s (%d%%) are no clicks and are counted for nobody", launch.Grouped(d.skipped), lines(all), max(1, d.skipped*100/all))
}
