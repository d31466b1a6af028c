package layout_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/keygroup"
	storedv1 "github.com/ckptd/ckptd/proto/ckptd/stored/v1"
)

// The handles of everyKind, by their kinds' names.
const (
	opaque = iota
	managedKeyed
	rawKeyed
	list
	union
	broadcast
	inputChannel
	subpartition
	sourceReader
	sinkTransactions
)

// rule is one wrong thing, as a caller of the writer would do it, and as it would lie on storage.
type rule struct {
	writer func(c *contents)
	reader func(r *storedv1.MetadataRecord)
	record int // of the example, 0 is the header
	words  string
}

// ofHandle is a rule of handle i of everyKind.
func ofHandle(i int, words string, writer func(h *layout.Handle), reader func(h *storedv1.MetadataHandle)) rule {
	return rule{
		func(c *contents) { writer(&c.Records[16].(*layout.Subtask).Handles[i]) },
		func(r *storedv1.MetadataRecord) { reader(r.GetSubtask().GetHandles()[i]) }, 17, words,
	}
}

// ofFile is a rule of one of the files 4 and 5, both lent.
func ofFile(number int, words string, writer func(f *layout.File), reader func(f *storedv1.MetadataFile)) rule {
	return rule{
		func(c *contents) { writer(c.Records[10+number].(*layout.File)) },
		func(r *storedv1.MetadataRecord) { reader(r.GetFile()) }, 11 + number, words,
	}
}

