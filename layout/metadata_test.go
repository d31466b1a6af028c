package layout_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/keygroup"
	storedv1 "github.com/ckptd/ckptd/proto/ckptd/stored/v1"
)

var rewrite = flag.Bool("rewrite", false, "write the golden file anew: only while no release has written the format")

// contents is a whole _metadata in memory, for tests.
type contents struct {
	Header  layout.Header
	Records []layout.Record
}

func write(w io.Writer, c contents) (*layout.MetadataWriter, error) {
	m := layout.NewMetadataWriter(w, c.Header)
	for _, r := range c.Records {
		var err error
		switch r := r.(type) {
		case *layout.Job:
			err = m.WriteJob(*r)
		case *layout.Operator:
			err = m.WriteOperator(*r)
		case *layout.File:
			_, err = m.WriteFile(*r)
		case *layout.Subtask:
			err = m.WriteSubtask(*r)
		}
		if err != nil {
			return m, err
		}
	}
	return m, m.Close()
}

func read(r io.Reader) (contents, error) {
	m, err := layout.NewMetadataReader(r)
	if err != nil {
		return contents{}, err
	}
	c := contents{Header: m.Header()}
	for {
		rec, err := m.Next()
		if err == io.EOF {
			return c, nil
		}
		if err != nil {
			return c, err
		}
		c.Records = append(c.Records, rec)
	}
}

func encode(t testing.TB, c contents) []byte {
	t.Helper()
	var b bytes.Buffer
	m, err := write(&b, c)
	if err != nil {
		t.Fatal(err)
	}
	if m.Size() != int64(b.Len()) || m.Sum() != crc32c(b.Bytes()) {
		t.Fatalf("Size %d and Sum %08x; the bytes have %d and %08x", m.Size(), m.Sum(), b.Len(), crc32c(b.Bytes()))
	}
	return b.Bytes()
}

func fileKey(folder string, epoch, checkpoint, seq uint64) string {
	return folder + "/" + layout.FileName{Epoch: epoch, Checkpoint: checkpoint, Nonce: nonceA, Sequence: seq}.String()
}

// example has every kind of record and every field in it.
func example() contents {
	at := time.Date(2026, 11, 21, 17, 0, 0, 123456789, time.UTC)
	return contents{
		Header: layout.Header{
			JobID: "clicks", Checkpoint: 42, Epoch: 3, Attempt: 5, Nonce: strings.Repeat("b", 26), Kind: layout.KindCheckpoint,
			TriggeredAt: at, CompletedAt: at.Add(1500 * time.Millisecond),
		},
		Records: []layout.Record{
			&layout.Job{Labels: map[string]string{"name": "clicks", "team": "münchen"}},
			&layout.Operator{ID: "source", UID: "Source: lines", Parallelism: 2, MaxParallelism: 128, Triggered: true},
			&layout.Subtask{OperatorID: "source", Index: 0, Handles: []layout.Handle{{Inline: []byte{0, 1, 2}, Name: "offsets"}}},
			&layout.Subtask{OperatorID: "source", Index: 1, Handles: []layout.Handle{{Inline: []byte{}, Name: "offsets"}}},
			&layout.Operator{ID: "sum", Parallelism: 2, MaxParallelism: 128},
			&layout.File{Key: fileKey("shared", 2, 17, 9), Length: 4<<20 + 1, CRC32C: 0xdeadbeef, Blocks: []uint32{1, 0xffffffff},
				InstanceNonce: "instance-1", LocalName: "000123.sst", SHA256: bytes.Repeat([]byte{7}, 32)},
			&layout.File{Key: fileKey("chk-42", 3, 42, 1), Length: 77, CRC32C: 0, InstanceNonce: "instance-2", LocalName: "MANIFEST"},
			&layout.Subtask{OperatorID: "sum", Index: 0, Handles: []layout.Handle{
				{File: 1, Name: "000007.sst", InstanceNonce: "instance-2", KeyGroups: &keygroup.Range{Start: 0, End: 63}, State: layout.State{Kind: layout.StateManagedKeyed}},
				{File: 2, KeyGroups: &keygroup.Range{Start: 0, End: 63}, State: layout.State{Kind: layout.StateManagedKeyed}},
			}},
			&layout.File{Key: fileKey("shared", 3, 42, 2), Length: 0, LocalName: "000009.sst"},
			&layout.Subtask{OperatorID: "sum", Index: 1, Handles: []layout.Handle{
				{File: 1, KeyGroups: &keygroup.Range{Start: 64, End: 127}, State: layout.State{Kind: layout.StateManagedKeyed}},
				{File: 3},
			}},
			&layout.Subtask{OperatorID: "sum", Index: 1, Handles: []layout.Handle{{Inline: []byte("more"), Name: "more"}}},
			&layout.Operator{ID: "sink", Parallelism: 1, MaxParallelism: 1},
			&layout.Subtask{OperatorID: "sink", Index: 0},
			// Records 13 to 18.
			&layout.Operator{ID: "window", Parallelism: 3, MaxParallelism: 128},
			&layout.File{Key: fileKey("shared", 9, 99, 4), Job: "lender", Length: 100, CRC32C: 4},
			&layout.File{Key: fileKey("chk-99", 9, 99, 5), Job: "lender", Length: 30, CRC32C: 5, LocalName: "000011.sst",
				Compression: &layout.Compression{Codec: "zstd", Stored: []uint32{10, 20}, Plain: []uint32{100, 4 << 20}}},
			&layout.Subtask{OperatorID: "window", Index: 0, Handles: everyKind()},
			&layout.Subtask{OperatorID: "window", Index: 1, Finished: true},
			&layout.Subtask{OperatorID: "window", Index: 2},
		},
	}
}

