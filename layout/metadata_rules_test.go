package layout_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/keygroup"
	storedv1 "github.com/ckptd/ckptd/proto/ckptd/stored/v1"
)

// edited is the example with record i changed (0 is the header) and all checksums right, as a writer without checks
// would write it.
func edited(t *testing.T, i int, edit func(r *storedv1.MetadataRecord)) []byte {
	t.Helper()
	parts := split(encode(t, example()))
	old := parts[i+1]
	r := &storedv1.MetadataRecord{}
	if err := proto.Unmarshal(old[4:len(old)-4], r); err != nil {
		t.Fatal(err)
	}
	edit(r)
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return withPayload(parts, i, payload)
}

func withPayload(parts [][]byte, i int, payload []byte) []byte {
	framed := append(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))), payload...)
	parts[i+1] = append(framed, 0, 0, 0, 0)
	return reframe(bytes.Join(parts, nil))
}

// refusedAt fails unless data is refused for the reason, at record i: the records before it were read, it was not.
func refusedAt(t *testing.T, data []byte, i int, reason error, words string) {
	t.Helper()
	got, err := read(bytes.NewReader(data))
	if !errors.Is(err, reason) || !strings.Contains(err.Error(), words) {
		t.Errorf("%v, want %v: %q", err, reason, words)
	}
	if want := max(0, i-1); len(got.Records) != want {
		t.Errorf("%d records were read before the refusal, want %d", len(got.Records), want)
	}
}