// Whatever one of them refuses, the other refuses, too, and for the same reason.
func TestMetadataRulesOfWriterAndReader(t *testing.T) {
	long := strings.Repeat("x", 4097)
	many := make([]uint64, layout.MaxOffsets+1)
	frames := slices.Repeat([]uint32{1}, layout.MaxFrames+1)
	name := layout.FileName{Epoch: 9, Checkpoint: 99, Nonce: nonceA, Sequence: 5}.String()
	rules := map[string]rule{
		"a segment ends within its file": ofHandle(list, "segment of 51 bytes from 50 in a file of 100",
			func(h *layout.Handle) { h.Segment.Length = 51 }, func(h *storedv1.MetadataHandle) { h.GetSegment().Length = 51 }),
		"a segment begins within its file": ofHandle(inputChannel, "segment of 0 bytes from 101",
			func(h *layout.Handle) { h.Segment.Offset = 101 }, func(h *storedv1.MetadataHandle) { h.GetSegment().Offset = 101 }),
		"a segment's end does not wrap around": ofHandle(list, "segment of 18446744073709551615 bytes",
			func(h *layout.Handle) { h.Segment.Length = math.MaxUint64 }, func(h *storedv1.MetadataHandle) { h.GetSegment().Length = math.MaxUint64 }),
		"a segment's file stands before": ofHandle(list, "file 6 of 5",
			func(h *layout.Handle) { h.File = 6 }, func(h *storedv1.MetadataHandle) { h.GetSegment().File = 6 }),
		"a segment is one of a file": ofHandle(list, "file",
			func(h *layout.Handle) { h.File = 0 }, func(h *storedv1.MetadataHandle) { h.GetSegment().File = 0 }),
		"each handle names its kind": ofHandle(opaque, "no kind",
			func(h *layout.Handle) { h.State.Kind = -1 }, func(h *storedv1.MetadataHandle) { h.Kind = 0 }),
		"managed keyed state has key groups": ofHandle(managedKeyed, "managed keyed state without key groups",
			func(h *layout.Handle) { h.KeyGroups = nil }, func(h *storedv1.MetadataHandle) { h.KeyGroups = nil }),
		"raw keyed state has key groups": ofHandle(rawKeyed, "raw keyed state without key groups",
			func(h *layout.Handle) { h.KeyGroups = nil }, func(h *storedv1.MetadataHandle) { h.KeyGroups = nil }),
		"input channel state names its channel": ofHandle(inputChannel, "without its channel",
			func(h *layout.Handle) { h.State.Channel = nil }, func(h *storedv1.MetadataHandle) { h.Channel = nil }),
		"result subpartition state names its channel": ofHandle(subpartition, "without its channel",
			func(h *layout.Handle) { h.State.Channel = nil }, func(h *storedv1.MetadataHandle) { h.Channel = nil }),
		"an input channel has no partition": ofHandle(inputChannel, "partition",
			func(h *layout.Handle) { h.State.Channel.Partition = 1 }, func(h *storedv1.MetadataHandle) { h.GetChannel().Partition = 1 }),
		"an input channel has no subpartition": ofHandle(inputChannel, "partition",
			func(h *layout.Handle) { h.State.Channel.Subpartition = 1 }, func(h *storedv1.MetadataHandle) { h.GetChannel().Subpartition = 1 }),
		"a result subpartition has no gate": ofHandle(subpartition, "gate",
			func(h *layout.Handle) { h.State.Channel.Gate = 1 }, func(h *storedv1.MetadataHandle) { h.GetChannel().Gate = 1 }),
		"a result subpartition has no input channel": ofHandle(subpartition, "channel",
			func(h *layout.Handle) { h.State.Channel.Channel = 1 }, func(h *storedv1.MetadataHandle) { h.GetChannel().Channel = 1 }),
		"offsets ascend": ofHandle(list, "ascend",
			func(h *layout.Handle) { h.State.Offsets.Positions[2] = 4 }, func(h *storedv1.MetadataHandle) { h.GetOffsets().Positions[2] = 4 }),
		"offsets lie within their segment": ofHandle(list, "in a piece of 20 bytes",
			func(h *layout.Handle) { h.State.Offsets.Positions[3] = 21 }, func(h *storedv1.MetadataHandle) { h.GetOffsets().Positions[3] = 21 }),
		"offsets lie within their inline state": ofHandle(broadcast, "in a piece of 6 bytes",
			func(h *layout.Handle) { h.State.Offsets.Positions[0] = 7 }, func(h *storedv1.MetadataHandle) { h.GetOffsets().Positions[0] = 7 }),
		"a handle has at most MaxOffsets offsets": ofHandle(list, "offsets",
			func(h *layout.Handle) { h.State.Offsets.Positions = many }, func(h *storedv1.MetadataHandle) { h.GetOffsets().Positions = many }),
		"the name of a state is bounded": ofHandle(list, "state name of 4097 bytes",
			func(h *layout.Handle) { h.State.Name = long }, func(h *storedv1.MetadataHandle) { h.StateName = long }),
		"the serializer is bounded": ofHandle(list, "serializer of 4097 bytes",
			func(h *layout.Handle) { h.State.Serializer = long }, func(h *storedv1.MetadataHandle) { h.Serializer = long }),
		"the frames cover the file": ofFile(5, "frames of 30 bytes in a file of 31",
			func(f *layout.File) { f.Length = 31 }, func(f *storedv1.MetadataFile) { f.Length = 31 }),
		"a frame takes bytes": ofFile(5, "frame 0 takes no bytes",
			func(f *layout.File) { f.Compression.Stored = []uint32{0, 30} }, func(f *storedv1.MetadataFile) { f.GetCompression().Stored = []uint32{0, 30} }),
		"each frame has both sizes": ofFile(5, "2 frames as stored and of 1",
			func(f *layout.File) { f.Compression.Plain = []uint32{1} }, func(f *storedv1.MetadataFile) { f.GetCompression().Plain = []uint32{1} }),
		"a file has at most MaxFrames frames": ofFile(5, "65537 frames",
			func(f *layout.File) { f.Compression.Stored, f.Compression.Plain = frames, frames },
			func(f *storedv1.MetadataFile) { f.GetCompression().Stored, f.GetCompression().Plain = frames, frames }),
		"a compressed file names its codec": ofFile(5, "codec",
			func(f *layout.File) { f.Compression.Codec = "" }, func(f *storedv1.MetadataFile) { f.GetCompression().Codec = "" }),
		"a codec is a name": ofFile(5, "codec",
			func(f *layout.File) { f.Compression.Codec = "Zstd" }, func(f *storedv1.MetadataFile) { f.GetCompression().Codec = "Zstd" }),
		"a codec is bounded": ofFile(5, "codec",
			func(f *layout.File) { f.Compression.Codec = strings.Repeat("z", 33) },
			func(f *storedv1.MetadataFile) { f.GetCompression().Codec = strings.Repeat("z", 33) }),
		"the lending job has a job's id": ofFile(4, "job id",
			func(f *layout.File) { f.Job = "../lender" }, func(f *storedv1.MetadataFile) { f.JobId = "../lender" }),
		"a job lends nothing to itself": ofFile(4, "to itself",
			func(f *layout.File) { f.Job = "clicks" }, func(f *storedv1.MetadataFile) { f.JobId = "clicks" }),
		"a lent file is a state file": ofFile(4, "not that of a state file",
			func(f *layout.File) { f.Key = "shared/x" }, func(f *storedv1.MetadataFile) { f.Name = "x" }),
		"a lent file is no _metadata": ofFile(5, "not that of a state file",
			func(f *layout.File) { f.Key = "chk-99/_metadata" }, func(f *storedv1.MetadataFile) { f.Name = "_metadata" }),
		"an own file is of this job's epochs": ofFile(4, "later",
			func(f *layout.File) { f.Job = "" }, func(f *storedv1.MetadataFile) { f.JobId = "" }),
		"an own exclusive file is of this checkpoint": ofFile(5, "another checkpoint",
			func(f *layout.File) { f.Job = "" }, func(f *storedv1.MetadataFile) { f.JobId = "" }),
		"a checkpoint has no files beside it": ofFile(5, "only a savepoint",
			func(f *layout.File) { f.Key, f.Job = name, "" },
			func(f *storedv1.MetadataFile) { f.Scope, f.JobId = storedv1.MetadataScope_METADATA_SCOPE_BESIDE, "" }),
		"a finished subtask has no handles": {
			func(c *contents) {
				c.Records[17].(*layout.Subtask).Handles = []layout.Handle{{Inline: []byte{}}}
			},
			func(r *storedv1.MetadataRecord) {
				r.GetSubtask().Handles = []*storedv1.MetadataHandle{{Kind: 1, Location: &storedv1.MetadataHandle_Inline{}}}
			}, 18, "has finished and has 1 handles",
		},
		"a finished subtask has one record": {
			func(c *contents) { c.Records[18].(*layout.Subtask).Index = 1 },
			func(r *storedv1.MetadataRecord) { r.GetSubtask().Index = 1 }, 19, "several records",
		},
		"a subtask with state has not finished after all": {
			func(c *contents) {
				*c.Records[10].(*layout.Subtask) = layout.Subtask{OperatorID: "sum", Index: 1, Finished: true}
			},
			func(r *storedv1.MetadataRecord) { r.GetSubtask().Handles, r.GetSubtask().Finished = nil, true }, 11, "several records",
		},
	}
	groups := &keygroup.Range{Start: 0, End: 1}
	for _, i := range []int{opaque, list, union, broadcast, inputChannel, subpartition, sourceReader, sinkTransactions} {
		rules[fmt.Sprintf("%v state has no key groups", layout.StateKind(i))] = ofHandle(i, "with key groups",
			func(h *layout.Handle) { h.KeyGroups = groups }, func(h *storedv1.MetadataHandle) { h.KeyGroups = &storedv1.MetadataKeyGroups{End: 1} })
	}
	for _, i := range []int{opaque, managedKeyed, rawKeyed, list, union, broadcast, sourceReader, sinkTransactions} {
		rules[fmt.Sprintf("%v state has no channel", layout.StateKind(i))] = ofHandle(i, "with a channel",
			func(h *layout.Handle) { h.State.Channel = &layout.Channel{} }, func(h *storedv1.MetadataHandle) { h.Channel = &storedv1.MetadataChannel{} })
	}
	for i := opaque; i <= sinkTransactions; i++ {
		for mode := layout.ModeNone; mode <= layout.ModeBroadcast; mode++ {
			if !slices.Contains(modesOf(i), mode) {
				rules[fmt.Sprintf("%v state has no offsets of mode %v", layout.StateKind(i), mode)] = ofHandle(i, "offsets",
					func(h *layout.Handle) { h.State.Offsets = &layout.Offsets{Mode: mode} },
					func(h *storedv1.MetadataHandle) {
						h.Offsets = &storedv1.MetadataOffsets{Mode: storedv1.MetadataMode(mode)}
					})
			}
		}
	}
	for what, c := range rules {
		t.Run(what, func(t *testing.T) {
			ex := example()
			c.writer(&ex)
			if _, err := write(io.Discard, ex); err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("written: %v, want a refusal: %q", err, c.words)
			}
			refusedAt(t, edited(t, c.record, c.reader), c.record, layout.ErrCorrupt, c.words)
		})
	}
}

