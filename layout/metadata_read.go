package layout

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storedv1 "github.com/ckptd/ckptd/proto/ckptd/stored/v1"
)

// MetadataReader reads one _metadata as a stream. Its memory is bounded: the current record, and 8 bytes for each file.
// The caller must not act on any record for good before Next has returned io.EOF: only then the file is known to be
// whole. A MetadataReader is not safe for concurrent use.
type MetadataReader struct {
	in      *bufio.Reader
	check   *metadataCheck
	version uint32
	err     error
	// chain is the CRC32C of all lengths and payloads so far.
	chain   uint32
	offset  int64
	payload []byte
}

// NewMetadataReader reads the header. Its errors are those of Next.
func NewMetadataReader(r io.Reader) (*MetadataReader, error) {
	m := &MetadataReader{in: bufio.NewReaderSize(r, 64<<10)}
	if err := m.readPreamble(); err != nil {
		return nil, m.fail(err)
	}
	field, body, err := m.readRecord()
	if err != nil {
		return nil, m.fail(err)
	}
	if field != fieldHeader {
		return nil, m.fail(corrupt("no header"))
	}
	if err := m.readHeader(body); err != nil {
		return nil, m.fail(err)
	}
	return m, nil
}

func (m *MetadataReader) readHeader(body []byte) error {
	h := &storedv1.MetadataHeader{}
	if err := decode(body, h); err != nil {
		return err
	}
	if h.GetKind() > storedv1.MetadataKind_METADATA_KIND_SAVEPOINT {
		return fmt.Errorf("checkpoint of kind %d: %w", h.GetKind(), ErrUnknownKind)
	}
	triggered, err := timeOf(h.GetTriggeredAt())
	if err != nil {
		return err
	}
	completed, err := timeOf(h.GetCompletedAt())
	if err != nil {
		return err
	}
	m.check, err = newMetadataCheck(Header{
		JobID: h.GetJobId(), Checkpoint: h.GetCheckpointId(), Epoch: h.GetEpoch(), Attempt: h.GetAttempt(), Nonce: h.GetNonce(),
		Kind: Kind(h.GetKind()), TriggeredAt: triggered, CompletedAt: completed,
	})
	if err != nil {
		return corrupt("header: %v", err)
	}
	return nil
}

// Header says which checkpoint the _metadata describes.
func (m *MetadataReader) Header() Header { return m.check.header }

// Version is the format version of the file.
func (m *MetadataReader) Version() uint32 { return m.version }

// Totals counts the records and bytes read so far. After io.EOF they are those of the whole file.
func (m *MetadataReader) Totals() Totals { return m.check.totals }

// Next returns the next record; the caller may keep it. It returns io.EOF only after an end record with the right
// counts, at the end of the file. Other errors have ErrCorrupt, ErrNewerFormat or ErrUnknownKind in their chain, or
// come from the source. An error is final.
func (m *MetadataReader) Next() (Record, error) {
	if m.err != nil {
		return nil, m.err
	}
	rec, err := m.next()
	if err == io.EOF {
		m.err = io.EOF
		return nil, io.EOF
	}
	if err != nil {
		return nil, m.fail(err)
	}
	return rec, nil
}

func (m *MetadataReader) next() (Record, error) {
	field, body, err := m.readRecord()
	if err != nil {
		return nil, err
	}
	var rec Record
	var wrong error
	switch field {
	case fieldJob:
		msg := &storedv1.MetadataJob{}
		if err := decode(body, msg); err != nil {
			return nil, err
		}
		j := &Job{Labels: msg.GetLabels()}
		rec, wrong = j, m.check.checkJob(j)
	case fieldOperator:
		msg := &storedv1.MetadataOperator{}
		if err := decode(body, msg); err != nil {
			return nil, err
		}
		op := &Operator{
			ID: msg.GetId(), UID: msg.GetUid(), Triggered: msg.GetTriggered(),
			Parallelism: int(msg.GetParallelism()), MaxParallelism: int(msg.GetMaxParallelism()),
		}
		rec, wrong = op, m.check.checkOperator(op)
	case fieldFile:
		f, err := m.decodeFile(body)
		if err != nil {
			return nil, err
		}
		rec, wrong = f, m.check.checkFile(f)
	case fieldSubtask:
		s, err := m.decodeSubtask(body)
		if err != nil {
			return nil, err
		}
		rec, wrong = s, m.check.checkSubtask(s)
	case fieldEnd:
		return nil, m.readEnd(body)
	case fieldHeader:
		wrong = errors.New("second header")
	default:
		return nil, fmt.Errorf("record of kind %d: %w", field, ErrUnknownKind)
	}
	if wrong != nil {
		return nil, corrupt("%v", wrong)
	}
	return rec, nil
}

