package catalog

import (
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// File is the handle of a whole file.
func File(f *layout.File) *ckptdv1.FileHandle {
	out := &ckptdv1.FileHandle{Key: f.Key, Length: f.Length, Crc32C: f.CRC32C, BlockCrc32C: f.Blocks, JobId: f.Job}
	if c := f.Compression; c != nil {
		out.Compression = &ckptdv1.Compression{Codec: c.Codec, Stored: c.Stored, Plain: c.Plain}
	}
	return out
}

// Segment is the part of a file; nil, the whole of it, stays nil.
func Segment(s *layout.Segment) *ckptdv1.Segment {
	if s == nil {
		return nil
	}
	return &ckptdv1.Segment{Offset: s.Offset, Length: s.Length}
}

// State is what a piece of state says of itself.
func State(s *layout.State) *ckptdv1.State {
	out := &ckptdv1.State{
		// The API counts from 1: there, 0 is a kind that was not told.
		Kind: ckptdv1.StateKind(s.Kind) + 1, Name: s.Name, Serializer: s.Serializer, SchemaVersion: s.SchemaVersion,
	}
	if o := s.Offsets; o != nil {
		out.Offsets = &ckptdv1.Offsets{Mode: ckptdv1.DistributionMode(o.Mode), Positions: o.Positions}
	}
	if c := s.Channel; c != nil {
		out.Channel = &ckptdv1.Channel{Gate: c.Gate, Channel: c.Channel, Partition: c.Partition, Subpartition: c.Subpartition}
	}
	return out
}
