package layout

import (
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ckptd/ckptd/layout/keygroup"
	storedv1 "github.com/ckptd/ckptd/proto/ckptd/stored/v1"
)

// The two most frequent messages, handle and file, are encoded by hand: the generated code would cost milliseconds for
// a checkpoint of ten thousand references. A test compares the bytes with those of the generated code. All field
// numbers are below 16, so a tag takes one byte. Zero fields of proto3 are left out.

func appendFile(b []byte, f *File) []byte {
	scope, name := storedv1.MetadataScope_METADATA_SCOPE_BESIDE, f.Key
	if folder := strings.IndexByte(f.Key, '/') + 1; folder > 0 {
		scope, name = storedv1.MetadataScope_METADATA_SCOPE_EXCLUSIVE, f.Key[folder:]
		if f.Key[:folder] == sharedFolder {
			scope = storedv1.MetadataScope_METADATA_SCOPE_SHARED
		}
	}
	b = appendUint(b, 1, uint64(scope))
	b = appendString(b, 2, name)
	b = appendUint(b, 3, f.Length)
	if f.CRC32C != 0 {
		b = protowire.AppendTag(b, 4, protowire.Fixed32Type)
		b = protowire.AppendFixed32(b, f.CRC32C)
	}
	b = appendFixed(b, 5, f.Blocks)
	b = appendString(b, 6, f.InstanceNonce)
	b = appendString(b, 7, f.LocalName)
	b = appendString(b, 8, f.SHA256)
	if c := f.Compression; c != nil {
		b = protowire.AppendTag(b, 9, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(sizeString(c.Codec)+sizeFixed(c.Stored)+sizeFixed(c.Plain)))
		b = appendString(b, 1, c.Codec)
		b = appendFixed(b, 2, c.Stored)
		b = appendFixed(b, 3, c.Plain)
	}
	return appendString(b, 10, f.Job)
}

// appendHandle appends one handle of a subtask.
func (m *MetadataWriter) appendHandle(b []byte, h *Handle) []byte {
	p := appendString(m.part[:0], 3, h.Name)
	p = appendString(p, 4, h.InstanceNonce)
	if h.KeyGroups != nil {
		p = appendGroups(p, h.KeyGroups)
	}
	p = appendState(p, &h.State)
	m.part = appendLocation(p, h)
	b = protowire.AppendTag(b, fieldSubHandles, protowire.BytesType)
	return protowire.AppendBytes(b, m.part)
}

func appendGroups(b []byte, g *keygroup.Range) []byte {
	return appendUints(b, 5, uint64(g.Start), uint64(g.End))
}

// appendLocation comes last: the generated code puts a oneof last, too.
func appendLocation(b []byte, h *Handle) []byte {
	switch {
	case h.File == 0:
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		return protowire.AppendBytes(b, h.Inline)
	case h.Segment == nil:
		return appendUint(b, 1, uint64(h.File))
	}
	return appendUints(b, 7, uint64(h.File), h.Segment.Offset, h.Segment.Length)
}

func appendState(b []byte, s *State) []byte {
	b = appendUint(b, 6, uint64(kindOut(s.Kind)))
	b = appendString(b, 8, s.Name)
	b = appendString(b, 9, s.Serializer)
	b = appendUint(b, 10, uint64(s.SchemaVersion))
	if o := s.Offsets; o != nil {
		b = appendOffsets(b, o)
	}
	if c := s.Channel; c != nil {
		b = appendUints(b, 12, uint64(c.Gate), uint64(c.Channel), uint64(c.Partition), uint64(c.Subpartition))
	}
	return b
}

func appendOffsets(b []byte, o *Offsets) []byte {
	positions := 0
	for _, p := range o.Positions {
		positions += protowire.SizeVarint(p)
	}
	size := sizeUint(uint64(o.Mode))
	if positions > 0 {
		size += 1 + protowire.SizeBytes(positions)
	}
	b = protowire.AppendTag(b, fieldOffsets, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = appendUint(b, 1, uint64(o.Mode))
	if positions > 0 {
		b = protowire.AppendTag(b, fieldPositions, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(positions))
		for _, p := range o.Positions {
			b = protowire.AppendVarint(b, p)
		}
	}
	return b
}

// kindOut and kindIn turn a kind into its stored number and back. Stored numbers begin at 1, so a reader notices a
// handle without a kind.
func kindOut(k StateKind) storedv1.MetadataStateKind { return storedv1.MetadataStateKind(k) + 1 }
func kindIn(k storedv1.MetadataStateKind) StateKind  { return StateKind(k) - 1 }

// appendUints appends a message whose fields 1, 2, … are the numbers.
func appendUints(b []byte, field protowire.Number, numbers ...uint64) []byte {
	size := 0
	for _, v := range numbers {
		size += sizeUint(v)
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	for i, v := range numbers {
		b = appendUint(b, protowire.Number(i+1), v)
	}
	return b
}

func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func sizeUint(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}

func appendString[T string | []byte](b []byte, field protowire.Number, v T) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(v)))
	return append(b, v...)
}

func sizeString(s string) int {
	if s == "" {
		return 0
	}
	return 1 + protowire.SizeBytes(len(s))
}

func appendFixed(b []byte, field protowire.Number, numbers []uint32) []byte {
	if len(numbers) == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, 4*uint64(len(numbers)))
	for _, v := range numbers {
		b = protowire.AppendFixed32(b, v)
	}
	return b
}

func sizeFixed(numbers []uint32) int {
	if len(numbers) == 0 {
		return 0
	}
	return 1 + protowire.SizeBytes(4*len(numbers))
}
