package layout

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ckptd/ckptd/layout/keygroup"
	storedv1 "github.com/ckptd/ckptd/proto/ckptd/stored/v1"
)

func (m *MetadataReader) decodeFile(body []byte) (*File, error) {
	if err := countLists(body); err != nil {
		return nil, err
	}
	msg := &storedv1.MetadataFile{}
	if err := decode(body, msg); err != nil {
		return nil, err
	}
	f := &File{
		Key: msg.GetName(), Job: msg.GetJobId(), Length: msg.GetLength(), CRC32C: msg.GetCrc32C(), Blocks: msg.GetBlockCrc32C(),
		InstanceNonce: msg.GetInstanceNonce(), LocalName: msg.GetLocalName(), SHA256: msg.GetSha256(),
	}
	if c := msg.GetCompression(); c != nil {
		f.Compression = &Compression{Codec: c.GetCodec(), Stored: c.GetStored(), Plain: c.GetPlain()}
	}
	switch msg.GetScope() {
	case storedv1.MetadataScope_METADATA_SCOPE_SHARED:
		f.Key = sharedFolder + f.Key
	case storedv1.MetadataScope_METADATA_SCOPE_EXCLUSIVE:
		checkpoint := m.check.header.Checkpoint
		if name, ok := parseFileName(f.Key); ok && f.Job != "" {
			checkpoint = name.Checkpoint
		}
		f.Key = CheckpointDir(checkpoint) + "/" + f.Key
	case storedv1.MetadataScope_METADATA_SCOPE_BESIDE:
		if !f.Beside() {
			return nil, corrupt("file %q is not beside the _metadata", clip(f.Key))
		}
	default:
		return nil, fmt.Errorf("file of scope %d: %w", msg.GetScope(), ErrUnknownKind)
	}
	return f, nil
}

func (m *MetadataReader) decodeSubtask(body []byte) (*Subtask, error) {
	if err := countHandles(body); err != nil {
		return nil, err
	}
	msg := &storedv1.MetadataSubtask{}
	if err := decode(body, msg); err != nil {
		return nil, err
	}
	s := &Subtask{OperatorID: m.check.operator.ID, Index: int(msg.GetIndex()), Finished: msg.GetFinished()}
	if n := len(msg.GetHandles()); n > 0 {
		s.Handles = make([]Handle, n)
	}
	for i, h := range msg.GetHandles() {
		if err := decodeHandle(&s.Handles[i], h); err != nil {
			return nil, fmt.Errorf("subtask %d of operator %s: handle %d: %w", s.Index, s.OperatorID, i, err)
		}
	}
	return s, nil
}

func decodeHandle(to *Handle, h *storedv1.MetadataHandle) error {
	switch at := h.GetLocation().(type) {
	case *storedv1.MetadataHandle_File:
		if to.File = FileRef(at.File); at.File == 0 {
			return corrupt("file 0")
		}
	case *storedv1.MetadataHandle_Segment:
		if to.File = FileRef(at.Segment.GetFile()); to.File == 0 {
			return corrupt("segment of file 0")
		}
		to.Segment = &Segment{Offset: at.Segment.GetOffset(), Length: at.Segment.GetLength()}
	case *storedv1.MetadataHandle_Inline:
		to.Inline = at.Inline
	default:
		return fmt.Errorf("location: %w", ErrUnknownKind)
	}
	to.Name, to.InstanceNonce = h.GetName(), h.GetInstanceNonce()
	if g := h.GetKeyGroups(); g != nil {
		if max(g.GetStart(), g.GetEnd()) >= keygroup.MaxParallelism {
			return corrupt("key groups %d-%d", g.GetStart(), g.GetEnd())
		}
		to.KeyGroups = &keygroup.Range{Start: uint16(g.GetStart()), End: uint16(g.GetEnd())}
	}
	return decodeState(&to.State, h)
}

func decodeState(to *State, h *storedv1.MetadataHandle) error {
	if to.Kind = kindIn(h.GetKind()); int(to.Kind) >= len(stateRules) {
		return fmt.Errorf("state of kind %d: %w", h.GetKind(), ErrUnknownKind)
	}
	to.Name, to.Serializer, to.SchemaVersion = h.GetStateName(), h.GetSerializer(), h.GetSchemaVersion()
	if o := h.GetOffsets(); o != nil {
		if to.Offsets = (&Offsets{Mode: Mode(o.GetMode()), Positions: o.GetPositions()}); int(to.Offsets.Mode) >= len(modeNames) {
			return fmt.Errorf("offsets of mode %d: %w", o.GetMode(), ErrUnknownKind)
		}
	}
	if c := h.GetChannel(); c != nil {
		to.Channel = &Channel{Gate: c.GetGate(), Channel: c.GetChannel(), Partition: c.GetPartition(), Subpartition: c.GetSubpartition()}
	}
	return nil
}

// countHandles bounds the memory that decoding a subtask can allocate. An empty handle takes two bytes in the file, but
// two hundred in memory; an offset takes one byte in the file, but eight in memory.
func countHandles(body []byte) error {
	handles, offsets := 0, 0
	return eachField("subtask", body, func(field protowire.Number, handle []byte) error {
		if field != fieldSubHandles {
			return nil
		}
		if handles++; handles > maxHandles {
			return corrupt("more than %d handles in one record", maxHandles)
		}
		lists := 0 // of this handle
		return eachField("handle", handle, func(field protowire.Number, value []byte) error {
			if field != fieldOffsets {
				return nil
			}
			return eachField("offsets", value, func(field protowire.Number, positions []byte) error {
				if field != fieldPositions {
					return nil
				}
				if lists++; lists > 1 {
					return corrupt("offsets in several lists")
				}
				offsets += countVarints(positions)
				if offsets > MaxOffsets {
					return corrupt("more than %d offsets in one record", MaxOffsets)
				}
				return nil
			})
		})
	})
}

// countLists refuses a file whose lists come in pieces, because decoding would copy the whole list for each piece.
func countLists(body []byte) error {
	blocks, stored, plain := 0, 0, 0
	return eachField("file", body, func(field protowire.Number, value []byte) error {
		switch field {
		case fieldBlocks:
			if blocks++; blocks > 1 {
				return corrupt("block sums in several lists")
			}
		case fieldCompression:
			return eachField("compression", value, func(field protowire.Number, _ []byte) error {
				switch field {
				case fieldStored:
					stored++
				case fieldPlain:
					plain++
				}
				if max(stored, plain) > 1 {
					return corrupt("frames in several lists")
				}
				return nil
			})
		}
		return nil
	})
}

// eachField calls f with the number and the value of each field of a message. The value of a message, text or packed
// list is its bytes; any other value is passed in its encoding.
func eachField(what string, message []byte, f func(field protowire.Number, value []byte) error) error {
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return corrupt("%s: %v", what, protowire.ParseError(n))
		}
		length := protowire.ConsumeFieldValue(field, kind, message[n:])
		if length < 0 {
			return corrupt("%s: %v", what, protowire.ParseError(length))
		}
		value := message[n : n+length]
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(value)
		}
		if err := f(field, value); err != nil {
			return err
		}
		message = message[n+length:]
	}
	return nil
}

// countVarints is the number of varints in a list of them.
func countVarints(b []byte) (n int) {
	for _, c := range b {
		if c < 0x80 {
			n++
		}
	}
	return n
}