// modesOf are the modes that the offsets of a kind may have.
func modesOf(kind int) []layout.Mode {
	switch kind {
	case list:
		return []layout.Mode{layout.ModeSplit}
	case union:
		return []layout.Mode{layout.ModeUnion}
	case broadcast:
		return []layout.Mode{layout.ModeBroadcast}
	case sourceReader, sinkTransactions:
		return []layout.Mode{layout.ModeSplit, layout.ModeUnion, layout.ModeBroadcast}
	case inputChannel, subpartition:
		return []layout.Mode{layout.ModeNone}
	}
	return nil
}

// Each kind of state may have offsets of each of its modes, and none.
func TestMetadataOffsetsOfEachKind(t *testing.T) {
	for i := opaque; i <= sinkTransactions; i++ {
		for _, mode := range modesOf(i) {
			for _, o := range []*layout.Offsets{nil, {Mode: mode}, {Mode: mode, Positions: []uint64{0, 0}}} {
				ex := example()
				ex.Records[16].(*layout.Subtask).Handles[i].State.Offsets = o
				if _, err := write(io.Discard, ex); err != nil {
					t.Errorf("%v state with offsets %+v: %v, want it written", layout.StateKind(i), o, err)
				}
			}
		}
	}
}

// Whole, but of a later edition: an unknown kind or mode is not taken for a known one, and not for rot.
func TestMetadataKindsOfTomorrow(t *testing.T) {
	for what, c := range map[string]struct {
		handle int
		edit   func(h *storedv1.MetadataHandle)
		words  string
	}{
		"kind of state":     {opaque, func(h *storedv1.MetadataHandle) { h.Kind = 11 }, "kind 11"},
		"mode":              {sourceReader, func(h *storedv1.MetadataHandle) { h.GetOffsets().Mode = 4 }, "mode 4"},
		"location of state": {managedKeyed, func(h *storedv1.MetadataHandle) { h.Location = nil }, "handle 1"},
	} {
		t.Run(what, func(t *testing.T) {
			data := edited(t, 17, func(r *storedv1.MetadataRecord) { c.edit(r.GetSubtask().GetHandles()[c.handle]) })
			refusedAt(t, data, 17, layout.ErrUnknownKind, c.words)
		})
	}
	t.Run("mode below all", func(t *testing.T) {
		data := edited(t, 17, func(r *storedv1.MetadataRecord) { r.GetSubtask().GetHandles()[sourceReader].GetOffsets().Mode = -1 })
		refusedAt(t, data, 17, layout.ErrCorrupt, "mode")
	})
}

