package verify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
)

// Parallel is the number of files that are read at once by default.
const Parallel = 8

// MaxUnreadable is the number of objects that may be unreadable before a run gives up: then the store fails.
const MaxUnreadable = 20

// Options say what is verified, and how thoroughly.
type Options struct {
	// Job is the job to verify; empty: all jobs of the root.
	Job string
	// Checkpoint is the checkpoint of Job to verify; 0: all that the journal retains.
	Checkpoint uint64
	// ReadData: read the bytes of the files, and compare their sums.
	ReadData bool
	// Subset of the files whose bytes are read; the zero value: all.
	Subset Subset
	// Parallel is the number of files that are read at once; 0: the default. Each takes a buffer of 1 MiB.
	Parallel int
	// Progress, if not nil, is updated while the run goes on.
	Progress *Progress
}

// Progress says how far a run is. Its fields only grow, except for the totals, which are set when they are known.
type Progress struct {
	// Metadata that were read. Files and Bytes that were compared, of TotalFiles and TotalBytes.
	Metadata, Files, Bytes, TotalFiles, TotalBytes atomic.Uint64
}

// Subset is a part of all files, chosen by a hash of their names.
type Subset struct {
	text string
	// part and parts: each file is in one of so many parts. parts 0: every file is chosen.
	part, parts uint64
	// share of the files that is chosen by chance; seed is the chance.
	share float64
	seed  uint64
}

var errSubset = errors.New(`want a percentage, such as "5%", or a part, such as "2/7"`)

// ParseSubset parses "5%" (that share of the files, others each time: seed decides) or "2/7" (the second of seven parts,
// which are the same each time).
func ParseSubset(text string, seed uint64) (Subset, error) {
	if number, ok := strings.CutSuffix(text, "%"); ok {
		percent, err := strconv.ParseFloat(number, 64)
		if err != nil || !(percent > 0 && percent <= 100) {
			return Subset{}, fmt.Errorf("subset %q: %w, above 0%% and at most 100%%", text, errSubset)
		}
		return Subset{text: text, share: percent / 100, seed: seed}, nil
	}
	first, second, ok := strings.Cut(text, "/")
	part, err1 := strconv.ParseUint(first, 10, 32)
	parts, err2 := strconv.ParseUint(second, 10, 32)
	if !ok || err1 != nil || err2 != nil || part < 1 || part > parts {
		return Subset{}, fmt.Errorf("subset %q: %w, the first number from 1 to the second", text, errSubset)
	}
	return Subset{text: text, part: part, parts: parts}, nil
}

// String is the text that was parsed; empty: all files.
func (s Subset) String() string { return s.text }

// has tells whether a file is chosen.
func (s Subset) has(id fileID) bool {
	h := binary.LittleEndian.Uint64(id[:])
	switch {
	case s.parts > 0:
		return h%s.parts == s.part-1
	case s.share > 0:
		// A multiplicative hash: every seed gives another order of the files.
		mixed := (h ^ s.seed) * 0x9e3779b97f4a7c15
		mixed = (mixed ^ mixed>>32) * 0xd6e8feb86659fd93
		return float64(mixed>>11)/(1<<53) < s.share || s.share >= 1
	}
	return true
}

func saturated(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
