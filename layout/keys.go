package layout

import (
	"fmt"
	"strconv"
	"strings"
)

// RootMarkerKey is the key of the root marker, relative to the root.
const RootMarkerKey = "_ckptd"

// MetadataName is the last element of the key of a checkpoint's table of contents.
const MetadataName = "_metadata"

// ProbePrefix and TempPrefix are the folders of a root that do not count as content. A job has a folder of
// temporaries, too.
const (
	ProbePrefix = "_probe/"
	TempPrefix  = "_tmp/"
)

// AuditPrefix is the folder of a root in which people's deletes are recorded.
const AuditPrefix = "_audit/"

const (
	journalFolder    = "_journal/"
	sharedFolder     = "shared/"
	taskOwnedFolder  = "taskowned/"
	historyFolder    = "_history/"
	checkpointPrefix = "chk-"
	savepointPrefix  = "savepoint-"
	slotDigits       = 20
)

// JobPrefix returns the prefix of all keys of a job.
func JobPrefix(job string) string { return job + "/" }

// JournalPrefix returns the prefix of a job's journal entries.
func JournalPrefix(job string) string { return job + "/" + journalFolder }

// SharedPrefix returns the prefix of a job's shared files.
func SharedPrefix(job string) string { return job + "/" + sharedFolder }

// CheckpointPrefix returns the prefix of all keys of one checkpoint.
func CheckpointPrefix(job string, id uint64) string { return job + "/" + CheckpointDir(id) + "/" }

// SharedKey returns the key of a shared file.
func SharedKey(job, file string) string { return job + "/" + sharedFolder + file }

// ExclusiveKey returns the key of a file that belongs to checkpoint id alone.
func ExclusiveKey(job string, id uint64, file string) string {
	return CheckpointPrefix(job, id) + file
}

// MetadataKey returns the key of the table of contents of checkpoint id.
func MetadataKey(job string, id uint64) string { return ExclusiveKey(job, id, MetadataName) }

// CheckpointDir returns the name of a checkpoint's folder: "chk-7".
func CheckpointDir(id uint64) string { return checkpointPrefix + strconv.FormatUint(id, 10) }

// ParseCheckpointDir is the inverse of CheckpointDir.
func ParseCheckpointDir(s string) (uint64, error) {
	digits, ok := strings.CutPrefix(s, checkpointPrefix)
	id, number := parseNumber(digits)
	if !ok || !number {
		return 0, fmt.Errorf("layout: checkpoint %q: want chk-<number>: %w", clip(s), ErrName)
	}
	return id, nil
}

// SlotName returns the last element of a journal entry's key: 20 decimal digits, so that names sort like their
// numbers.
func SlotName(slot uint64) string { return fmt.Sprintf("%0*d", slotDigits, slot) }

// SlotKey returns the key of a journal entry.
func SlotKey(job string, slot uint64) string { return JournalPrefix(job) + SlotName(slot) }

// ParseSlot is the inverse of SlotName. Slots count from 1.
func ParseSlot(name string) (uint64, error) {
	slot, err := strconv.ParseUint(name, 10, 64)
	if err != nil || slot == 0 || SlotName(slot) != name {
		return 0, fmt.Errorf("layout: journal slot %q: want %d digits: %w", clip(name), slotDigits, ErrName)
	}
	return slot, nil
}

// ParseSlotKey is the inverse of SlotKey for a known job.
func ParseSlotKey(job, key string) (uint64, error) {
	name, ok := strings.CutPrefix(key, JournalPrefix(job))
	if !ok {
		return 0, fmt.Errorf("layout: journal key %q: not below %s: %w", clip(key), JournalPrefix(job), ErrName)
	}
	return ParseSlot(name)
}

// Place is the kind of a key inside a job's folder.
type Place int

// The places. A key of PlaceUnknown is never deleted.
const (
	PlaceUnknown Place = iota
	PlaceSlot
	PlaceMetadata
	PlaceExclusive
	PlaceShared
	PlaceTaskOwned
	PlaceTemp
	PlaceHistory
)

// JobKey is a parsed key, relative to a job's folder.
type JobKey struct {
	Place Place
	// Slot of a journal entry.
	Slot uint64
	// Checkpoint of a _metadata or an exclusive file.
	Checkpoint uint64
	// File name of an exclusive or a shared file.
	File FileName
	// History is the name of a segment of the history.
	History HistoryName
}

// String returns the key relative to the job's folder; it is the inverse of ParseJobKey. It is empty for places in
// which other packages choose the names.
func (k JobKey) String() string {
	switch k.Place {
	case PlaceSlot:
		return journalFolder + SlotName(k.Slot)
	case PlaceMetadata:
		return CheckpointDir(k.Checkpoint) + "/" + MetadataName
	case PlaceExclusive:
		return CheckpointDir(k.Checkpoint) + "/" + k.File.String()
	case PlaceShared:
		return sharedFolder + k.File.String()
	case PlaceHistory:
		return historyFolder + k.History.String()
	default:
		return ""
	}
}

// IsShared reports whether the key of a state file, relative to its job's folder, is the key of a shared file.
func IsShared(relative string) bool { return strings.HasPrefix(relative, sharedFolder) }

// ParseJobKey parses a key relative to a job's folder: "shared/<file>", "chk-3/<file>", "chk-3/_metadata",
// "_journal/<slot>".
//
// Keys in the folders of temporaries and of task-owned files are PlaceTemp and PlaceTaskOwned. A segment of the history is
// PlaceHistory. Any other key is PlaceUnknown.
func ParseJobKey(relative string) JobKey {
	folder, name, _ := strings.Cut(relative, "/")
	switch folder + "/" {
	case TempPrefix:
		return JobKey{Place: PlaceTemp}
	case taskOwnedFolder:
		return JobKey{Place: PlaceTaskOwned}
	case historyFolder:
		if segment, ok := parseHistoryName(name); ok {
			return JobKey{Place: PlaceHistory, History: segment}
		}
		return JobKey{}
	case journalFolder:
		if slot, err := ParseSlot(name); err == nil {
			return JobKey{Place: PlaceSlot, Slot: slot}
		}
		return JobKey{}
	case sharedFolder:
		if file, ok := parseFileName(name); ok {
			return JobKey{Place: PlaceShared, File: file}
		}
		return JobKey{}
	}
	id, err := ParseCheckpointDir(folder)
	if err != nil {
		return JobKey{}
	}
	if name == MetadataName {
		return JobKey{Place: PlaceMetadata, Checkpoint: id}
	}
	if file, ok := parseFileName(name); ok {
		return JobKey{Place: PlaceExclusive, Checkpoint: id, File: file}
	}
	return JobKey{}
}