// The reader does not trust the writer: each case is the example with one thing wrong and right checksums.
func TestMetadataReaderRefuses(t *testing.T) {
	corrupt, unknown := layout.ErrCorrupt, layout.ErrUnknownKind
	header := func(f func(h *storedv1.MetadataHeader)) func(*storedv1.MetadataRecord) {
		return func(r *storedv1.MetadataRecord) { f(r.GetHeader()) }
	}
	operator := func(f func(o *storedv1.MetadataOperator)) func(*storedv1.MetadataRecord) {
		return func(r *storedv1.MetadataRecord) { f(r.GetOperator()) }
	}
	file := func(f func(f *storedv1.MetadataFile)) func(*storedv1.MetadataRecord) {
		return func(r *storedv1.MetadataRecord) { f(r.GetFile()) }
	}
	handle := func(f func(h *storedv1.MetadataHandle)) func(*storedv1.MetadataRecord) {
		return func(r *storedv1.MetadataRecord) { f(r.GetSubtask().GetHandles()[0]) }
	}
	name := func(epoch, checkpoint uint64) string {
		return layout.FileName{Epoch: epoch, Checkpoint: checkpoint, Nonce: nonceA, Sequence: 1}.String()
	}
	long := strings.Repeat("x", 4097)
	for what, c := range map[string]struct {
		record int
		edit   func(r *storedv1.MetadataRecord)
		reason error
		words  string
	}{
		"job id":                  {0, header(func(h *storedv1.MetadataHeader) { h.JobId = "a/b" }), corrupt, "job id"},
		"no nonce":                {0, header(func(h *storedv1.MetadataHeader) { h.Nonce = "" }), corrupt, "nonce"},
		"long nonce":              {0, header(func(h *storedv1.MetadataHeader) { h.Nonce = long }), corrupt, "nonce"},
		"no kind":                 {0, header(func(h *storedv1.MetadataHeader) { h.Kind = 0 }), corrupt, "kind"},
		"a later kind":            {0, header(func(h *storedv1.MetadataHeader) { h.Kind = 3 }), unknown, "kind 3"},
		"checkpoint 0":            {0, header(func(h *storedv1.MetadataHeader) { h.CheckpointId = 0 }), corrupt, "checkpoint 0"},
		"epoch 0":                 {0, header(func(h *storedv1.MetadataHeader) { h.Epoch = 0 }), corrupt, "epoch 0"},
		"time of the trigger":     {0, header(func(h *storedv1.MetadataHeader) { h.TriggeredAt = &timestamppb.Timestamp{Nanos: -1} }), corrupt, "nanos"},
		"time of completion":      {0, header(func(h *storedv1.MetadataHeader) { h.CompletedAt = &timestamppb.Timestamp{Nanos: -1} }), corrupt, "nanos"},
		"operator id":             {2, operator(func(o *storedv1.MetadataOperator) { o.Id = "" }), corrupt, "operator id"},
		"operator twice":          {5, operator(func(o *storedv1.MetadataOperator) { o.Id = "source" }), corrupt, "twice"},
		"long uid":                {2, operator(func(o *storedv1.MetadataOperator) { o.Uid = long }), corrupt, "uid"},
		"parallelism 0":           {2, operator(func(o *storedv1.MetadataOperator) { o.Parallelism = 0 }), corrupt, "parallelism"},
		"parallelism above max":   {2, operator(func(o *storedv1.MetadataOperator) { o.MaxParallelism = 1 }), corrupt, "parallelism"},
		"max parallelism":         {2, operator(func(o *storedv1.MetadataOperator) { o.MaxParallelism = 1 << 20 }), corrupt, "parallelism"},
		"no scope":                {6, file(func(f *storedv1.MetadataFile) { f.Scope = 0 }), unknown, "scope 0"},
		"a later scope":           {6, file(func(f *storedv1.MetadataFile) { f.Scope = 4 }), unknown, "scope 4"},
		"no file name":            {6, file(func(f *storedv1.MetadataFile) { f.Name = "" }), corrupt, "key"},
		"name of the metadata":    {7, file(func(f *storedv1.MetadataFile) { f.Name = "_metadata" }), corrupt, "key"},
		"name outside":            {6, file(func(f *storedv1.MetadataFile) { f.Name = "../shared/" + f.Name }), corrupt, "key"},
		"exclusive of another":    {7, file(func(f *storedv1.MetadataFile) { f.Name = name(3, 41) }), corrupt, "another checkpoint"},
		"of a later checkpoint":   {6, file(func(f *storedv1.MetadataFile) { f.Name = name(3, 43) }), corrupt, "later"},
		"of a later epoch":        {6, file(func(f *storedv1.MetadataFile) { f.Name = name(4, 42) }), corrupt, "later"},
		"exclusive, later epoch":  {7, file(func(f *storedv1.MetadataFile) { f.Name = name(4, 42) }), corrupt, "later"},
		"a block sum too few":     {6, file(func(f *storedv1.MetadataFile) { f.BlockCrc32C = f.BlockCrc32C[:1] }), corrupt, "block sums"},
		"a block sum too many":    {6, file(func(f *storedv1.MetadataFile) { f.BlockCrc32C = append(f.BlockCrc32C, 1) }), corrupt, "block sums"},
		"digest":                  {6, file(func(f *storedv1.MetadataFile) { f.Sha256 = f.Sha256[:31] }), corrupt, "SHA-256"},
		"long local name":         {6, file(func(f *storedv1.MetadataFile) { f.LocalName = long }), corrupt, "local name"},
		"long instance":           {6, file(func(f *storedv1.MetadataFile) { f.InstanceNonce = long }), corrupt, "instance nonce"},
		"subtask skipped":         {3, func(r *storedv1.MetadataRecord) { r.GetSubtask().Index = 1 }, corrupt, "subtask 1"},
		"subtask backwards":       {11, func(r *storedv1.MetadataRecord) { r.GetSubtask().Index = 0 }, corrupt, "subtask 0"},
		"subtask beyond the last": {11, func(r *storedv1.MetadataRecord) { r.GetSubtask().Index = 2 }, corrupt, "subtask 2"},
		"file 0":                  {8, handle(func(h *storedv1.MetadataHandle) { h.Location = &storedv1.MetadataHandle_File{} }), corrupt, "file 0"},
		"file that comes later": {8, handle(func(h *storedv1.MetadataHandle) { h.Location = &storedv1.MetadataHandle_File{File: 3} }), corrupt,
			"file 3 of 2"},
		"state nowhere": {8, handle(func(h *storedv1.MetadataHandle) { h.Location = nil }), unknown, "handle 0"},
		"inline too long": {3, handle(func(h *storedv1.MetadataHandle) {
			h.Location = &storedv1.MetadataHandle_Inline{Inline: make([]byte, layout.MaxInline+1)}
		}), corrupt, "inline"},
		"handle with a long name":     {8, handle(func(h *storedv1.MetadataHandle) { h.Name = long }), corrupt, "name"},
		"handle with a long instance": {8, handle(func(h *storedv1.MetadataHandle) { h.InstanceNonce = long }), corrupt, "instance nonce"},
		"key groups reversed":         {8, handle(func(h *storedv1.MetadataHandle) { h.KeyGroups.Start = 64 }), corrupt, "key groups"},
		"key groups of another plan":  {8, handle(func(h *storedv1.MetadataHandle) { h.KeyGroups.End = 128 }), corrupt, "key groups"},
		"key group that wraps around": {8, handle(func(h *storedv1.MetadataHandle) { h.KeyGroups.End = 1<<16 + 63 }), corrupt, "key groups"},
		"first group that wraps":      {8, handle(func(h *storedv1.MetadataHandle) { h.KeyGroups.Start = 1 << 16 }), corrupt, "key groups"},
		"largest group":               {8, handle(func(h *storedv1.MetadataHandle) { h.KeyGroups.End = keygroup.MaxParallelism }), corrupt, "key groups"},
	} {
		t.Run(what, func(t *testing.T) { refusedAt(t, edited(t, c.record, c.edit), c.record, c.reason, c.words) })
	}
	t.Run("nothing", func(t *testing.T) { // each case above fails for what it edits
		if _, err := read(bytes.NewReader(edited(t, 6, file(func(*storedv1.MetadataFile) {})))); err != nil {
			t.Error(err)
		}
	})
}

