package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Flink's names of the storages that ckptd has. Checkpoints of fileSystem lie below a root, those of jobManager in the memory
// of the daemon.
const (
	fileSystem = "filesystem"
	jobManager = "jobmanager"
)

const (
	// defaultMaxState is Flink's largest state in memory.
	defaultMaxState = 5 << 20
	// mostState is the largest value of that limit. The daemon's bound for all jobs is smaller.
	mostState = 1 << 40
)

// InMemory tells whether checkpoints of a job that asks for this configuration lie in the daemon's memory. defaults are the
// daemon's.
func InMemory(asked, defaults *ckptdv1.JobConfig) bool {
	storage := or(asked.GetStorage(), defaults.GetStorage())
	return storage == ckptdv1.Storage_STORAGE_JOBMANAGER
}

// storageName is the value of Flink's storage key.
func storageName(inMemory bool) string {
	if inMemory {
		return jobManager
	}
	return fileSystem
}

// OtherStorage is the difference between a job that is in memory, or is not, and a caller that asks for the opposite.
func OtherStorage(isInMemory bool) Difference {
	return Difference{keyStorage, storageName(isInMemory), storageName(!isInMemory)}
}

// isRoot reports whether a value of the storage key is a root. People write a root there and mean the filesystem
// storage below it.
func isRoot(storage string) bool { return strings.ContainsAny(storage, ":/") }

// checkStorage accepts Flink's storages, or a root. settleDir sets Dir from the root.
func checkStorage(f *File, v string) error {
	switch {
	case isRoot(v), strings.EqualFold(v, fileSystem):
		f.Job.Storage = ckptdv1.Storage_STORAGE_FILESYSTEM
	case strings.EqualFold(v, jobManager):
		f.Job.Storage = ckptdv1.Storage_STORAGE_JOBMANAGER
	default:
		return fmt.Errorf("%q is unknown; allowed is %s, %s, or a root like s3://my-bucket/ckptd or file:///var/lib/ckptd", v, fileSystem, jobManager)
	}
	return nil
}

// settleBackend sets the storage from the state backend, if that has one of the old names that also mean a storage. Flink
// lets such a backend win over the storage key; two values that contradict each other are a mistake.
func (f *File) settleBackend(given map[string]pair) error {
	backend, ok := given[keyBackend]
	if !ok || !strings.EqualFold(backend.value, jobManager) {
		return nil
	}
	if storage, ok := given[keyStorage]; ok && !strings.EqualFold(storage.value, jobManager) {
		// The error leaves out the value, since a root may hold a password.
		return fmt.Errorf("config: line %d: %s: %s means the storage %s, and %s in line %d says another; leave one of them out", backend.line,
			backend.key, jobManager, jobManager, storage.key, storage.line)
	}
	f.Job.Storage = ckptdv1.Storage_STORAGE_JOBMANAGER
	return nil
}

// sizeUnits are Flink's spellings of units, by their power of 1024.
var sizeUnits = map[string]int{
	"": 0, "b": 0, "bytes": 0, "k": 1, "kb": 1, "kibibytes": 1, "m": 2, "mb": 2, "mebibytes": 2, "g": 3, "gb": 3, "gibibytes": 3, "t": 4, "tb": 4, "tebibytes": 4,
}

// ParseSize reads a number of bytes as Flink spells it: 5mb, 5 mb, 5242880.
func ParseSize(v string) (uint64, error) {
	v = strings.TrimSpace(v)
	digits := len(v) - len(strings.TrimLeft(v, "0123456789"))
	power, known := sizeUnits[strings.ToLower(strings.TrimSpace(v[digits:]))]
	n, err := strconv.ParseUint(v[:digits], 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || !known {
		return 0, fmt.Errorf("%q is not a size; write it like 5mb: a whole number with b, kb, mb, gb or tb", v)
	}
	if out := n << (10 * power); err == nil && out>>(10*power) == n {
		return out, nil
	}
	return 0, fmt.Errorf("%s is too large", v)
}

// size parses a size and refuses one out of range.
func size(v string, least, most uint64) (uint64, error) {
	n, err := ParseSize(v)
	if err != nil {
		return 0, err
	}
	if n < least || n > most {
		return 0, fmt.Errorf("%s is out of range; allowed is %d to %d bytes", v, least, most)
	}
	return n, nil
}