// Files beside a savepoint have a plain name, and belong to nobody's folder.
func TestMetadataFilesBesideASavepoint(t *testing.T) {
	for name, legal := range map[string]bool{
		"a": true, "000011.sst": true, "A-b_c.1": true, strings.Repeat("x", 255): true,
		"": false, "..": false, ".hidden": false, "_metadata": false, "_x": false, "a b": false, "ä": false, "a\\b": false, "\xff": false, "a:b": false,
		strings.Repeat("x", 256): false,
	} {
		c := savepoint()
		c.Records[6].(*layout.File).Key = name
		if _, err := write(io.Discard, c); (err == nil) != legal {
			t.Errorf("%q: %v, want legal: %v", name, err, legal)
		}
	}
	c := savepoint()
	c.Records[6].(*layout.File).Job = "lender"
	if _, err := write(io.Discard, c); err == nil || !strings.Contains(err.Error(), "lender") {
		t.Errorf("a file that lies beside and is lent: %v, want a refusal", err)
	}
	parts := split(encode(t, savepoint()))
	for what, edit := range map[string]func(f *storedv1.MetadataFile){
		"folder":   func(f *storedv1.MetadataFile) { f.Name = fileKey("shared", 2, 17, 9) },
		"parent":   func(f *storedv1.MetadataFile) { f.Name = "../" + f.GetName() },
		"metadata": func(f *storedv1.MetadataFile) { f.Name = "_metadata" },
		"no name":  func(f *storedv1.MetadataFile) { f.Name = "" },
		"lent":     func(f *storedv1.MetadataFile) { f.JobId = "lender" },
	} {
		t.Run("the reader refuses: "+what, func(t *testing.T) {
			r := &storedv1.MetadataRecord{}
			if err := proto.Unmarshal(parts[8][4:len(parts[8])-4], r); err != nil {
				t.Fatal(err)
			}
			edit(r.GetFile())
			payload, err := proto.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			refusedAt(t, withPayload(slices.Clone(parts), 7, payload), 7, layout.ErrCorrupt, "")
		})
	}
}

