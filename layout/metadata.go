package layout

import (
	"errors"
	"strings"
	"time"

	"github.com/ckptd/ckptd/layout/keygroup"
)

// MetadataVersion is the format version of the _metadata that this code writes. It reads every version up to it.
const MetadataVersion = 1

// BlockSize is the number of bytes that one block sum of a file covers.
const BlockSize = 4 << 20

// MaxInline is the largest piece of state, in bytes, that a _metadata can hold itself.
const MaxInline = 1 << 20

// More limits of a _metadata.
const (
	// MaxOffsets is the largest number of offsets of one handle.
	MaxOffsets = 1 << 16
	// MaxFrames is the largest number of frames of a compressed file.
	MaxFrames = 1 << 16
	// MaxFiles is the largest number of files in one _metadata.
	MaxFiles = 1 << 22
)

// The errors of a _metadata that cannot be read. Any other error of a reader comes from the source of the bytes, and
// says nothing about the _metadata.
var (
	// ErrCorrupt: the bytes are damaged, or are no _metadata at all.
	ErrCorrupt = errors.New("corrupt")
	// ErrNewerFormat: a newer version of ckptd wrote it.
	ErrNewerFormat = errors.New("written in a newer format")
	// ErrTombstone: it is the tombstone of a savepoint that came to nothing. No checkpoint can be read there, so it is an ErrCorrupt, too.
	ErrTombstone error = tombstoneError{}
	// ErrUnknownKind: the _metadata is whole, but holds a kind of record or state handle that this version does not
	// know.
	ErrUnknownKind = errors.New("unknown kind of record or handle")
)

// Kind says who asked for a checkpoint.
type Kind int

// The kinds.
const (
	KindCheckpoint Kind = iota + 1
	KindSavepoint
)

// Header says which checkpoint a _metadata describes.
type Header struct {
	JobID      string
	Checkpoint uint64
	// Epoch is that of the owner that completed the checkpoint, Attempt is the one that took the checkpoint.
	Epoch, Attempt uint64
	// Nonce of this file. The journal entry that retains the checkpoint names it. 1 to 128 of A-Z a-z 0-9 . _ -
	Nonce string
	// Kind; zero means KindCheckpoint.
	Kind Kind
	// TriggeredAt and CompletedAt (the last acknowledgement) are for people, never for decisions.
	TriggeredAt, CompletedAt time.Time
}

// Record is what a reader yields: *Job, *Operator, *File or *Subtask.
type Record interface{ record() }

// Job describes the job for people.
type Job struct {
	Labels map[string]string
}

// Operator is one operator of the plan. The records of its subtasks follow.
type Operator struct {
	ID, UID string
	// 1 <= Parallelism <= MaxParallelism <= keygroup.MaxParallelism.
	Parallelism, MaxParallelism int
	// Triggered is true for sources.
	Triggered bool
}

// File is one entry of the table of files.
type File struct {
	// Key relative to the folder of Job: "shared/<file name>" or "chk-N/<file name>". For a file of this job, chk-N
	// must be this checkpoint. In a savepoint also "<name>": a file beside the _metadata.
	Key string
	// Job whose folder holds the file, if it is lent to this job; empty: this job.
	Job string
	// Length in bytes.
	Length uint64
	// CRC32C of all bytes.
	CRC32C uint32
	// Blocks has the CRC32C of each block of BlockSize bytes; the last block may be shorter. Only files longer than
	// BlockSize have block sums.
	Blocks []uint32
	// InstanceNonce of the backend instance that made the file, and LocalName, the instance's name for the file.
	InstanceNonce, LocalName string
	// SHA256 of all bytes, or nil.
	SHA256 []byte
	// Compression of a compressed file; nil otherwise. Length and sums are those of the compressed bytes.
	Compression *Compression
}

// Compression is the frame table of a compressed file. A frame can be decompressed by itself.
type Compression struct {
	// Codec is 1 to 32 of a-z 0-9 -, for example "zstd".
	Codec string
	// Stored is the size in bytes of each frame in the file, in order; Plain is its size when decompressed. The frames
	// cover the file. At most MaxFrames.
	Stored, Plain []uint32
}

// Own tells whether the file lies in the folder of the job itself. The job's owner deletes only own files.
func (f *File) Own() bool { return f.Job == "" && !f.Beside() }

// Beside tells whether the file lies in the folder of the _metadata itself, as in savepoints.
func (f *File) Beside() bool { return !strings.Contains(f.Key, "/") }

// FileRef is the number of a file in the table, counted from 1 in the order of the File records. 0 is no file.
type FileRef uint32

// Subtask is state of one subtask. If there is much state, several records of the same subtask follow each other.
type Subtask struct {
	// OperatorID is that of the Operator record before it.
	OperatorID string
	Index      int
	Handles    []Handle
	// Finished is true if the subtask had finished when the checkpoint was taken. It has no handles.
	Finished bool
}

