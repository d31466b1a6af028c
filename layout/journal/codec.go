package journal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/crc32c"
	storedv1 "github.com/ckptd/ckptd/proto/ckptd/stored/v1"
)

var (
	// ErrCorrupt is in the chain when a slot's bytes are not an entry.
	ErrCorrupt = errors.New("corrupt journal entry")
	// ErrNewer is in the chain when a slot needs a newer reader: its least reader says so, or a field that decides
	// something has an unknown value.
	ErrNewer = errors.New("journal entry of a newer format")
	// ErrTooLarge is in the chain when an entry, or a part of it, exceeds its limit.
	ErrTooLarge = errors.New("journal entry too large")
)

const (
	magic    = "ckptdJE\n"
	preamble = 28
)

func castagnoli(b []byte) uint32 { return crc32c.Sum(b) }

// Encode encodes an entry. Equal entries give equal bytes.
func Encode(e *Entry) ([]byte, error) {
	m := toProto(e)
	if n := len(e.Config.Bytes); n > MaxConfig {
		return nil, fmt.Errorf("journal: encode slot %d: %w", e.Slot, tooLong("configuration", n, MaxConfig, "use shorter values"))
	}
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("journal: encode slot %d: %w", e.Slot, err)
	}
	if n := preamble + len(payload) + 4; n > MaxBytes {
		return nil, fmt.Errorf("journal: encode slot %d: %w", e.Slot, tooLong("entry", n, MaxBytes, "retain fewer checkpoints, or use fewer labels"))
	}
	return frame(payload, e.LeastReader, e.LeastWriter), nil
}

// frame puts a payload between its preamble and its sum.
func frame(payload []byte, leastReader, leastWriter uint32) []byte {
	b := make([]byte, 0, preamble+len(payload)+4)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, FormatVersion)
	b = binary.LittleEndian.AppendUint32(b, leastReader)
	b = binary.LittleEndian.AppendUint32(b, leastWriter)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, castagnoli(b))
	b = append(b, payload...)
	return binary.LittleEndian.AppendUint32(b, castagnoli(b))
}

// Decode reads an entry. Its errors have ErrCorrupt or ErrNewer in the chain.
func Decode(b []byte) (*Entry, error) {
	if len(b) < preamble || string(b[:8]) != magic || castagnoli(b[:24]) != binary.LittleEndian.Uint32(b[24:]) {
		return nil, fmt.Errorf("journal: decode: preamble: %w", ErrCorrupt)
	}
	reader, writer := binary.LittleEndian.Uint32(b[12:]), binary.LittleEndian.Uint32(b[16:])
	if reader > FormatVersion {
		return nil, fmt.Errorf("journal: decode: needs version %d, this is %d: %w", reader, FormatVersion, ErrNewer)
	}
	end := uint64(preamble) + uint64(binary.LittleEndian.Uint32(b[20:]))
	if len(b) > MaxBytes || uint64(len(b)) != end+4 || castagnoli(b[:end]) != binary.LittleEndian.Uint32(b[end:]) {
		return nil, fmt.Errorf("journal: decode: length or checksum: %w", ErrCorrupt)
	}
	var m storedv1.JournalEntry
	if err := proto.Unmarshal(b[preamble:end], &m); err != nil {
		return nil, fmt.Errorf("journal: decode: %w: %w", ErrCorrupt, err)
	}
	e, err := fromProto(&m)
	if err != nil {
		return nil, fmt.Errorf("journal: decode slot %d: %w", m.Slot, err)
	}
	e.LeastReader, e.LeastWriter = reader, writer
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("journal: decode slot %d: %w: %w", m.Slot, ErrCorrupt, err)
	}
	e.seal()
	return e, nil
}

// check refuses an entry that no writer of this format could have written.
func (e *Entry) check() error {
	switch {
	case e.Slot == 0 || e.Epoch == 0:
		return errors.New("no slot or epoch")
	case e.Status == StatusNone || e.Kind == KindNone:
		return errors.New("no status or kind")
	case len(e.Ring) == 0 || e.Ring[len(e.Ring)-1] != e.Nonce || e.Nonce.IsZero():
		return errors.New("the ring does not end with the nonce")
	case len(e.Retained) > MaxRetained || len(e.Requests) > MaxRequests || len(e.Savepoints) > MaxSavepoints ||
		len(e.Lent) > MaxLent || len(e.Borrowed) > MaxBorrowed:
		return errors.New("too much of something")
	case NewConfig(e.Config.Bytes).Hash != e.Config.Hash:
		return errors.New("the configuration does not have its hash")
	}
	var last uint64
	for _, c := range e.Retained {
		if c.ID <= last || c.ID > e.Reserved {
			return fmt.Errorf("retained checkpoint %d out of order or above what is reserved", c.ID)
		}
		last = c.ID
	}
	return nil
}
