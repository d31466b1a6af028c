// Package history owns the form of a job's history: what became of its last Limit checkpoints, for people. No decision about state
// reads it.
//
// The history lies in segments (Segment; proto/ckptd/stored/v1/history.proto has the bytes). A segment is written once, under a name of
// its own (layout.HistoryName), and holds the records of up to SegmentRecords checkpoints, and the job's counts up to then. The owner
// keeps what is not in a segment yet (Tail). Plan says which small segments are to be merged, and which ones are to be dropped. Merge
// puts what was read together. Several owners may have written at the same time; records of one checkpoint are merged by Better.
//
// All of it is pure: no store, no clock. It must not know when something is written. Package shell writes segments, package catalog
// reads them.
package history

// The bounds of a history.
const (
	// Limit is how many checkpoints a history shows.
	Limit = 10_000
	// LimitInMemory is Limit for a job whose state lies in the memory of its daemon: its history does, too.
	LimitInMemory = 1000
	// SegmentRecords and SegmentBytes say when a segment is full.
	SegmentRecords = 100
	SegmentBytes   = 128 << 10
	// MaxBytes bounds an encoded segment. A full one with its counts fits.
	MaxBytes = 256 << 10
	// MaxSegments bounds the segments of a job after a Plan was carried out.
	MaxSegments = 130
	// MergeAt is how many small segments are merged, and so after how many new segments an owner makes a Plan.
	MergeAt = 10
	// mergeAtMost bounds the segments that are merged at a time: their records are in memory.
	mergeAtMost = 3 * MergeAt
	// spare is how many records more than Limit are kept: a record can lie in two segments.
	spare = 2 * SegmentRecords
)

// The bounds of a record. Clip cuts what is longer.
const (
	MaxOperators = 128
	maxCause     = 512
	maxReason    = 64
	maxPath      = 1 << 10
)
