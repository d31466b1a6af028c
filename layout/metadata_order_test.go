package layout_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/keygroup"
)

var table = crc32.MakeTable(crc32.Castagnoli)

func crc32c(b []byte) uint32                   { return crc32.Checksum(b, table) }
func crc32cUpdate(sum uint32, b []byte) uint32 { return crc32.Update(sum, table, b) }

// The writer refuses what a reader would: each case is the example with one thing wrong.
func TestMetadataWriterRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(c *contents)
	}{
		{"job id", func(c *contents) { c.Header.JobID = "_a" }},
		{"nonce", func(c *contents) { c.Header.Nonce = "" }},
		{"kind", func(c *contents) { c.Header.Kind = 3 }},
		{"checkpoint 0", func(c *contents) { c.Header.Checkpoint = 0 }},
		{"no job", func(c *contents) { c.Records = c.Records[1:] }},
		{"two jobs", func(c *contents) { c.Records = append([]layout.Record{c.Records[0]}, c.Records...) }},
		{"label not text", func(c *contents) { c.Records[0] = &layout.Job{Labels: map[string]string{"a": "\xff"}} }},
		{"labels too long", func(c *contents) {
			c.Records[0] = &layout.Job{Labels: map[string]string{"a": strings.Repeat("x", 1<<17)}}
		}},
		{"no operators", func(c *contents) { c.Records = c.Records[:1] }},
		{"operator id", func(c *contents) { c.Records[1].(*layout.Operator).ID = "a b" }},
		{"operator twice", func(c *contents) { c.Records[11].(*layout.Operator).ID = "sum" }},
		{"parallelism 0", func(c *contents) { c.Records[1].(*layout.Operator).Parallelism = 0 }},
		{"parallelism above max", func(c *contents) { c.Records[1].(*layout.Operator).MaxParallelism = 1 }},
		{"max parallelism", func(c *contents) { c.Records[1].(*layout.Operator).MaxParallelism = keygroup.MaxParallelism + 1 }},
		{"subtask before its operator", func(c *contents) { c.Records[1], c.Records[2] = c.Records[2], c.Records[1] }},
		{"subtask of another operator", func(c *contents) { c.Records[2].(*layout.Subtask).OperatorID = "sum" }},
		{"subtask missing at the operator's end", func(c *contents) { c.Records = append(c.Records[:3], c.Records[4:]...) }},
		{"subtask missing at the end", func(c *contents) { c.Records = c.Records[:12] }},
		{"subtask skipped", func(c *contents) { c.Records[2].(*layout.Subtask).Index = 1 }},
		{"subtask beyond the last", func(c *contents) { c.Records[12].(*layout.Subtask).Index = 1 }},
		{"subtask -1", func(c *contents) { c.Records[2].(*layout.Subtask).Index = -1 }},
		{"file before the operator", func(c *contents) { c.Records[1] = c.Records[5] }},
		{"key", func(c *contents) { c.Records[5].(*layout.File).Key = "shared/x" }},
		{"key of metadata", func(c *contents) { c.Records[5].(*layout.File).Key = "chk-42/_metadata" }},
		{"key outside", func(c *contents) { c.Records[5].(*layout.File).Key = "../" + fileKey("shared", 1, 1, 1) }},
		{"exclusive of another", func(c *contents) { c.Records[6].(*layout.File).Key = fileKey("chk-41", 3, 41, 1) }},
		{"exclusive, name of another", func(c *contents) { c.Records[6].(*layout.File).Key = fileKey("chk-42", 3, 41, 1) }},
		{"shared of a later checkpoint", func(c *contents) { c.Records[5].(*layout.File).Key = fileKey("shared", 3, 43, 1) }},
		{"shared of a later epoch", func(c *contents) { c.Records[5].(*layout.File).Key = fileKey("shared", 4, 42, 1) }},
		{"block sums missing", func(c *contents) { c.Records[5].(*layout.File).Blocks = nil }},
		{"block sums too many", func(c *contents) { c.Records[6].(*layout.File).Blocks = []uint32{1} }},
		{"digest", func(c *contents) { c.Records[5].(*layout.File).SHA256 = []byte{1} }},
		{"local name", func(c *contents) { c.Records[5].(*layout.File).LocalName = "\xff" }},
		{"local name too long", func(c *contents) { c.Records[5].(*layout.File).LocalName = strings.Repeat("x", 4097) }},
		{"file number", func(c *contents) { c.Records[7].(*layout.Subtask).Handles[0].File = 3 }},
		{"file and inline", func(c *contents) { c.Records[7].(*layout.Subtask).Handles[0].Inline = []byte{} }},
		{"inline too long", func(c *contents) { c.Records[2].(*layout.Subtask).Handles[0].Inline = make([]byte, layout.MaxInline+1) }},
		{"handle's name", func(c *contents) { c.Records[2].(*layout.Subtask).Handles[0].Name = "\xff" }},
		{"key groups", func(c *contents) { c.Records[7].(*layout.Subtask).Handles[0].KeyGroups.End = 128 }},
		{"key groups reversed", func(c *contents) {
			c.Records[7].(*layout.Subtask).Handles[0].KeyGroups = &keygroup.Range{Start: 2, End: 1}
		}},
	} {
		ex := example()
		c.edit(&ex)
		var b bytes.Buffer
		m, err := write(&b, ex)
		if err == nil {
			t.Errorf("%s: written", c.name)
			continue
		}
		if !strings.HasPrefix(err.Error(), "layout: write _metadata: ") {
			t.Errorf("%s: message %q", c.name, err)
		}
		if again := m.Close(); again == nil || again.Error() != err.Error() {
			t.Errorf("%s: Close after the error: %v", c.name, again)
		}
		if _, err := read(&b); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("%s: what was written before the refusal reads as %v", c.name, err)
		}
	}
}