// Only own files must not be of a later epoch or checkpoint. Other jobs, and the writer of a file beside a savepoint,
// count separately.
func TestMetadataForeignFilesOfAnyEpoch(t *testing.T) {
	for _, place := range []struct{ folder, job string }{{"shared/", "lender"}, {"chk-43/", "lender"}, {"", ""}} {
		for _, epoch := range []uint64{0, 3, 4, math.MaxUint64} {
			c := savepoint()
			f := c.Records[6].(*layout.File)
			f.Key, f.Job = place.folder+layout.FileName{Epoch: epoch, Checkpoint: 43, Nonce: nonceA, Sequence: 1}.String(), place.job
			if _, err := write(io.Discard, c); err != nil {
				t.Errorf("%s of %q, in checkpoint 42 of epoch 3: %v, want it written", f.Key, f.Job, err)
			}
		}
	}
	c := example()
	c.Records[15].(*layout.File).Key = fileKey("chk-98", 9, 99, 5)
	if _, err := write(io.Discard, c); err == nil {
		t.Error("a lent file of checkpoint 99 in the folder of checkpoint 98 is written, want a refusal")
	}
}

// What is just within a new bound is written and read.
func TestMetadataRoomWithinItsBounds(t *testing.T) {
	text := strings.Repeat("x", 4096)
	for what, edit := range map[string]func(c *contents){
		"offsets": func(c *contents) {
			c.Records[16].(*layout.Subtask).Handles[list].State.Offsets.Positions = make([]uint64, layout.MaxOffsets)
		},
		"largest offsets in several handles": func(c *contents) {
			c.Records[14].(*layout.File).Length, c.Records[14].(*layout.File).Blocks = math.MaxUint32, make([]uint32, 1024)
			s := c.Records[16].(*layout.Subtask)
			for range 3 {
				h := layout.Handle{File: 4, Name: text, InstanceNonce: text, State: layout.State{Kind: layout.StateList, Name: text, Serializer: text}}
				h.State.Offsets = &layout.Offsets{Mode: layout.ModeSplit, Positions: slices.Repeat([]uint64{math.MaxUint32}, layout.MaxOffsets)}
				inline := layout.Handle{Inline: make([]byte, layout.MaxInline)}
				s.Handles = append(s.Handles, h, inline, h)
			}
		},
		"frames": func(c *contents) {
			f := c.Records[15].(*layout.File)
			f.Length = layout.MaxFrames
			f.Compression.Stored = slices.Repeat([]uint32{1}, layout.MaxFrames)
			f.Compression.Plain = slices.Repeat([]uint32{math.MaxUint32}, layout.MaxFrames)
		},
		"no frames in no bytes": func(c *contents) {
			c.Records[15].(*layout.File).Length, c.Records[15].(*layout.File).Compression = 0, &layout.Compression{Codec: "none"}
		},
		"several records after a finished subtask": func(c *contents) {
			c.Records = append(c.Records, &layout.Subtask{OperatorID: "window", Index: 2})
		},
		"codec": func(c *contents) { c.Records[15].(*layout.File).Compression.Codec = strings.Repeat("z", 32) },
		"texts": func(c *contents) {
			s := &c.Records[16].(*layout.Subtask).Handles[list].State
			s.Name, s.Serializer, s.SchemaVersion = text, text, math.MaxUint32
		},
		"a segment of the whole file": func(c *contents) {
			c.Records[16].(*layout.Subtask).Handles[list].Segment = &layout.Segment{Length: 100}
		},
		"channels": func(c *contents) {
			c.Records[16].(*layout.Subtask).Handles[inputChannel].State.Channel = &layout.Channel{Gate: math.MaxUint32, Channel: math.MaxUint32}
			c.Records[16].(*layout.Subtask).Handles[subpartition].State.Channel = &layout.Channel{Partition: math.MaxUint32, Subpartition: math.MaxUint32}
		},
	} {
		t.Run(what, func(t *testing.T) {
			c := example()
			edit(&c)
			var b bytes.Buffer
			if _, err := write(&b, c); err != nil {
				t.Fatalf("the largest: %v, want it written", err)
			}
			got, err := read(&b)
			if err != nil {
				t.Fatalf("the largest is written, and not read: %v", err)
			}
			n := 0
			for _, r := range got.Records {
				if s, ok := r.(*layout.Subtask); ok {
					n += len(s.Handles)
				}
			}
			want := 7 + len(c.Records[16].(*layout.Subtask).Handles)
			if n != want {
				t.Errorf("%d handles are read, want %d", n, want)
			}
		})
	}
}