// everyKind has a handle of each kind of state, in its order: in segments of file 4, inline, and one in the whole file
// 5.
func everyKind() []layout.Handle {
	segment := func(offset, length uint64, s layout.State) layout.Handle {
		return layout.Handle{File: 4, Segment: &layout.Segment{Offset: offset, Length: length}, State: s}
	}
	inline := func(s layout.State) layout.Handle {
		return layout.Handle{Inline: []byte("inline"), Name: "small", State: s}
	}
	groups := &keygroup.Range{Start: 0, End: 42}
	keyed := layout.Handle{File: 5, KeyGroups: groups, State: layout.State{Kind: layout.StateManagedKeyed, Name: "count", Serializer: "varint", SchemaVersion: 3}}
	raw := segment(0, 50, layout.State{Kind: layout.StateRawKeyed, Name: "timers"})
	raw.KeyGroups = groups
	return []layout.Handle{
		inline(layout.State{Kind: layout.StateOpaque, SchemaVersion: 1}),
		keyed,
		raw,
		segment(50, 20, layout.State{Kind: layout.StateList, Name: "buffer", Serializer: "json",
			Offsets: &layout.Offsets{Mode: layout.ModeSplit, Positions: []uint64{0, 5, 5, 20}}}),
		segment(70, 30, layout.State{Kind: layout.StateUnion, Offsets: &layout.Offsets{Mode: layout.ModeUnion}}),
		inline(layout.State{Kind: layout.StateBroadcast, Offsets: &layout.Offsets{Mode: layout.ModeBroadcast, Positions: []uint64{6}}}),
		segment(100, 0, layout.State{Kind: layout.StateInputChannel, Channel: &layout.Channel{Gate: 1, Channel: 300}}),
		inline(layout.State{Kind: layout.StateResultSubpartition, Channel: &layout.Channel{Partition: 2, Subpartition: 3},
			Offsets: &layout.Offsets{Positions: []uint64{1, 2}}}),
		inline(layout.State{Kind: layout.StateSourceReader, Offsets: &layout.Offsets{Mode: layout.ModeSplit, Positions: []uint64{0}}}),
		inline(layout.State{Kind: layout.StateSinkTransactions, Name: "pending"}),
	}
}

// savepoint has its files beside it.
func savepoint() contents {
	c := example()
	c.Header.Kind = layout.KindSavepoint
	c.Records[5].(*layout.File).Key = layout.FileName{Epoch: 2, Checkpoint: 17, Nonce: nonceA, Sequence: 9}.String()
	c.Records[6].(*layout.File).Key = "3d0f7c4e-9d8f-4b0a-8b59-6f6a8f1f5a11"
	return c
}