// A record of a kind of tomorrow is no rot: the file is whole, and this version does not understand it.
func TestMetadataReaderRefusesRecords(t *testing.T) {
	message := func(field protowire.Number, body []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), body)
	}
	for what, c := range map[string]struct {
		payload []byte
		reason  error
	}{
		"a later kind":              {message(7, nil), layout.ErrUnknownKind},
		"a much later kind":         {message(1000, []byte("x")), layout.ErrUnknownKind},
		"a second header":           {message(1, nil), layout.ErrCorrupt},
		"nothing":                   {nil, layout.ErrCorrupt},
		"no message":                {protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), 1), layout.ErrCorrupt},
		"a message and more":        {append(message(2, nil), 0), layout.ErrCorrupt},
		"two messages":              {append(message(2, nil), message(2, nil)...), layout.ErrCorrupt},
		"a message that is cut":     {message(2, []byte("abc"))[:4], layout.ErrCorrupt},
		"labels above their bound":  {message(2, protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), make([]byte, 64<<10))), layout.ErrCorrupt},
		"operator above its bound":  {message(3, make([]byte, 16<<10+1)), layout.ErrCorrupt},
		"what is not of its kind":   {message(2, []byte{0xff}), layout.ErrCorrupt},
		"text that is not text":     {message(2, message(1, message(1, []byte("\xff")))), layout.ErrCorrupt},
		"a subtask of what follows": {message(5, nil), layout.ErrCorrupt},
		"an end of what follows":    {message(6, nil), layout.ErrCorrupt},
	} {
		t.Run(what, func(t *testing.T) {
			refusedAt(t, withPayload(split(encode(t, example())), 1, c.payload), 1, c.reason, "")
		})
	}
	t.Run("another record instead of the header", func(t *testing.T) {
		refusedAt(t, withPayload(split(encode(t, example())), 0, message(2, nil)), 0, layout.ErrCorrupt, "no header")
	})
	t.Run("a header of a later kind", func(t *testing.T) {
		refusedAt(t, withPayload(split(encode(t, example())), 0, message(9, nil)), 0, layout.ErrCorrupt, "no header")
	})
	t.Run("version 0", func(t *testing.T) {
		whole := encode(t, example())
		binary.LittleEndian.PutUint32(whole[8:], 0)
		refusedAt(t, reframe(whole), 0, layout.ErrCorrupt, "version 0")
	})
	t.Run("too many handles in one record", func(t *testing.T) {
		inline := message(2, message(2, nil)) // a handle of no bytes
		for n, want := range map[int]string{4096: "", 4097: "handles"} {
			_, err := read(bytes.NewReader(withPayload(split(encode(t, example())), 3, message(5, bytes.Repeat(inline, n)))))
			if (want == "") == strings.Contains(fmt.Sprint(err), "more than") {
				t.Errorf("%d handles: %v, want %q", n, err, want)
			}
		}
	})
	t.Run("fields that a later edition added are left aside", func(t *testing.T) {
		added := protowire.AppendVarint(protowire.AppendTag(nil, 500, protowire.VarintType), 7)
		if _, err := read(bytes.NewReader(withPayload(split(encode(t, example())), 1, message(2, added)))); err != nil {
			t.Error(err)
		}
	})
}

