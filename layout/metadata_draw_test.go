package layout_test

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/keygroup"
)

func drawContents(t *rapid.T) contents {
	text := rapid.StringN(0, 20, 60)
	at := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "at"), 0).UTC()
	c := contents{Header: layout.Header{
		JobID:      rapid.StringMatching(`[a-z][A-Za-z0-9._-]{0,20}`).Filter(func(s string) bool { return layout.ValidateJobID(s) == nil }).Draw(t, "job"),
		Checkpoint: rapid.Uint64Range(1, 1<<63).Draw(t, "checkpoint"), Epoch: rapid.Uint64Range(1, 1<<63).Draw(t, "epoch"),
		Attempt: rapid.Uint64().Draw(t, "attempt"), Nonce: layout.NewNonce(),
		Kind: rapid.SampledFrom([]layout.Kind{layout.KindCheckpoint, layout.KindSavepoint}).Draw(t, "kind"), TriggeredAt: at, CompletedAt: at,
	}}
	c.Records = append(c.Records, &layout.Job{Labels: rapid.MapOfN(text, text, 1, 3).Draw(t, "labels")})
	var lengths []uint64
	for o := range rapid.IntRange(1, 3).Draw(t, "operators") {
		op := &layout.Operator{ID: fmt.Sprint("op-", o), UID: text.Draw(t, "uid"), Triggered: rapid.Bool().Draw(t, "triggered"),
			Parallelism: rapid.IntRange(1, 4).Draw(t, "parallelism"), MaxParallelism: rapid.IntRange(4, keygroup.MaxParallelism).Draw(t, "max")}
		c.Records = append(c.Records, op)
		for i := range op.Parallelism {
			for range rapid.IntRange(0, 2).Draw(t, "files") {
				f := drawFile(t, c.Header, text)
				c.Records, lengths = append(c.Records, f), append(lengths, f.Length)
			}
			s := &layout.Subtask{OperatorID: op.ID, Index: i}
			if rapid.IntRange(0, 4).Draw(t, "finished?") == 0 {
				s.Finished = true
				c.Records = append(c.Records, s)
				continue
			}
			for range rapid.IntRange(0, 3).Draw(t, "handles") {
				s.Handles = append(s.Handles, drawHandle(t, lengths, op.MaxParallelism, text))
			}
			c.Records = append(c.Records, s)
		}
	}
	return c
}

func drawFile(t *rapid.T, h layout.Header, text *rapid.Generator[string]) *layout.File {
	f := &layout.File{
		Length: rapid.Uint64Range(0, 5*layout.BlockSize).Draw(t, "length"), CRC32C: rapid.Uint32().Draw(t, "crc"),
		InstanceNonce: text.Draw(t, "instance"), LocalName: text.Draw(t, "local"),
	}
	drawPlace(t, h, f)
	if f.Length > layout.BlockSize {
		n := int((f.Length + layout.BlockSize - 1) / layout.BlockSize)
		f.Blocks = rapid.SliceOfN(rapid.Uint32(), n, n).Draw(t, "blocks")
	}
	if rapid.Bool().Draw(t, "digest") {
		f.SHA256 = rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "sha")
	}
	if rapid.Bool().Draw(t, "compressed") {
		f.Compression = drawCompression(t, f.Length)
	}
	return f
}

// drawPlace gives a file a name: of the job's own folder, lent, or beside a savepoint.
func drawPlace(t *rapid.T, h layout.Header, f *layout.File) {
	own := layout.FileName{
		Epoch: rapid.Uint64Range(0, h.Epoch).Draw(t, "e"), Checkpoint: rapid.Uint64Range(0, h.Checkpoint).Draw(t, "n"),
		Nonce: layout.NewNonce(), Sequence: rapid.Uint64().Draw(t, "s"),
	}
	anyone := own
	anyone.Epoch, anyone.Checkpoint = rapid.Uint64().Draw(t, "epoch"), rapid.Uint64().Draw(t, "checkpoint")
	places := []string{"shared", "exclusive", "lent shared", "lent exclusive"}
	if h.Kind == layout.KindSavepoint {
		places = append(places, "beside", "beside, any name")
	}
	switch rapid.SampledFrom(places).Draw(t, "place") {
	case "shared":
		f.Key = "shared/" + own.String()
	case "exclusive":
		own.Checkpoint = h.Checkpoint
		f.Key = layout.CheckpointDir(own.Checkpoint) + "/" + own.String()
	case "lent shared":
		f.Key, f.Job = "shared/"+anyone.String(), "other."+h.JobID
	case "lent exclusive":
		f.Key, f.Job = layout.CheckpointDir(anyone.Checkpoint)+"/"+anyone.String(), "other."+h.JobID
	case "beside":
		f.Key = anyone.String()
	case "beside, any name":
		f.Key = rapid.StringMatching(`[A-Za-z0-9-][A-Za-z0-9._-]{0,254}`).Draw(t, "name")
	}
}