// A reader of any version reads every older version: the golden files of version 1 stay here for ever.
func TestMetadataGoldenFilesOfVersion1(t *testing.T) {
	for name, want := range map[string]contents{"metadata-v1": example(), "savepoint-v1": savepoint()} {
		path := filepath.Join("testdata", name)
		if *rewrite {
			if err := os.WriteFile(path, encode(t, want), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(bytes.NewReader(golden))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", name, d)
		}
		if layout.MetadataVersion == 1 && !bytes.Equal(golden, encode(t, want)) {
			t.Errorf("%s: version 1 is written in other bytes than before", name)
		}
	}
}

func TestMetadataTotals(t *testing.T) {
	m, err := layout.NewMetadataReader(bytes.NewReader(encode(t, example())))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = m.Next()
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	if _, err := m.Next(); err != io.EOF {
		t.Errorf("after io.EOF: %v", err)
	}
	want := layout.Totals{Operators: 4, Subtasks: 8, Files: 5, Handles: 17, FileBytes: 4<<20 + 208, NewFileBytes: 77, InlineBytes: 37}
	got := m.Totals()
	if got != want {
		t.Errorf("Totals() = %+v, want %+v", got, want)
	}
	if got.StateBytes() != 4<<20+245 || got.NewBytes() != 114 || got.ReusedBytes() != 4<<20+131 {
		t.Errorf("state %d, new %d, reused %d", got.StateBytes(), got.NewBytes(), got.ReusedBytes())
	}
	if m.Version() != layout.MetadataVersion {
		t.Errorf("Version() = %d", m.Version())
	}
}

func isRefusal(err error) bool {
	return errors.Is(err, layout.ErrCorrupt) || errors.Is(err, layout.ErrNewerFormat) || errors.Is(err, layout.ErrUnknownKind)
}

func TestMetadataEveryByteFlipped(t *testing.T) {
	whole := encode(t, example())
	for i := range whole {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			bad := bytes.Clone(whole)
			bad[i] ^= flip
			c, err := read(bytes.NewReader(bad))
			if !errors.Is(err, layout.ErrCorrupt) {
				t.Fatalf("byte %d of %d ^ %02x: %v (%d records), want ErrCorrupt", i, len(whole), flip, err, len(c.Records))
			}
			if !strings.HasPrefix(err.Error(), "layout: read _metadata: near byte ") {
				t.Fatalf("byte %d: message %q", i, err)
			}
		}
	}
}

func TestMetadataCutAtEveryLength(t *testing.T) {
	whole := encode(t, example())
	for n := range whole {
		if _, err := read(bytes.NewReader(whole[:n])); !errors.Is(err, layout.ErrCorrupt) {
			t.Fatalf("cut to %d of %d: %v, want ErrCorrupt", n, len(whole), err)
		}
	}
	if _, err := read(bytes.NewReader(append(bytes.Clone(whole), 0))); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("with a byte after the end: %v, want ErrCorrupt", err)
	}
}

// split cuts a _metadata into its preamble and its records, frames included.
func split(whole []byte) [][]byte {
	parts := [][]byte{whole[:16]}
	for rest := whole[16:]; len(rest) > 0; {
		n := 4 + int(binary.LittleEndian.Uint32(rest)) + 4
		parts, rest = append(parts, rest[:n]), rest[n:]
	}
	return parts
}

// What is encoded by hand is what the generated code of the .proto file would encode, down to the byte.
func TestMetadataIsItsProto(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		for i, record := range split(encode(t, drawContents(rt)))[1:] {
			payload := record[4 : len(record)-4]
			msg := &storedv1.MetadataRecord{}
			if err := (proto.UnmarshalOptions{}).Unmarshal(payload, msg); err != nil {
				rt.Fatal(err)
			}
			if again, err := (proto.MarshalOptions{Deterministic: true}).Marshal(msg); err != nil || !bytes.Equal(again, payload) {
				rt.Fatalf("record %d: %v (%v)\nby hand   %x\ngenerated %x", i, msg, err, payload, again)
			}
			if len(msg.ProtoReflect().GetUnknown()) > 0 {
				rt.Fatalf("record %d has unknown fields: %v", i, msg)
			}
		}
	})
}