// A checkpoint refers to shared files of checkpoints and epochs up to its own, and to exclusive files of its own alone.
func TestMetadataKeys(t *testing.T) {
	for _, folder := range []string{"shared", "chk-41", "chk-42", "chk-43", "chk-042", "taskowned", "_tmp"} {
		for checkpoint := uint64(41); checkpoint <= 43; checkpoint++ {
			for epoch := uint64(2); epoch <= 4; epoch++ {
				key := fileKey(folder, epoch, checkpoint, 1)
				legal := epoch <= 3 && (folder == "shared" && checkpoint <= 42 || folder == "chk-42" && checkpoint == 42)
				ex := example()
				ex.Records[5].(*layout.File).Key = key
				if _, err := write(io.Discard, ex); (err == nil) != legal {
					t.Errorf("checkpoint 42 of epoch 3 refers to %s: %v, want legal: %v", key, err, legal)
				}
			}
		}
	}
}

// Files have a sum for each block if they are longer than one, and none if they are not.
func TestMetadataBlockSums(t *testing.T) {
	for length, want := range map[uint64]int{
		0: 0, 1: 0, layout.BlockSize - 1: 0, layout.BlockSize: 0, layout.BlockSize + 1: 2, 2*layout.BlockSize - 1: 2, 2 * layout.BlockSize: 2,
		2*layout.BlockSize + 1: 3, 3 * layout.BlockSize: 3,
	} {
		for n := range 5 {
			ex := example()
			f := ex.Records[5].(*layout.File)
			f.Length, f.Blocks = length, make([]uint32, n)
			if _, err := write(io.Discard, ex); (err == nil) != (n == want) {
				t.Errorf("%d block sums for %d bytes: %v, want %d", n, length, err, want)
			}
		}
	}
}

