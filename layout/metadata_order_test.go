package layout_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
		{"checkpoint 0", func(c *contents) { c.Header.Checkpoint, c.Records = 0, append(c.Records[:1], c.Records[11:]...) }},
		{"epoch 0", func(c *contents) { c.Header.Epoch, c.Records = 0, append(c.Records[:1], c.Records[11:]...) }},
		{"nonce not text", func(c *contents) { c.Header.Nonce = "\xff" }},
		{"no job", func(c *contents) { c.Records = c.Records[1:] }},
		{"two jobs", func(c *contents) { c.Records = append([]layout.Record{c.Records[0]}, c.Records...) }},
		{"label not text", func(c *contents) { c.Records[0] = &layout.Job{Labels: map[string]string{"a": "\xff"}} }},
		{"label's name not text", func(c *contents) { c.Records[0] = &layout.Job{Labels: map[string]string{"\xff": "a"}} }},
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
		{"file's instance nonce", func(c *contents) { c.Records[5].(*layout.File).InstanceNonce = "\xff" }},
		{"handle's instance nonce", func(c *contents) { c.Records[2].(*layout.Subtask).Handles[0].InstanceNonce = "\xff" }},
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

// TestMetadataWriterTakesTheLargest: each case is the example with one thing at its bound.
func TestMetadataWriterTakesTheLargest(t *testing.T) {
	text := strings.Repeat("x", 4096)
	for _, c := range []struct {
		name string
		edit func(c *contents)
	}{
		{"savepoint", func(c *contents) { c.Header.Kind = layout.KindSavepoint }},
		{"first checkpoint and epoch", func(c *contents) {
			c.Header.Checkpoint, c.Header.Epoch = 1, 1
			c.Records[5].(*layout.File).Key = fileKey("shared", 1, 1, 1)
			c.Records[6].(*layout.File).Key = fileKey("chk-1", 1, 1, 2)
			c.Records[8].(*layout.File).Key = fileKey("shared", 1, 1, 3)
		}},
		{"max parallelism", func(c *contents) { c.Records[11].(*layout.Operator).MaxParallelism = keygroup.MaxParallelism }},
		{"texts", func(c *contents) {
			c.Records[1].(*layout.Operator).UID = text
			f, h := c.Records[5].(*layout.File), &c.Records[7].(*layout.Subtask).Handles[0]
			f.LocalName, f.InstanceNonce, h.Name, h.InstanceNonce = text, text, text, text
		}},
		{"a file of one block", func(c *contents) { c.Records[6].(*layout.File).Length = layout.BlockSize }},
		{"a file of two whole blocks", func(c *contents) {
			f := c.Records[6].(*layout.File)
			f.Length, f.Blocks = 2*layout.BlockSize, []uint32{1, 2}
		}},
		{"one key group", func(c *contents) {
			c.Records[7].(*layout.Subtask).Handles[0].KeyGroups = &keygroup.Range{Start: 127, End: 127}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ex := example()
			c.edit(&ex)
			got, err := read(bytes.NewReader(encode(t, ex)))
			if err != nil {
				t.Fatalf("what was written is not read: %v", err)
			}
			if d := cmp.Diff(ex, got); d != "" {
				t.Errorf("-written +read:\n%s", d)
			}
		})
	}
}