// A record that is missing, doubled or moved has a right checksum of its own, and is noticed all the same.
func TestMetadataRecordsMissingDoubledMoved(t *testing.T) {
	whole := encode(t, example())
	records := split(whole)
	try := func(what string, i int, rs ...[]byte) {
		t.Helper()
		if _, err := read(bytes.NewReader(bytes.Join(rs, nil))); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("record %d %s: %v, want ErrCorrupt", i, what, err)
		}
	}
	cat := func(parts ...[][]byte) (all [][]byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	for i := range records {
		try("missing", i, cat(records[:i], records[i+1:])...)
		try("doubled", i, cat(records[:i+1], records[i:])...)
		if i+1 < len(records) {
			try("moved", i, cat(records[:i], records[i+1:i+2], records[i:i+1], records[i+2:])...)
		}
	}
}

// The source's own trouble is not corruption: nothing may be concluded from it, and it is worth another try.
func TestMetadataSourceErrorIsNotCorruption(t *testing.T) {
	whole := encode(t, example())
	for _, cause := range []error{errors.New("connection reset"), io.ErrUnexpectedEOF} {
		for n := range whole {
			_, err := read(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(cause)))
			if !errors.Is(err, cause) || isRefusal(err) {
				t.Fatalf("after %d bytes: %v, want %v alone", n, err, cause)
			}
		}
	}
	if _, err := read(iotest.OneByteReader(bytes.NewReader(whole))); err != nil {
		t.Errorf("byte by byte: %v", err)
	}
	if _, err := read(iotest.DataErrReader(bytes.NewReader(whole))); err != nil {
		t.Errorf("with EOF beside the data: %v", err)
	}
}

func TestMetadataOfOthers(t *testing.T) {
	newer := encode(t, example())
	binary.LittleEndian.PutUint32(newer[8:], layout.MetadataVersion+1)
	binary.LittleEndian.PutUint32(newer[12:], crc32c(newer[:12]))
	for _, c := range []struct {
		name string
		data []byte
		want error
	}{
		{"newer", newer, layout.ErrNewerFormat},
		{"newer, only its first bytes", newer[:16], layout.ErrNewerFormat},
		{"Flink's", []byte("\x49\x60\x67\x2d\x00\x00\x00\x05rest"), layout.ErrUnknownKind},
		{"Flink's, only its first four bytes", []byte("\x49\x60\x67\x2d"), layout.ErrUnknownKind},
		{"Flink's, only three bytes", []byte("\x49\x60\x67"), layout.ErrCorrupt},
		{"empty", nil, layout.ErrCorrupt},
		{"text", []byte("hello, this is not a table of contents"), layout.ErrCorrupt},
		{"zeros", make([]byte, 1000), layout.ErrCorrupt},
	} {
		if _, err := read(bytes.NewReader(c.data)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestMetadataRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawContents(t)
		var b bytes.Buffer
		if _, err := write(&b, want); err != nil {
			t.Fatal(err)
		}
		got, err := read(&b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("-want +got:\n%s", d)
		}
	})
}

// A subtask with more state than one record holds is written in several and read back in order.
func TestMetadataSplitsSubtasks(t *testing.T) {
	c := example()
	many := &layout.Subtask{OperatorID: "source", Index: 0}
	for i := range 10_000 {
		many.Handles = append(many.Handles, layout.Handle{Inline: []byte(fmt.Sprint(i))})
	}
	for i := range 4 {
		many.Handles = append(many.Handles, layout.Handle{Inline: bytes.Repeat([]byte{byte(i)}, layout.MaxInline), Name: strings.Repeat("n", 4096)})
	}
	c.Records[2] = many
	got, err := read(bytes.NewReader(encode(t, c)))
	if err != nil {
		t.Fatal(err)
	}
	var handles []layout.Handle
	records := 0
	for _, r := range got.Records {
		if s, ok := r.(*layout.Subtask); ok && s.OperatorID == "source" && s.Index == 0 {
			handles, records = append(handles, s.Handles...), records+1
		}
	}
	if !reflect.DeepEqual(many.Handles, handles) {
		t.Error("handles differ")
	}
	if records < 5 {
		t.Errorf("%d records", records)
	}
}