// What is just within a bound is written and read; one more is refused.
func TestMetadataBounds(t *testing.T) {
	text := func(set func(c *contents, s string)) func(c *contents, beyond int) {
		return func(c *contents, beyond int) { set(c, strings.Repeat("x", 4096+beyond)) }
	}
	for what, edit := range map[string]func(c *contents, beyond int){
		"nonce":             text(func(c *contents, s string) { c.Header.Nonce = s }),
		"uid":               text(func(c *contents, s string) { c.Records[1].(*layout.Operator).UID = s }),
		"local name":        text(func(c *contents, s string) { c.Records[5].(*layout.File).LocalName = s }),
		"file's instance":   text(func(c *contents, s string) { c.Records[5].(*layout.File).InstanceNonce = s }),
		"handle's name":     text(func(c *contents, s string) { c.Records[2].(*layout.Subtask).Handles[0].Name = s }),
		"handle's instance": text(func(c *contents, s string) { c.Records[2].(*layout.Subtask).Handles[0].InstanceNonce = s }),
		"parallelism":       func(c *contents, beyond int) { c.Records[11].(*layout.Operator).MaxParallelism = 1 - beyond },
		"max parallelism":   func(c *contents, n int) { c.Records[1].(*layout.Operator).MaxParallelism = keygroup.MaxParallelism + n },
		"key group":         func(c *contents, n int) { c.Records[7].(*layout.Subtask).Handles[0].KeyGroups.End = uint16(127 + n) },
		"start of a range":  func(c *contents, n int) { c.Records[7].(*layout.Subtask).Handles[0].KeyGroups.Start = uint16(63 + n) },
		"inline": func(c *contents, n int) {
			c.Records[2].(*layout.Subtask).Handles[0].Inline = make([]byte, layout.MaxInline+n)
		},
		"digest":           func(c *contents, n int) { c.Records[5].(*layout.File).SHA256 = make([]byte, 32+n) },
		"file of a handle": func(c *contents, n int) { c.Records[7].(*layout.Subtask).Handles[1].File = layout.FileRef(2 + n) },
		"last of a plan": func(c *contents, n int) {
			c.Records[9].(*layout.Subtask).Index, c.Records[10].(*layout.Subtask).Index = 1+n, 1+n
		},
		"epoch and above":    func(c *contents, n int) { c.Header.Epoch = uint64(1 - n); keepOldFiles(c) },
		"checkpoint 1 and 0": func(c *contents, n int) { c.Header.Checkpoint = uint64(1 - n); keepOldFiles(c) },
	} {
		t.Run(what, func(t *testing.T) {
			within, beyond := example(), example()
			edit(&within, 0)
			edit(&beyond, 1)
			var b bytes.Buffer
			if _, err := write(&b, within); err != nil {
				t.Fatalf("the largest: %v", err)
			}
			if _, err := read(&b); err != nil {
				t.Errorf("the largest is written, and not read: %v", err)
			}
			if _, err := write(io.Discard, beyond); err == nil {
				t.Error("one beyond it is written")
			}
		})
	}
}

// keepOldFiles gives all files names that any checkpoint may refer to.
func keepOldFiles(c *contents) {
	for i, r := range c.Records {
		if f, ok := r.(*layout.File); ok {
			f.Key = fileKey("shared", 0, 0, uint64(i))
		}
	}
}

func TestMetadataText(t *testing.T) {
	for what, edit := range map[string]func(c *contents, s string){
		"nonce":             func(c *contents, s string) { c.Header.Nonce = s },
		"label's key":       func(c *contents, s string) { c.Records[0].(*layout.Job).Labels = map[string]string{s: "a"} },
		"label's value":     func(c *contents, s string) { c.Records[0].(*layout.Job).Labels = map[string]string{"a": s} },
		"uid":               func(c *contents, s string) { c.Records[1].(*layout.Operator).UID = s },
		"local name":        func(c *contents, s string) { c.Records[5].(*layout.File).LocalName = s },
		"file's instance":   func(c *contents, s string) { c.Records[5].(*layout.File).InstanceNonce = s },
		"handle's name":     func(c *contents, s string) { c.Records[2].(*layout.Subtask).Handles[0].Name = s },
		"handle's instance": func(c *contents, s string) { c.Records[2].(*layout.Subtask).Handles[0].InstanceNonce = s },
	} {
		for s, legal := range map[string]bool{"text": true, "a\xffb": false} {
			ex := example()
			edit(&ex, s)
			_, err := write(io.Discard, ex)
			if (err == nil) != legal {
				t.Errorf("%s %q: %v, want legal: %v", what, s, err, legal)
			}
			// Generated code refuses a string that is not text; code written by hand has to check it.
			if err != nil && !strings.Contains(err.Error(), "is not text") {
				t.Errorf("%s: %v, want that it is not text", what, err)
			}
		}
	}
}