// The table of files is bounded, since checker and reader remember each file's length.
func TestMetadataNumberOfFiles(t *testing.T) {
	c := example()
	m := layout.NewMetadataWriter(io.Discard, c.Header)
	_ = m.WriteJob(layout.Job{})
	_ = m.WriteOperator(layout.Operator{ID: "sum", Parallelism: 1, MaxParallelism: 1})
	m.CountFiles(layout.MaxFiles - 1)
	f := layout.File{Key: fileKey("shared", 1, 1, 1)}
	if ref, err := m.WriteFile(f); err != nil || ref != layout.MaxFiles {
		t.Fatalf("the last file: number %d, %v; want %d", ref, err, layout.MaxFiles)
	}
	if _, err := m.WriteFile(f); err == nil || !strings.Contains(err.Error(), fmt.Sprint("more than ", layout.MaxFiles, " files")) {
		t.Errorf("one file more: %v, want a refusal", err)
	}
}

// A segment is compared with the length of its own file, however many there are.
func TestMetadataSegmentsOfManyFiles(t *testing.T) {
	const files = 1<<17 + 2
	for _, number := range []int{1, 2, 1<<16 - 1, 1 << 16, 1<<16 + 1, 1 << 17, 1<<17 + 1, files} {
		for beyond := range uint64(2) {
			m := layout.NewMetadataWriter(io.Discard, example().Header)
			_ = m.WriteJob(layout.Job{})
			_ = m.WriteOperator(layout.Operator{ID: "sum", Parallelism: 1, MaxParallelism: 1})
			f := layout.File{Key: fileKey("shared", 1, 1, 1)}
			for i := range files {
				f.Length = uint64(i + 1)
				if _, err := m.WriteFile(f); err != nil {
					t.Fatal(err)
				}
			}
			h := layout.Handle{File: layout.FileRef(number), Segment: &layout.Segment{Offset: uint64(number) - 1, Length: 1 + beyond}}
			if err := m.WriteSubtask(layout.Subtask{OperatorID: "sum", Handles: []layout.Handle{h}}); (err == nil) != (beyond == 0) {
				t.Errorf("file %d: a segment that ends %d bytes beyond it: %v", number, beyond, err)
			}
		}
	}
}