// Handle is one piece of state.
type Handle struct {
	// File that holds it; 0: Inline holds it.
	File FileRef
	// Segment of the file; nil: the whole file.
	Segment *Segment
	// Inline state, at most MaxInline bytes; may be empty.
	Inline []byte
	// Name is the engine's name for this piece, InstanceNonce that of its backend. Empty: the file's LocalName and
	// InstanceNonce. They differ if another backend instance made the file, and this one has restored it.
	Name, InstanceNonce string
	// KeyGroups of keyed state; nil otherwise.
	KeyGroups *keygroup.Range
	// State says what the piece is.
	State State
}

// Segment is a part of a file: Length bytes from Offset.
type Segment struct{ Offset, Length uint64 }

// State says what a piece of state is.
type State struct {
	Kind StateKind
	// Name of the state, Serializer that writes and reads its elements, SchemaVersion of the elements. Empty or 0: the
	// engine has not said.
	Name, Serializer string
	SchemaVersion    uint32
	// Offsets of the elements of list state; nil: the engine has not said, or the state is no list.
	Offsets *Offsets
	// Channel of channel state; nil otherwise.
	Channel *Channel
}

// StateKind says what a piece of state is, in Flink's words.
type StateKind int

// The kinds of state. Operator state is list, union or broadcast state.
const (
	StateOpaque StateKind = iota // only the operator knows
	StateManagedKeyed
	StateRawKeyed
	StateList
	StateUnion
	StateBroadcast
	StateInputChannel
	StateResultSubpartition
	StateSourceReader
	StateSinkTransactions
)

// Mode says how list state is distributed to the subtasks of another parallelism.
type Mode int

// The modes. ModeNone is the mode of channel state, which is not distributed in this way.
const (
	ModeNone Mode = iota
	ModeSplit
	ModeUnion
	ModeBroadcast
)

// Offsets says where the elements of list state begin within the piece.
type Offsets struct {
	Mode Mode
	// Positions ascend; an element ends where the next one begins. At most MaxOffsets.
	Positions []uint64
}

// Channel names a channel: Gate and Channel an input channel, Partition and Subpartition a result subpartition.
type Channel struct{ Gate, Channel, Partition, Subpartition uint32 }

// Totals counts what a _metadata holds; its end record repeats them.
type Totals struct {
	Operators, Subtasks, Files uint64
	// Handles, inline ones included.
	Handles uint64
	// FileBytes of all files, each counted once; NewFileBytes of those that were written for this checkpoint.
	FileBytes, NewFileBytes uint64
	InlineBytes             uint64
}

// StateBytes is the size of all state that the checkpoint names.
func (t Totals) StateBytes() uint64 { return t.FileBytes + t.InlineBytes }

// NewBytes is the size of the state written for this checkpoint.
func (t Totals) NewBytes() uint64 { return t.NewFileBytes + t.InlineBytes }

// ReusedBytes is the size of the files that earlier checkpoints brought.
func (t Totals) ReusedBytes() uint64 { return t.FileBytes - t.NewFileBytes }

func (*Job) record()      {}
func (*Operator) record() {}
func (*File) record()     {}
func (*Subtask) record()  {}

// The frame of the file: see proto/ckptd/stored/v1/metadata.proto.
const (
	metadataMagic = "ckptdMD\n"
	preambleLen   = len(metadataMagic) + 4 + 4
	// flinkMagic begins the _metadata of Apache Flink.
	flinkMagic = "\x49\x60\x67\x2d"
)

// Limits, in bytes unless a comment says otherwise. They bound the memory that a hostile file can make a reader use: a
// decoded record takes at most a few times its payload, a handle about 200 bytes, and the table of files 8 bytes a
// file.
const (
	maxRecord    = 4 << 20
	maxSubtask   = 2 << 20
	maxJob       = 64 << 10
	maxSmall     = 16 << 10
	maxHandles   = 4096   // in one record
	maxOperators = 10_000 // in one file
	maxText      = 4 << 10
	maxCodec     = 32
	maxBeside    = 255 // the name of a file beside the _metadata
	// splitSubtaskAt is the largest size at which a subtask's record has room for one more handle of the largest size.
	splitSubtaskAt = maxSubtask - (MaxInline + 10*MaxOffsets + 5*maxText)
	sha256Len      = 32
)

// Field numbers of MetadataRecord, and of the fields that a reader counts in a subtask or a file before it decodes
// them.
const (
	fieldHeader     = 1
	fieldJob        = 2
	fieldOperator   = 3
	fieldFile       = 4
	fieldSubtask    = 5
	fieldEnd        = 6
	fieldSubHandles = 2
	fieldOffsets    = 11
	fieldPositions  = 2

	fieldBlocks      = 5
	fieldCompression = 9
	fieldStored      = 2
	fieldPlain       = 3
)
