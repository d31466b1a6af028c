package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// About is what the job is called.
type About struct {
	Job string
	// Labels in ascending order of keys.
	Labels []Label
}

// Label is one key and value.
type Label struct{ Key, Value string }

// Config is the API's configuration of a job, as bytes. Only package service/config knows what they say. It changes
// only with an entry that raises the attempt. Immutable.
type Config struct {
	Bytes []byte
	// Hash is the first 8 bytes of the SHA-256 of Bytes.
	Hash uint64
}

// NewConfig makes a configuration of an encoded message; it keeps the slice.
func NewConfig(message []byte) *Config {
	sum := sha256.Sum256(message)
	return &Config{Bytes: message, Hash: binary.BigEndian.Uint64(sum[:])}
}

// Checkpoint points to a checkpoint's _metadata.
type Checkpoint struct {
	ID    uint64
	Type  CheckpointType
	State CheckpointState
	// Nonce is the nonce in the _metadata. It shows that the _metadata is the one that was committed; the id alone does
	// not.
	Nonce Nonce
	// Size in bytes and CRC32C of the _metadata.
	Size uint64
	CRC  uint32
	// Imported is true if the checkpoint was made from a checkpoint of another job or root, or from a savepoint.
	Imported bool
	// Keep is true if a person wants the checkpoint kept. No policy drops it.
	Keep bool
	// Tags are given by people, in ascending order.
	Tags []string
	// TrashedAt is the time when the checkpoint went into the trash, by the store's clock (milliseconds since 1970); 0:
	// the checkpoint is not in the trash.
	TrashedAt uint64
	// TrashUntil is when the checkpoint leaves the trash, and its files may be deleted, by the same clock; 0: only to make
	// room, or because a person says so.
	TrashUntil uint64
	// For people: the time of the last acknowledgement (milliseconds since 1970), the time from the trigger to it
	// (milliseconds; the commit comes after both), bytes of all state, and bytes that this checkpoint has added.
	CompletedAt, DurationMillis, StateBytes, NewBytes uint64
}

// CheckpointType tells checkpoints and savepoints apart.
type CheckpointType uint8

// The types of checkpoint.
const (
	TypeCheckpoint CheckpointType = iota
	TypeSavepoint
)

// CheckpointState says how a retained checkpoint stands.
type CheckpointState uint8

// The states of a retained checkpoint.
const (
	// StateKept: the checkpoint can be restored.
	StateKept CheckpointState = iota
	// StateTrashed: a person has discarded the checkpoint and can still bring it back.
	StateTrashed
	// StateHidden: the checkpoint was dropped while lent. Its files stay until the last pin is returned.
	StateHidden
)

// Mode says to whom the files of a lent checkpoint belong, in Flink's words.
type Mode uint8

// The modes.
const (
	// NoClaim: the files stay the lender's.
	NoClaim Mode = iota
	// Claim: the files become the borrower's. The borrower says when the lender may delete them.
	Claim
)

// Lent is a pin of another job on a checkpoint of this one.
type Lent struct {
	Pin        Nonce
	Checkpoint uint64
	Holder     string
	// HolderEpoch is the epoch of the holder when it took the pin.
	HolderEpoch uint64
	Mode        Mode
	// Expires is when the pin stops counting, by the store's clock (milliseconds since 1970); 0: never.
	Expires uint64
}

// Leaked tells whether nobody returns the pin any more: a newer owner of the holder does not list it. While the holder
// wants its import, no pin has leaked, because its next owner lends once more, which the pin makes possible.
func (l *Lent) Leaked(holder *Entry) bool {
	return !holder.Importing() && holder.Epoch > l.HolderEpoch && !holder.HasBorrowed(l.Pin)
}

// OfTool tells whether a tool took the pin, and not a job. Only time or the tool itself takes such a pin away.
func (l *Lent) OfTool() bool { return l.Expires != 0 }

// Borrowed is a pin of this job on a checkpoint of another one.
type Borrowed struct {
	Pin        Nonce
	Job        string
	Checkpoint uint64
	Mode       Mode
}

// Import describes the checkpoint of another job or root, or the savepoint, from which a job begins.
type Import struct {
	State ImportState
	// Request is the text that a person wrote, Source the URL of the checkpoint or savepoint meant by it.
	Request, Source string
	// Nonce is the nonce in the source's _metadata.
	Nonce Nonce
	Mode  Mode
	// Job of the same root whose checkpoint the source is, and the checkpoint's id.
	Job        string
	Checkpoint uint64
}

// ImportState is the progress of an import.
type ImportState uint8

// The states of an import.
const (
	// ImportNone: the job began empty.
	ImportNone ImportState = iota
	// ImportWanted: no attempt begins until the import is done.
	ImportWanted
	ImportDone
	// ImportOutlived: the import is done, and the job has completed a checkpoint of its own since. Only a job that claims
	// its source gets so far: from now on it may let the lender dispose of the source.
	ImportOutlived
)

// Origin names the job that a copy was made of.
type Origin struct {
	RootID, Job string
	// Unfinished is true from the begin of a copy to its end. No checkpoint names yet what a copier has brought so far, so
	// nothing of the job is swept: the next run of the copy uses it.
	Unfinished bool
}

// Savepoint is a savepoint that was begun.
type Savepoint struct {
	ID uint64
	// Path is the URL of its folder.
	Path    string
	Outcome SavepointOutcome
	Stop    Stop
	// Nonce, Size and CRC are those of the savepoint's _metadata. Size and CRC are set when the savepoint is done.
	Nonce Nonce
	Size  uint64
	CRC   uint32
	// Request is the request that asked for the savepoint; zero: none.
	Request Request
	// EndedAt is the time when the savepoint was done or cleaned, by the store's clock (milliseconds since 1970).
	EndedAt uint64
	// Periodic is true if the owner took the savepoint by itself, by the job's configuration. Only such a savepoint is ever
	// disposed of by an owner.
	Periodic bool
}

// Disposable tells whether an owner may dispose of the savepoint by itself.
func (s *Savepoint) Disposable() bool { return s.Periodic && s.Outcome == SavepointDone }

// SavepointOutcome says how a savepoint ended.
type SavepointOutcome uint8

// The outcomes of a savepoint.
const (
	SavepointStarted SavepointOutcome = iota
	SavepointDone
	// SavepointCleaned: the savepoint failed, and a tombstone lies in place of its _metadata.
	SavepointCleaned
)

// Stop says whether a savepoint stops its job.
type Stop uint8

// The kinds of stop.
const (
	// StopNone: the job runs on.
	StopNone Stop = iota
	// StopSuspend: the job stops, and can go on from the savepoint.
	StopSuspend
	// StopDrain is Flink's --drain: the job emits everything that it holds, and is finished for good.
	StopDrain
)

// Ended says when and why a job ended, for people.
type Ended struct {
	// At is the time of the owner's clock, in milliseconds since 1970.
	At  uint64
	Why string
}

// EndedAt makes an Ended whose text fits into an entry: a longer text is cut, because an end must never be refused.
func EndedAt(millis uint64, why string) Ended {
	why = strings.ToValidUTF8(why, "\uFFFD")
	const more = " …"
	if len(why) > MaxReason {
		n := MaxReason - len(more)
		for !utf8.RuneStart(why[n]) {
			n--
		}
		why = why[:n] + more
	}
	return Ended{At: millis, Why: why}
}
