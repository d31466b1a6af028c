package layout

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	storedv1 "github.com/ckptd/ckptd/proto/ckptd/stored/v1"
)

// MetadataWriter writes one _metadata as a stream. The caller calls WriteJob; then for each operator of the plan
// WriteOperator, and WriteSubtask for every index from 0; then Close. WriteFile comes before the first handle that
// refers to the file. The writer refuses records that are invalid or out of order. After an error every later call,
// Close included, returns that error; after Close every call returns an error. A MetadataWriter is not safe for concurrent use.
type MetadataWriter struct {
	out   *bufio.Writer
	check *metadataCheck
	err   error
	below *summing
	// chain is the CRC32C of all lengths and payloads so far.
	chain uint32
	size  int64
	// Reused: body holds a record's message, frame the whole record.
	body, frame []byte
	// Reused: part holds a message within a message.
	part []byte
}

// NewMetadataWriter begins a _metadata. The first call after it returns any error about the header.
func NewMetadataWriter(w io.Writer, h Header) *MetadataWriter {
	if h.Kind == 0 {
		h.Kind = KindCheckpoint
	}
	below := &summing{Writer: w}
	m := &MetadataWriter{out: buffers.Get().(*bufio.Writer), below: below}
	m.out.Reset(below)
	check, err := newMetadataCheck(h)
	if err != nil {
		m.fail("header", err)
		return m
	}
	m.check = check
	preamble := append([]byte(nil), metadataMagic...)
	preamble = binary.LittleEndian.AppendUint32(preamble, MetadataVersion)
	preamble = binary.LittleEndian.AppendUint32(preamble, crc32.Checksum(preamble, castagnoli))
	m.write(preamble)
	m.message("header", fieldHeader, maxSmall, &storedv1.MetadataHeader{
		JobId:        h.JobID,
		CheckpointId: h.Checkpoint,
		Epoch:        h.Epoch,
		Attempt:      h.Attempt,
		Nonce:        h.Nonce,
		Kind:         storedv1.MetadataKind(h.Kind),
		TriggeredAt:  timestampOf(h.TriggeredAt),
		CompletedAt:  timestampOf(h.CompletedAt),
	})
	return m
}

// WriteJob writes the job record. It must be the first record, and the only one of its kind.
func (m *MetadataWriter) WriteJob(j Job) error {
	if m.err == nil && m.allow("job", m.check.checkJob(&j)) {
		m.message("job", fieldJob, maxJob, &storedv1.MetadataJob{Labels: j.Labels})
	}
	return m.err
}

// WriteOperator begins an operator. The one before it must have all its subtasks.
func (m *MetadataWriter) WriteOperator(op Operator) error {
	if m.err == nil && m.allow("operator", m.check.checkOperator(&op)) {
		m.message("operator", fieldOperator, maxSmall, &storedv1.MetadataOperator{
			Id:             op.ID,
			Uid:            op.UID,
			Parallelism:    uint32(op.Parallelism),
			MaxParallelism: uint32(op.MaxParallelism),
			Triggered:      op.Triggered,
		})
	}
	return m.err
}

// WriteFile adds a file to the table and returns its number. The caller calls it once per file.
func (m *MetadataWriter) WriteFile(f File) (FileRef, error) {
	if m.err == nil && m.allow("file", m.check.checkFile(&f)) {
		m.body = appendFile(m.body[:0], &f)
		m.record("file", fieldFile, maxRecord)
	}
	if m.err != nil {
		return 0, m.err
	}
	return FileRef(m.check.totals.Files), nil
}

