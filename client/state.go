package client

import ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"

// File names a file of a job's state, or a segment of it. The engine passes it on as it came.
type File struct {
	// Key is the file's name, relative to the job's folder.
	Key string
	// Length is the number of bytes of the whole file.
	Length uint64
	// CRC32C is the sum of all bytes; BlockCRC32C has the sum of each block of 4 MiB, if the file is larger than one.
	CRC32C      uint32
	BlockCRC32C []uint32
	// Job is the job whose folder holds the file; empty: this one.
	Job string
	// Segment is the part of the file that is meant; nil: the whole file.
	Segment *Segment
	// Compression is the frame table of a compressed file.
	Compression *Compression
}

// Segment is a part of a file.
type Segment struct {
	// Offset is the first byte, Length the number of bytes.
	Offset, Length uint64
}

// Compression is the frame table of a compressed file. The SDK neither compresses nor decompresses.
type Compression struct {
	// Codec is 1 to 32 of a-z 0-9 -, for example "zstd".
	Codec string
	// Stored is how many bytes of the file each frame takes, in their order. The frames cover the file.
	Stored []uint32
	// Plain is how many bytes each frame holds when it is decompressed.
	Plain []uint32
}

// State says what a piece of state is.
type State struct {
	Kind StateKind
	// Name is the state's name, Serializer what writes and reads its elements, SchemaVersion the version of their
	// schema. Empty, 0: not told.
	Name, Serializer string
	SchemaVersion    uint32
	// Offsets says where the elements begin; nil: not told.
	Offsets *Offsets
	// Channel is for channel state; nil otherwise.
	Channel *Channel
}

// Offsets says where the elements of list state begin within the piece.
type Offsets struct {
	Mode DistributionMode
	// Positions ascend. An element ends where the next one begins.
	Positions []uint64
}

// Channel names a channel of channel state: the first two fields an input channel, the last two a result subpartition.
type Channel struct {
	Gate, Channel           uint32
	Partition, Subpartition uint32
}

// StateKind says what a piece of state is, in Flink's words. The zero value is ManagedKeyed for a piece with key groups,
// else Opaque.
type StateKind int32

// The kinds of state.
const (
	Opaque             StateKind = StateKind(ckptdv1.StateKind_STATE_KIND_OPAQUE)
	ManagedKeyed       StateKind = StateKind(ckptdv1.StateKind_STATE_KIND_MANAGED_KEYED)
	RawKeyed           StateKind = StateKind(ckptdv1.StateKind_STATE_KIND_RAW_KEYED)
	List               StateKind = StateKind(ckptdv1.StateKind_STATE_KIND_LIST)
	Union              StateKind = StateKind(ckptdv1.StateKind_STATE_KIND_UNION)
	Broadcast          StateKind = StateKind(ckptdv1.StateKind_STATE_KIND_BROADCAST)
	InputChannel       StateKind = StateKind(ckptdv1.StateKind_STATE_KIND_INPUT_CHANNEL)
	ResultSubpartition StateKind = StateKind(ckptdv1.StateKind_STATE_KIND_RESULT_SUBPARTITION)
	SourceReader       StateKind = StateKind(ckptdv1.StateKind_STATE_KIND_SOURCE_READER)
	SinkTransactions   StateKind = StateKind(ckptdv1.StateKind_STATE_KIND_SINK_TRANSACTIONS)
)

// String is Flink's name of the kind.
func (k StateKind) String() string { return flinks(ckptdv1.StateKind(k).String(), "STATE_KIND_") }

// DistributionMode says how list state is distributed to the subtasks of another parallelism.
type DistributionMode int32

// The modes of distribution.
const (
	ModeSplit     DistributionMode = DistributionMode(ckptdv1.DistributionMode_DISTRIBUTION_MODE_SPLIT)
	ModeUnion     DistributionMode = DistributionMode(ckptdv1.DistributionMode_DISTRIBUTION_MODE_UNION)
	ModeBroadcast DistributionMode = DistributionMode(ckptdv1.DistributionMode_DISTRIBUTION_MODE_BROADCAST)
)

// String is Flink's name of the mode.
func (m DistributionMode) String() string {
	return flinks(ckptdv1.DistributionMode(m).String(), "DISTRIBUTION_MODE_")
}