// Hostile files stay below 64 MiB: what they claim is not believed, and what they hold is bounded before it is decoded.
func TestMetadataHostileMemory(t *testing.T) {
	begin := encode(t, example())[:16]
	chain := uint32(0)
	frame := func(b []byte, payload []byte) []byte {
		framed := append(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))), payload...)
		chain = crc32cUpdate(chain, framed)
		return append(b, binary.LittleEndian.AppendUint32(framed, chain)...)
	}
	header := encode(t, example())
	header = header[20 : 20+binary.LittleEndian.Uint32(header[16:])]
	message := func(field byte, body []byte) []byte {
		return append(binary.AppendUvarint([]byte{field<<3 | 2}, uint64(len(body))), body...)
	}
	start := frame(bytes.Clone(begin), header)
	after := chain
	endless := io.MultiReader(bytes.NewReader(append(bytes.Clone(start), 0xff, 0xff, 0xff, 0xff)), io.LimitReader(zeros{}, 1<<30))
	if peak := peakHeap(func() {
		if _, err := read(endless); !isRefusal(err) {
			t.Errorf("endless: %v, want a refusal", err)
		}
	}); peak > 1<<20 {
		t.Errorf("endless: %d MiB", peak>>20)
	}
	for name, c := range map[string][]byte{
		"four GiB promised":   append(bytes.Clone(start), 0xff, 0xff, 0xff, 0xff, 1, 2, 3),
		"four MiB promised":   append(bytes.Clone(start), 0, 0, 0x40, 0, 1, 2, 3),
		"two million handles": frame(bytes.Clone(start), message(5, bytes.Repeat([]byte{0x12, 0}, 1<<20-8))),
		"labels":              frame(bytes.Clone(start), message(2, bytes.Repeat([]byte{0x0a, 0}, 2<<20-8))),
		"unpacked block sums": frame(bytes.Clone(start), message(4, append([]byte{8, 2}, bytes.Repeat([]byte{0x2d, 1, 2, 3, 4}, 838_000)...))),
		"unknown groups":      frame(bytes.Clone(start), message(4, bytes.Repeat([]byte{0x7b}, 4<<20-8))),
	} {
		chain = after
		peak := peakHeap(func() {
			if _, err := read(bytes.NewReader(c)); !isRefusal(err) {
				t.Errorf("%s: %v, want a refusal", name, err)
			}
		})
		if peak > 40<<20 {
			t.Errorf("%s: %d MiB", name, peak>>20)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// An end record with other counts than there are records has been written by a program that lost count.
func TestMetadataWrongCounts(t *testing.T) {
	parts := split(encode(t, example()))
	end := parts[len(parts)-1]
	for i := 6; i < len(end)-4; i++ {
		parts[len(parts)-1] = bytes.Clone(end)
		parts[len(parts)-1][i] ^= 1
		if _, err := read(bytes.NewReader(reframe(bytes.Join(parts, nil)))); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("byte %d of %x: %v, want ErrCorrupt", i, end, err)
		}
	}
}

// peakHeap is a bound for what f held at once: all that it allocated.
func peakHeap(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func FuzzMetadataReader(f *testing.F) {
	whole := encode(f, example())
	f.Add(whole)
	f.Add(whole[:100])
	f.Add(encode(f, savepoint()))
	for i := range everyKind() { // alone, where a mutation changes no other
		c := example()
		c.Records[16].(*layout.Subtask).Handles = everyKind()[i : i+1]
		f.Add(encode(f, c))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, data := range [][]byte{data, reframe(data)} {
			c, err := read(bytes.NewReader(data))
			if err != nil {
				if !isRefusal(err) {
					t.Fatalf("neither success nor a refusal: %v", err)
				}
				continue
			}
			again, err := read(bytes.NewReader(encode(t, c)))
			if err != nil {
				t.Fatalf("what was read cannot be written and read again: %v", err)
			}
			if d := cmp.Diff(c, again); d != "" {
				t.Fatalf("-first +second:\n%s", d)
			}
		}
	})
}

// reframe mends the checksums of mutated bytes, so that the fuzzer gets behind them.
func reframe(data []byte) []byte {
	if len(data) < 16 {
		return data
	}
	out := binary.LittleEndian.AppendUint32(bytes.Clone(data[:12]), crc32c(data[:12]))
	chain := uint32(0)
	for rest := data[16:]; len(rest) >= 8; {
		n := min(4+int(binary.LittleEndian.Uint32(rest)), len(rest)-4)
		framed := bytes.Clone(rest[:n])
		binary.LittleEndian.PutUint32(framed, uint32(n-4))
		chain = crc32cUpdate(chain, framed)
		out = binary.LittleEndian.AppendUint32(append(out, framed...), chain)
		rest = rest[n+4:]
	}
	return out
}