// readEnd compares the counts and looks for the end of the file; io.EOF is success.
func (m *MetadataReader) readEnd(body []byte) error {
	end := &storedv1.MetadataEnd{}
	if err := decode(body, end); err != nil {
		return err
	}
	if err := m.check.checkEnd(); err != nil {
		return corrupt("end: %v", err)
	}
	if want := endMessage(m.check.totals); !proto.Equal(want, end) {
		return corrupt("the end record counts {%v}, there are {%v}", end, want)
	}
	switch _, err := m.in.ReadByte(); {
	case err == nil:
		return corrupt("bytes after the end record")
	default:
		return err // io.EOF, or the source's trouble
	}
}

func decode(body []byte, msg proto.Message) error {
	// Fields that a later edition of the same version has added are skipped. They must not change the meaning of known
	// fields.
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, msg); err != nil {
		return corrupt("%v", err)
	}
	return nil
}

func (m *MetadataReader) readPreamble() error {
	b, err := m.readFull(nil, preambleLen)
	switch n := len(metadataMagic); {
	case len(b) >= len(flinkMagic) && string(b[:len(flinkMagic)]) == flinkMagic:
		return fmt.Errorf("this is a _metadata of Apache Flink, not of ckptd: %w", ErrUnknownKind)
	case len(b) == preambleLen && strings.HasPrefix(tombstone, string(b)):
		return ErrTombstone
	case !strings.HasPrefix(metadataMagic, string(b[:min(n, len(b))])):
		return corrupt("not a _metadata: does not begin with %q", metadataMagic)
	case err != nil:
		return err
	case binary.LittleEndian.Uint32(b[n+4:]) != crc32.Checksum(b[:n+4], castagnoli):
		return corrupt("checksum of the first bytes")
	default:
		m.version = binary.LittleEndian.Uint32(b[n:])
	}
	switch {
	case m.version > MetadataVersion:
		return fmt.Errorf("version %d, this ckptd reads up to %d: %w", m.version, MetadataVersion, ErrNewerFormat)
	case m.version == 0:
		return corrupt("version 0")
	}
	return nil
}

// readRecord returns a record's kind and message. The bytes are valid until the next call.
func (m *MetadataReader) readRecord() (protowire.Number, []byte, error) {
	var err error
	if m.payload, err = m.readFull(m.payload[:0], 4); err != nil {
		return 0, nil, err
	}
	length := binary.LittleEndian.Uint32(m.payload)
	if length > maxRecord {
		return 0, nil, corrupt("record of %d bytes", length)
	}
	if m.payload, err = m.readFull(m.payload, int(length)+4); err != nil {
		return 0, nil, err
	}
	covered, sum := m.payload[:4+length], m.payload[4+length:]
	m.chain = crc32.Update(m.chain, castagnoli, covered)
	if binary.LittleEndian.Uint32(sum) != m.chain {
		return 0, nil, corrupt("checksum")
	}
	field, kind, n := protowire.ConsumeTag(covered[4:])
	if n < 0 || kind != protowire.BytesType {
		return 0, nil, corrupt("record without a kind")
	}
	body, rest := protowire.ConsumeBytes(covered[4+n:])
	if rest < 0 || 4+n+rest != len(covered) {
		return 0, nil, corrupt("record of kind %d is not one message", field)
	}
	if len(body) > maxBody(field) {
		return 0, nil, corrupt("record of kind %d with %d bytes", field, len(body))
	}
	return field, body, nil
}

func maxBody(field protowire.Number) int {
	switch field {
	case fieldJob:
		return maxJob
	case fieldSubtask:
		return maxSubtask
	case fieldHeader, fieldOperator, fieldEnd:
		return maxSmall
	default:
		return maxRecord
	}
}

// readFull appends n bytes to b, which grows only as bytes come. If the source ends early, the _metadata is corrupt.
// Other errors of the source are returned as they are.
func (m *MetadataReader) readFull(b []byte, n int) ([]byte, error) {
	const step = 64 << 10
	for want := len(b) + n; len(b) < want; {
		have := len(b)
		b = append(b, make([]byte, min(step, want-have))...)
		got, err := m.in.Read(b[have:])
		b = b[:have+got]
		m.offset += int64(got)
		if err == io.EOF && len(b) < want {
			return b, corrupt("cut short")
		}
		if err != nil && err != io.EOF {
			return b, err
		}
	}
	return b, nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrCorrupt, fmt.Errorf(format, args...))
}

func (m *MetadataReader) fail(err error) error {
	m.err = fmt.Errorf("layout: read _metadata: near byte %d: %w", m.offset, err)
	return m.err
}

func timeOf(t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, corrupt("%v", err)
	}
	return t.AsTime(), nil
}
