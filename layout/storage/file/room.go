package file

import (
	"fmt"
	"strings"

	"github.com/ckptd/ckptd/layout/storage"
)

// A share is how much of something is free, and of how much. Total 0: the file system does not say, or sets no limit.
type share struct{ free, total uint64 }

// A room is what a file system, and the quotas of this process's user there, leave for new files.
type room struct {
	bytes, inodes share
	quotas        []quota
}

// A quota is a limit of one user or group. A share with total 0 is not limited.
type quota struct {
	of            string // "user 1000"
	bytes, inodes share
}

// Less than these is a warning: a few checkpoints need as much.
const (
	littleSpace   = 1 << 30
	littleInodes  = 10_000
	littlePercent = 5
)

func (s share) little(least uint64) bool {
	return s.total > 0 && (s.free < least || s.free < s.total/100*littlePercent)
}

// String describes the room for the error of a file system that is full: which of the limits is reached.
func (r room) String() string {
	var words []string
	if r.bytes.total > 0 {
		words = append(words, "free: "+r.bytes.size())
	}
	if r.inodes.total > 0 {
		words = append(words, "inodes free: "+r.inodes.count())
	}
	for _, q := range r.quotas {
		if q.bytes.total > 0 {
			words = append(words, "left by the quota of "+q.of+": "+q.bytes.size())
		}
		if q.inodes.total > 0 {
			words = append(words, "inodes left by the quota of "+q.of+": "+q.inodes.count())
		}
	}
	return strings.Join(words, "; ")
}

func (s share) size() string { return size(s.free) + " of " + size(s.total) }

func (s share) count() string { return fmt.Sprintf("%d of %d", s.free, s.total) }

// hazards examines bytes, inodes and quotas.
func (r room) hazards() []storage.Hazard {
	space := storage.Hazard{Name: "space", Seen: strings.Replace(r.bytes.size(), " of ", " free of ", 1)}
	switch {
	case r.bytes.total == 0:
		space.Weight, space.Seen = storage.WeightUnknown, "the file system does not say"
	case r.bytes.little(littleSpace):
		space.Weight, space.Advice = storage.WeightWarning, "Make space: checkpoints fail, and are tolerated only as often as the job's configuration says, when it is full."
	}
	all := []storage.Hazard{space}
	if r.inodes.total > 0 {
		inodes := storage.Hazard{Name: "inodes", Seen: strings.Replace(r.inodes.count(), " of ", " free of ", 1)}
		if r.inodes.little(littleInodes) {
			inodes.Weight = storage.WeightWarning
			inodes.Advice = "Remove files, or make the file system anew with more inodes: each file needs one, and checkpoints fail when none is left, however much space is."
		}
		all = append(all, inodes)
	}
	for _, q := range r.quotas {
		h := storage.Hazard{Name: "quota of " + q.of}
		var seen []string
		if q.bytes.total > 0 {
			seen = append(seen, q.bytes.size()+" left")
		}
		if q.inodes.total > 0 {
			seen = append(seen, q.inodes.count()+" inodes left")
		}
		h.Seen = strings.Join(seen, ", ")
		if q.bytes.little(littleSpace) || q.inodes.little(littleInodes) {
			h.Weight, h.Advice = storage.WeightWarning, "Raise the quota, or remove files of "+q.of+": checkpoints fail when it is used up."
		}
		all = append(all, h)
	}
	return all
}

// size is a number of bytes for people.
func size(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, units := float64(n)/unit, "KMGTPE"
	for f >= 999.95 && len(units) > 1 {
		f, units = f/unit, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", f, units[0])
}