// WriteSubtask writes a subtask's state, in one or more records. The caller may call it several times in a row for one
// subtask, and must call it for a subtask without state, too.
func (m *MetadataWriter) WriteSubtask(s Subtask) error {
	if m.err != nil || !m.allow("subtask", m.check.checkSubtask(&s)) {
		return m.err
	}
	m.body = appendUint(m.body[:0], 1, uint64(s.Index))
	handles, offsets := 0, 0 // in this record
	for i := range s.Handles {
		h := &s.Handles[i]
		more := 0
		if o := h.State.Offsets; o != nil {
			more = len(o.Positions)
		}
		if handles == maxHandles || offsets+more > MaxOffsets || len(m.body) > splitSubtaskAt {
			m.record("subtask", fieldSubtask, maxSubtask)
			m.body = appendUint(m.body[:0], 1, uint64(s.Index))
			handles, offsets = 0, 0
		}
		m.body = m.appendHandle(m.body, h)
		handles, offsets = handles+1, offsets+more
	}
	if s.Finished {
		m.body = appendUint(m.body, 3, 1)
	}
	m.record("subtask", fieldSubtask, maxSubtask)
	return m.err
}

// Close writes the end record. If it returns nil, the file is complete, and Size, Sum and Totals are final. The caller
// still has to commit the writer that it gave to NewMetadataWriter.
func (m *MetadataWriter) Close() error {
	if m.err != nil || !m.allow("end", m.check.checkEnd()) {
		return m.err
	}
	m.message("end", fieldEnd, maxSmall, endMessage(m.check.totals))
	if m.err == nil && m.allow("end", m.out.Flush()) {
		m.err = errWriterClosed
		m.out.Reset(nil)
		buffers.Put(m.out)
		return nil
	}
	return m.err
}

// errWriterClosed is the error of every call after Close.
var errWriterClosed = errors.New("layout: the writer of a _metadata was closed before")

// buffers are those of closed writers. Most _metadata are far smaller than a buffer, so that a daemon with many jobs would
// mostly allocate buffers.
var buffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 64<<10) }}

// Totals counts the records and bytes written so far.
func (m *MetadataWriter) Totals() Totals {
	if m.check == nil {
		return Totals{}
	}
	return m.check.totals
}

// summing computes size and CRC32C of the bytes that pass through it, in pieces as large as the buffer above it.
type summing struct {
	io.Writer
	sum uint32
}

// Write implements io.Writer.
func (s *summing) Write(p []byte) (int, error) {
	s.sum = crc32.Update(s.sum, castagnoli, p)
	return s.Writer.Write(p)
}

// Size is the number of bytes written so far.
func (m *MetadataWriter) Size() int64 { return m.size }

// Sum is the CRC32C of the object, after Close.
func (m *MetadataWriter) Sum() uint32 { return m.below.sum }

// allow keeps err as the writer's error, and says whether there was none.
func (m *MetadataWriter) allow(what string, err error) bool {
	if err != nil {
		m.fail(what, err)
	}
	return err == nil
}

func (m *MetadataWriter) fail(what string, err error) {
	m.err = fmt.Errorf("layout: write _metadata: %s: %w", what, err)
}

func (m *MetadataWriter) message(what string, field protowire.Number, limit int, msg proto.Message) {
	body, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(m.body[:0], msg)
	if m.body = body; m.allow(what, err) {
		m.record(what, field, limit)
	}
}

// record frames m.body.
func (m *MetadataWriter) record(what string, field protowire.Number, limit int) {
	if m.err != nil {
		return
	}
	b := append(m.frame[:0], 0, 0, 0, 0)
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendBytes(b, m.body)
	if n := len(b) - 4; n > limit {
		m.fail(what, fmt.Errorf("takes %d bytes, at most %d", n, limit))
		return
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-4))
	m.chain = crc32.Update(m.chain, castagnoli, b)
	m.frame = binary.LittleEndian.AppendUint32(b, m.chain)
	m.write(m.frame)
}

func (m *MetadataWriter) write(b []byte) {
	n, err := m.out.Write(b)
	if err == nil && n < len(b) {
		err = errors.New("short write")
	}
	m.size += int64(len(b))
	if err != nil {
		m.fail("bytes", err)
	}
}

func timestampOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func endMessage(t Totals) *storedv1.MetadataEnd {
	return &storedv1.MetadataEnd{
		Operators: t.Operators, Subtasks: t.Subtasks, Files: t.Files, Handles: t.Handles,
		FileBytes: t.FileBytes, NewFileBytes: t.NewFileBytes, InlineBytes: t.InlineBytes,
	}
}