func drawCompression(t *rapid.T, length uint64) *layout.Compression {
	c := &layout.Compression{Codec: rapid.StringMatching(`[a-z0-9-]{1,32}`).Draw(t, "codec")}
	for left := length; left > 0; {
		n := left
		if len(c.Stored) < 20 {
			n = rapid.Uint64Range(1, left).Draw(t, "stored")
		}
		c.Stored, c.Plain = append(c.Stored, uint32(n)), append(c.Plain, rapid.Uint32().Draw(t, "plain"))
		left -= n
	}
	return c
}

func drawHandle(t *rapid.T, lengths []uint64, groups int, text *rapid.Generator[string]) layout.Handle {
	h := layout.Handle{Name: text.Draw(t, "name"), InstanceNonce: text.Draw(t, "nonce")}
	var length uint64
	if len(lengths) > 0 && rapid.Bool().Draw(t, "file?") {
		file := rapid.IntRange(1, len(lengths)).Draw(t, "file")
		h.File, length = layout.FileRef(file), lengths[file-1]
		if rapid.Bool().Draw(t, "segment?") {
			h.Segment = &layout.Segment{Offset: rapid.Uint64Range(0, length).Draw(t, "offset")}
			h.Segment.Length = rapid.Uint64Range(0, length-h.Segment.Offset).Draw(t, "length")
			length = h.Segment.Length
		}
	} else {
		h.Inline = rapid.SliceOf(rapid.Byte()).Draw(t, "inline")
		length = uint64(len(h.Inline))
	}
	h.State = drawState(t, length, text)
	if h.State.Kind.Keyed() {
		start := rapid.IntRange(0, groups-1).Draw(t, "start")
		h.KeyGroups = &keygroup.Range{Start: uint16(start), End: uint16(rapid.IntRange(start, groups-1).Draw(t, "end"))}
	}
	return h
}

func drawState(t *rapid.T, length uint64, text *rapid.Generator[string]) layout.State {
	s := layout.State{
		Kind: layout.StateKind(rapid.IntRange(0, 9).Draw(t, "kind")), Name: text.Draw(t, "state"),
		Serializer: text.Draw(t, "serializer"), SchemaVersion: rapid.Uint32().Draw(t, "schema"),
	}
	number := rapid.Uint32()
	mode := layout.ModeNone
	switch s.Kind {
	case layout.StateInputChannel:
		s.Channel = &layout.Channel{Gate: number.Draw(t, "gate"), Channel: number.Draw(t, "channel")}
	case layout.StateResultSubpartition:
		s.Channel = &layout.Channel{Partition: number.Draw(t, "partition"), Subpartition: number.Draw(t, "subpartition")}
	case layout.StateList:
		mode = layout.ModeSplit
	case layout.StateUnion:
		mode = layout.ModeUnion
	case layout.StateBroadcast:
		mode = layout.ModeBroadcast
	case layout.StateSourceReader, layout.StateSinkTransactions:
		mode = rapid.SampledFrom([]layout.Mode{layout.ModeSplit, layout.ModeUnion, layout.ModeBroadcast}).Draw(t, "mode")
	default:
		return s
	}
	if rapid.Bool().Draw(t, "offsets?") {
		s.Offsets = &layout.Offsets{Mode: mode}
		at := uint64(0)
		for range rapid.IntRange(0, 5).Draw(t, "positions") {
			at = rapid.Uint64Range(at, length).Draw(t, "position")
			s.Offsets.Positions = append(s.Offsets.Positions, at)
		}
	}
	return s
}