func TestMetadataWriterAfterClose(t *testing.T) {
	m, err := write(io.Discard, example())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.WriteOperator(layout.Operator{ID: "late", Parallelism: 1, MaxParallelism: 1}); err == nil {
		t.Error("an operator was written after Close")
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

func TestMetadataWriterReportsTheSink(t *testing.T) {
	whole := encode(t, example())
	if _, err := write(&failing{len(whole)}, example()); err != nil {
		t.Fatal(err)
	}
	if _, err := write(&failing{len(whole) - 1}, example()); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("got %v, want disk full", err)
	}
}

// The cost of one reference in a commit: a file of the table and a handle to it. The whole budget, worker and owner together, is
// 2 µs.
func BenchmarkMetadataPerReference(b *testing.B) {
	const n = 10_000
	c, files := example(), make([]layout.File, n)
	handles := make([]layout.Handle, n)
	for i := range files {
		files[i] = layout.File{Key: fileKey("shared", 1, 1, uint64(i)), Length: 2 << 20, CRC32C: 42, InstanceNonce: nonceA, LocalName: fmt.Sprintf("%06d.sst", i)}
		handles[i] = layout.Handle{File: layout.FileRef(i + 1), KeyGroups: &keygroup.Range{Start: 0, End: 127}, State: layout.State{Kind: layout.StateManagedKeyed}}
	}
	put := func(w io.Writer) {
		m := layout.NewMetadataWriter(w, c.Header)
		_ = m.WriteJob(layout.Job{})
		_ = m.WriteOperator(layout.Operator{ID: "sum", Parallelism: 1, MaxParallelism: 128})
		for i := range files {
			if _, err := m.WriteFile(files[i]); err != nil {
				b.Fatal(err)
			}
		}
		_ = m.WriteSubtask(layout.Subtask{OperatorID: "sum", Handles: handles})
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
	var whole bytes.Buffer
	put(&whole)
	perReference := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/reference")
		b.ReportMetric(float64(whole.Len())/n, "bytes/reference")
	}
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			put(io.Discard)
		}
		perReference(b)
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := read(bytes.NewReader(whole.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
		perReference(b)
	})
}
