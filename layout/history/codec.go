package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout"
	storedv1 "github.com/ckptd/ckptd/proto/ckptd/stored/v1"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

var (
	// ErrCorrupt is in the chain when bytes are not a segment.
	ErrCorrupt = errors.New("corrupt segment of a history")
	// ErrNewer is in the chain when a segment needs a newer reader.
	ErrNewer = errors.New("segment of a history in a newer format")
	// ErrTooLarge is in the chain when a segment exceeds MaxBytes.
	ErrTooLarge = errors.New("segment of a history too large")
)

const (
	magic         = "ckptdHS\n"
	formatVersion = 1
	leastReader   = 1
	preamble      = 24
)

// Segment is one object of a job's history.
type Segment struct {
	Job string
	// Epoch of the owner that wrote it. Sequence orders the segments of an epoch by what they knew.
	Epoch, Sequence uint64
	// Totals are those of the job's life, up to this segment.
	Totals Totals
	// Records are in ascending order of ids.
	Records []*ckptdv1.CheckpointRecord
}

// Name returns a fresh name for the segment.
func (s *Segment) Name() layout.HistoryName {
	n := layout.HistoryName{Records: uint64(len(s.Records)), Epoch: s.Epoch, Sequence: s.Sequence, Nonce: layout.NewNonce()}
	if len(s.Records) > 0 {
		n.First, n.Last = s.Records[0].GetCheckpointId(), s.Records[len(s.Records)-1].GetCheckpointId()
	}
	return n
}

// ForgetOperators drops the operators of all records but those of one checkpoint. They take far more memory than all the rest.
func (s *Segment) ForgetOperators(but uint64) {
	for _, r := range append(slices.Clone(s.Records), s.Totals.LatestCompleted, s.Totals.LatestSavepoint, s.Totals.LatestFailed) {
		if r != nil && r.GetCheckpointId() != but {
			r.Operators, r.OperatorsOmitted = nil, 0
		}
	}
}

// Encode encodes a segment. Its records have passed Clip.
func Encode(s *Segment) ([]byte, error) {
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(toStored(s))
	if err != nil {
		return nil, fmt.Errorf("history: encode a segment of job %s: %w", s.Job, err)
	}
	if n := preamble + len(payload) + 4; n > MaxBytes {
		return nil, fmt.Errorf("history: encode a segment of job %s: %d bytes, want at most %d: %w", s.Job, n, MaxBytes, ErrTooLarge)
	}
	b := make([]byte, 0, preamble+len(payload)+4)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = binary.LittleEndian.AppendUint32(b, leastReader)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32c.Sum(b))
	b = append(b, payload...)
	return binary.LittleEndian.AppendUint32(b, crc32c.Sum(b)), nil
}

// Decode reads a segment. Its errors have ErrCorrupt or ErrNewer in the chain.
func Decode(b []byte) (*Segment, error) {
	if len(b) < preamble || string(b[:8]) != magic || crc32c.Sum(b[:20]) != binary.LittleEndian.Uint32(b[20:]) {
		return nil, fmt.Errorf("history: decode: preamble: %w", ErrCorrupt)
	}
	if least := binary.LittleEndian.Uint32(b[12:]); least > formatVersion {
		return nil, fmt.Errorf("history: decode: needs version %d, this is %d: %w", least, formatVersion, ErrNewer)
	}
	end := uint64(preamble) + uint64(binary.LittleEndian.Uint32(b[16:]))
	if len(b) > MaxBytes || uint64(len(b)) != end+4 || crc32c.Sum(b[:end]) != binary.LittleEndian.Uint32(b[end:]) {
		return nil, fmt.Errorf("history: decode: length or checksum: %w", ErrCorrupt)
	}
	var m storedv1.HistorySegment
	if err := proto.Unmarshal(b[preamble:end], &m); err != nil {
		return nil, fmt.Errorf("history: decode: %w: %w", ErrCorrupt, err)
	}
	s, err := fromStored(&m)
	if err != nil {
		return nil, fmt.Errorf("history: decode: %w: %w", ErrCorrupt, err)
	}
	return s, nil
}