// What a hostile record claims to hold is counted before it is decoded.
func TestMetadataHostileRoom(t *testing.T) {
	message := func(field protowire.Number, body []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), body)
	}
	handle := func(offsets []byte) []byte { return message(5, message(2, message(11, offsets))) }
	one := message(2, message(11, message(2, []byte{0})))
	for what, c := range map[string]struct {
		record  int
		payload []byte
		words   string
	}{
		"packed offsets":             {17, handle(message(2, make([]byte, 2<<20-100))), "offsets in one record"},
		"unpacked offsets":           {17, handle(bytes.Repeat([]byte{2 << 3, 0}, 1<<20-100)), "offsets in several lists"},
		"offsets in many messages":   {17, message(5, message(2, bytes.Repeat(message(11, message(2, []byte{0})), 1<<18))), "offsets in several lists"},
		"offsets of many handles":    {17, message(5, bytes.Repeat(message(2, message(11, message(2, make([]byte, 100)))), 1000)), "offsets in one record"},
		"handles with offsets":       {17, message(5, bytes.Repeat(one, 5000)), "handles in one record"},
		"a list that is cut":         {17, handle([]byte{2<<3 | 2, 5, 0}), "offsets"},
		"a handle that is cut":       {17, message(5, message(2, []byte{11<<3 | 2, 5})), "handle"},
		"frames":                     {16, message(4, append([]byte{8, 2}, message(9, message(2, make([]byte, 4<<20-100)))...)), ""},
		"unpacked frames":            {16, message(4, append([]byte{8, 2}, message(9, bytes.Repeat([]byte{2<<3 | 5, 1, 2, 3, 4}, 838_000))...)), "frames in several lists"},
		"packed frames one by one":   {16, message(4, append([]byte{8, 2}, bytes.Repeat(message(9, message(2, make([]byte, 4))), 1<<19-100)...)), "frames in several lists"},
		"packed blocks one by one":   {16, message(4, append([]byte{8, 2}, bytes.Repeat(message(5, make([]byte, 4)), 1<<19-100)...)), "block sums in several lists"},
		"frame tables one by one":    {16, message(4, append([]byte{8, 2}, bytes.Repeat(message(9, nil), 1<<21-100)...)), ""},
		"segments in one handle":     {17, message(5, message(2, bytes.Repeat(message(7, nil), 1<<20-100))), ""},
		"channels in one handle":     {17, message(5, message(2, bytes.Repeat(message(12, nil), 1<<20-100))), ""},
		"groups as deep as they fit": {17, message(5, bytes.Repeat([]byte{0x7b}, 2<<20-100)), ""},
	} {
		t.Run(what, func(t *testing.T) {
			data := withPayload(split(encode(t, example())), c.record, c.payload)
			peak := peakHeap(func() {
				if _, err := read(bytes.NewReader(data)); !errors.Is(err, layout.ErrCorrupt) && !errors.Is(err, layout.ErrUnknownKind) || !strings.Contains(err.Error(), c.words) {
					t.Errorf("%v, want a refusal: %q", err, c.words)
				}
			})
			if peak > 40<<20 {
				t.Errorf("%d MiB were allocated, want at most 40", peak>>20)
			}
		})
	}
}

// CheckHandle and CheckFile are the rules that the writer applies: what they accept can be written.
func TestMetadataChecksForCallers(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringN(0, 20, 60)
		lengths := []uint64{rapid.Uint64Range(0, 100).Draw(rt, "of 1"), 100}
		h := drawHandle(rt, lengths, 128, text)
		spoil(rt, &h)
		f := layout.File{Key: fileKey("shared", 1, 1, 1), Length: lengths[0], Compression: drawCompression(rt, rapid.SampledFrom([]uint64{lengths[0], 100}).Draw(rt, "covered"))}
		c := example()
		c.Records = append(c.Records[:1:1], &layout.Operator{ID: "sum", Parallelism: 1, MaxParallelism: 128}, &f, &layout.File{Key: f.Key, Length: 100},
			&layout.Subtask{OperatorID: "sum", Handles: []layout.Handle{h}})
		length := uint64(len(h.Inline))
		if h.File != 0 {
			length = lengths[h.File-1]
		}
		ok := layout.CheckHandle(&h, length, 128) == nil && layout.CheckFile(&f) == nil
		if _, err := write(io.Discard, c); (err == nil) != ok {
			rt.Fatalf("the checks accept it: %v; the writer says %v; want the same", ok, err)
		}
	})
}

// spoil changes a handle, perhaps so that it is wrong.
func spoil(t *rapid.T, h *layout.Handle) {
	switch rapid.IntRange(0, 6).Draw(t, "spoil") {
	case 1:
		h.State.Kind = layout.StateKind(rapid.IntRange(-1, 10).Draw(t, "other kind"))
	case 2:
		h.KeyGroups = nil
	case 3:
		h.Segment = &layout.Segment{Offset: rapid.Uint64Range(0, 200).Draw(t, "from"), Length: rapid.Uint64Range(0, 200).Draw(t, "bytes")}
	case 4:
		h.State.Offsets = &layout.Offsets{Mode: layout.Mode(rapid.IntRange(-1, 4).Draw(t, "other mode")), Positions: []uint64{rapid.Uint64Range(0, 200).Draw(t, "at")}}
	case 5:
		h.State.Channel = &layout.Channel{Gate: rapid.Uint32Range(0, 1).Draw(t, "g"), Partition: rapid.Uint32Range(0, 1).Draw(t, "p")}
	case 6:
		h.KeyGroups = &keygroup.Range{Start: uint16(rapid.IntRange(0, 200).Draw(t, "first")), End: uint16(rapid.IntRange(0, 200).Draw(t, "last"))}
	}
}