// TestMetadataOperatorsAtTheirBound: 10,000 operators are taken, one more is refused.
func TestMetadataOperatorsAtTheirBound(t *testing.T) {
	m := layout.NewMetadataWriter(io.Discard, example().Header)
	if err := m.WriteJob(layout.Job{}); err != nil {
		t.Fatal(err)
	}
	for i := range 10_000 {
		id := fmt.Sprint("op", i)
		if err := m.WriteOperator(layout.Operator{ID: id, Parallelism: 1, MaxParallelism: 1}); err != nil {
			t.Fatalf("operator %d: %v", i+1, err)
		}
		if err := m.WriteSubtask(layout.Subtask{OperatorID: id}); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.WriteOperator(layout.Operator{ID: "more", Parallelism: 1, MaxParallelism: 1}); err == nil {
		t.Error("operator 10,001 was taken")
	}
}

// TestMetadataSplitsBeforeTheLargestHandle: however full a record is, the largest handle after it is written and read.
func TestMetadataSplitsBeforeTheLargestHandle(t *testing.T) {
	text := strings.Repeat("x", 4096)
	largest := layout.Handle{Inline: make([]byte, layout.MaxInline), Name: text, InstanceNonce: text}
	for room := 0; room <= 16<<10; room += 512 {
		ex := example()
		ex.Records[2] = &layout.Subtask{OperatorID: "source", Handles: []layout.Handle{{Inline: make([]byte, layout.MaxInline-room)}, largest}}
		var b bytes.Buffer
		if _, err := write(&b, ex); err != nil {
			t.Fatalf("after %d bytes: %v", layout.MaxInline-room, err)
		}
		if _, err := read(&b); err != nil {
			t.Fatalf("after %d bytes: %v", layout.MaxInline-room, err)
		}
	}
}

// TestMetadataWriterOutOfOrder: the very call that is out of order is refused.
func TestMetadataWriterOutOfOrder(t *testing.T) {
	ex := example()
	job, op, file := *ex.Records[0].(*layout.Job), *ex.Records[1].(*layout.Operator), *ex.Records[5].(*layout.File)
	subtask := layout.Subtask{OperatorID: op.ID}
	calls := map[string]func(m *layout.MetadataWriter) error{
		"a job":       func(m *layout.MetadataWriter) error { return m.WriteJob(job) },
		"an operator": func(m *layout.MetadataWriter) error { return m.WriteOperator(op) },
		"a file":      func(m *layout.MetadataWriter) error { _, err := m.WriteFile(file); return err },
		"a subtask":   func(m *layout.MetadataWriter) error { return m.WriteSubtask(subtask) },
		"the end":     func(m *layout.MetadataWriter) error { return m.Close() },
		"a second subtask of one": func(m *layout.MetadataWriter) error {
			return m.WriteSubtask(layout.Subtask{OperatorID: "one", Index: 1})
		},
		"the last subtask again": func(m *layout.MetadataWriter) error { return m.WriteSubtask(layout.Subtask{OperatorID: "one"}) },
	}
	one := func(m *layout.MetadataWriter) error {
		return errors.Join(m.WriteJob(job), m.WriteOperator(layout.Operator{ID: "one", Parallelism: 1, MaxParallelism: 1}),
			m.WriteSubtask(layout.Subtask{OperatorID: "one"}))
	}
	for _, when := range []struct {
		name    string
		begin   func(m *layout.MetadataWriter) error
		refused []string
	}{
		{"before the job", func(*layout.MetadataWriter) error { return nil }, []string{"an operator", "a file", "a subtask", "the end"}},
		{"before the first operator", func(m *layout.MetadataWriter) error { return m.WriteJob(job) },
			[]string{"a job", "a file", "a subtask", "the end"}},
		{"after the last subtask", one, []string{"a second subtask of one"}},
		{"after the end", func(m *layout.MetadataWriter) error { return errors.Join(one(m), m.Close()) },
			[]string{"a job", "an operator", "a file", "a subtask", "the last subtask again", "the end"}},
	} {
		for _, what := range when.refused {
			m := layout.NewMetadataWriter(io.Discard, ex.Header)
			if err := when.begin(m); err != nil {
				t.Fatalf("%s: %v", when.name, err)
			}
			if err := calls[what](m); err == nil {
				t.Errorf("%s %s was taken", what, when.name)
			}
		}
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

// TestMetadataLargestRecord: a file whose record takes 4 MiB is written and read, one of a byte more is not written.
func TestMetadataLargestRecord(t *testing.T) {
	const frame, most = 4 + 4, 4 << 20 // length and sum
	const blocks = (most - 4096) / 4
	with := func(name int) (whole []byte, record int64, err error) {
		var b bytes.Buffer
		ex := example()
		m := layout.NewMetadataWriter(&b, ex.Header)
		_ = m.WriteJob(layout.Job{})
		_ = m.WriteOperator(layout.Operator{ID: "one", Parallelism: 1, MaxParallelism: 1})
		before := m.Size()
		_, _ = m.WriteFile(layout.File{Key: fileKey("shared", 1, 1, 1), Length: blocks * layout.BlockSize,
			Blocks: make([]uint32, blocks), LocalName: strings.Repeat("x", name)})
		record = m.Size() - before - frame
		_ = m.WriteSubtask(layout.Subtask{OperatorID: "one"})
		err = m.Close()
		return b.Bytes(), record, err
	}
	_, short, err := with(1000)
	if err != nil {
		t.Fatal(err)
	}
	whole, record, err := with(1000 + int(most-short))
	if err != nil || record != most {
		t.Fatalf("a record of %d bytes: %v; want %d and no error", record, err, most)
	}
	if _, err := read(bytes.NewReader(whole)); err != nil {
		t.Errorf("the largest record is written and not read: %v", err)
	}
	if _, _, err := with(1001 + int(most-short)); err == nil {
		t.Error("a record of a byte more is written")
	}
}

// TestMetadataRecordsAreMessages: a record whose tag says anything but a message is refused, whatever follows.
func TestMetadataRecordsAreMessages(t *testing.T) {
	parts := split(encode(t, example()))
	for i := 1; i < len(parts); i++ {
		for _, wire := range []byte{0, 1, 3, 4, 5, 6, 7} {
			changed := slices.Clone(parts)
			changed[i] = bytes.Clone(parts[i])
			changed[i][4] = changed[i][4]&^7 | wire
			if _, err := read(bytes.NewReader(reframe(bytes.Join(changed, nil)))); !errors.Is(err, layout.ErrCorrupt) {
				t.Errorf("record %d of wire type %d: %v, want ErrCorrupt", i, wire, err)
			}
		}
	}
}

// TestMetadataRecordsAreOneMessage: a record holds one message, no byte less or more.
func TestMetadataRecordsAreOneMessage(t *testing.T) {
	parts := split(encode(t, example()))
	for i := 1; i < len(parts); i++ {
		payload := parts[i][4 : len(parts[i])-4]
		for name, changed := range map[string][]byte{
			"a byte more": append(bytes.Clone(payload), 0),
			"a byte less": payload[:len(payload)-1],
			"two":         append(bytes.Clone(payload), payload...),
			"none":        {},
		} {
			framed := append(binary.LittleEndian.AppendUint32(nil, uint32(len(changed))), changed...)
			all := slices.Clone(parts)
			all[i] = append(framed, 0, 0, 0, 0) // reframe makes the sum
			if _, err := read(bytes.NewReader(reframe(bytes.Join(all, nil)))); !errors.Is(err, layout.ErrCorrupt) {
				t.Errorf("record %d with %s: %v, want ErrCorrupt", i, name, err)
			}
		}
	}
}