// Before subtask 0 there is none, not even one that has no number.
func TestMetadataSubtasksCountFrom0(t *testing.T) {
	c := example()
	c.Records = append(c.Records, &layout.Operator{ID: "last", Parallelism: 1, MaxParallelism: 1},
		&layout.Subtask{OperatorID: "last", Index: -1}, &layout.Subtask{OperatorID: "last", Index: 0})
	if _, err := write(io.Discard, c); err == nil {
		t.Error("subtask -1 was written before subtask 0")
	}
}

func TestMetadataNumberOfOperators(t *testing.T) {
	for n, legal := range map[int]bool{10_000: true, 10_001: false} {
		c := example()
		c.Records = c.Records[:1]
		for i := range n {
			id := fmt.Sprint("op-", i)
			c.Records = append(c.Records, &layout.Operator{ID: id, Parallelism: 1, MaxParallelism: 1}, &layout.Subtask{OperatorID: id})
		}
		if _, err := write(io.Discard, c); (err == nil) != legal {
			t.Errorf("%d operators: %v, want legal: %v", n, err, legal)
		}
	}
}

// Totals are what a plain recount of the records says, for the writer and the reader.
func TestMetadataTotalsAreARecount(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := drawContents(rt)
		var want layout.Totals
		last := ""
		for _, r := range c.Records {
			switch r := r.(type) {
			case *layout.Operator:
				want.Operators++
			case *layout.File:
				want.Files++
				want.FileBytes += r.Length
				if r.Beside() || r.Job == "" && layout.ParseJobKey(r.Key).File.Checkpoint == c.Header.Checkpoint { // shared or not
					want.NewFileBytes += r.Length
				}
			case *layout.Subtask:
				if id := fmt.Sprint(r.OperatorID, " ", r.Index); id != last {
					want.Subtasks++
					last = id
				}
				want.Handles += uint64(len(r.Handles))
				for _, h := range r.Handles {
					want.InlineBytes += uint64(len(h.Inline))
				}
			}
		}
		var b bytes.Buffer
		w, err := write(&b, c)
		if err != nil {
			rt.Fatal(err)
		}
		if got := w.Totals(); got != want {
			rt.Fatalf("the writer counts %+v, want %+v", got, want)
		}
		r, err := layout.NewMetadataReader(&b)
		for err == nil {
			_, err = r.Next()
		}
		if got := r.Totals(); err != io.EOF || got != want {
			rt.Fatalf("the reader counts %+v, %v; want %+v", got, err, want)
		}
	})
}

// Only the end of the source after the end record is the end: whatever else the source says there is its trouble.
func TestMetadataSourceErrorAtTheEnd(t *testing.T) {
	whole := encode(t, example())
	for _, cause := range []error{errors.New("connection reset"), io.ErrUnexpectedEOF, fmt.Errorf("reset: %w", io.EOF)} {
		for n := range len(whole) + 1 {
			m, err := layout.NewMetadataReader(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(cause)))
			for err == nil {
				_, err = m.Next()
			}
			if err == io.EOF || !errors.Is(err, cause) || isRefusal(err) {
				t.Fatalf("%v after %d of %d bytes: %v, want it alone", cause, n, len(whole), err)
			}
			if m == nil {
				continue // the header was not read
			}
			if _, again := m.Next(); again == nil || again.Error() != err.Error() {
				t.Fatalf("after the error %v: %v, want the same", err, again)
			}
		}
	}
}

// A refusal is final, too: what follows a record that was refused is not read.
func TestMetadataRefusalIsFinal(t *testing.T) {
	m, err := layout.NewMetadataReader(bytes.NewReader(edited(t, 2, func(r *storedv1.MetadataRecord) { r.GetOperator().Parallelism = 0 })))
	for err == nil {
		_, err = m.Next()
	}
	if rec, again := m.Next(); rec != nil || again == nil || again.Error() != err.Error() {
		t.Errorf("after the refusal %v: %v, %v; want the same", err, rec, again)
	}
}
