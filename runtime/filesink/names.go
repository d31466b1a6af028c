package filesink

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// pendingDir is the staging folder below the output folder.
const pendingDir = ".pending"

// Part identifies a published file.
type Part struct {
	// Name of the job's output, as in Options.
	Name string
	// Subtask that wrote the part.
	Subtask uint32
	// Checkpoint whose barrier follows the part's records. The part begins after the barrier of the subtask's part
	// before.
	Checkpoint uint64
	// Attempt that wrote the part; a later attempt may have published it.
	Attempt uint64
	// Form of the lines.
	Form Form
}

// Form is the form of a file's lines.
type Form string

const (
	// CSV lines are `key,value`.
	CSV Form = ""
	// JSONLines are the values alone.
	JSONLines Form = "jsonl"
)

// ending is the end of a file's name.
func (f Form) ending() string { return cmp.Or(string(f), "csv") }

var (
	partName  = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9._-]{0,127})-([0-9]{4,10})-([0-9]{10,20})-([0-9]{4,20})\.(csv|jsonl)$`)
	validName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
)

// String returns the file's name. For usual numbers, the files of one subtask sort by checkpoint.
func (p Part) String() string {
	return fmt.Sprintf("%s-%04d-%010d-%04d.%s", p.Name, p.Subtask, p.Checkpoint, p.Attempt, p.Form.ending())
}

// ParsePart is the inverse of String.
func ParsePart(file string) (Part, error) {
	m := partName.FindStringSubmatch(file)
	if m == nil {
		return Part{}, fmt.Errorf("filesink: %q is not the name of a part", file)
	}
	subtask, err1 := strconv.ParseUint(m[2], 10, 32)
	checkpoint, err2 := strconv.ParseUint(m[3], 10, 64)
	attempt, err3 := strconv.ParseUint(m[4], 10, 64)
	p := Part{Name: m[1], Subtask: uint32(subtask), Checkpoint: checkpoint, Attempt: attempt, Form: form(m[5])}
	if err1 != nil || err2 != nil || err3 != nil || p.String() != file {
		return Part{}, fmt.Errorf("filesink: %q is not the name of a part", file)
	}
	return p, nil
}

// form is the inverse of ending.
func form(ending string) Form {
	if ending == CSV.ending() {
		return CSV
	}
	return Form(ending)
}

// Parts lists the published parts under a name, by subtask and checkpoint. It ignores files of other names. An absent
// folder is empty.
func Parts(dir, name string) ([]Part, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("filesink: list %s: %w", dir, err)
	}
	var parts []Part
	for _, e := range entries {
		if p, err := ParsePart(e.Name()); err == nil && p.Name == name {
			parts = append(parts, p)
		}
	}
	slices.SortFunc(parts, func(a, b Part) int {
		if a.Subtask != b.Subtask {
			return int(a.Subtask) - int(b.Subtask)
		}
		if a.Checkpoint < b.Checkpoint {
			return -1
		}
		return 1
	})
	return parts, nil
}

// staged is a part in the staging folder: pre-committed under Checkpoint, or still open. Its JSON is the sink's
// state.
type staged struct {
	// Name as in the Options of the sink that wrote the part.
	Name       string `json:"name"`
	Subtask    uint32 `json:"subtask"`
	Attempt    uint64 `json:"attempt"`
	Sequence   uint64 `json:"sequence"`
	Checkpoint uint64 `json:"checkpoint"`
	// Size in bytes.
	Size int64 `json:"size"`
	Form Form  `json:"form,omitempty"`
}

func (s staged) file() string {
	return fmt.Sprintf("%s-%04d-%d-%d.%s", s.Name, s.Subtask, s.Attempt, s.Sequence, s.Form.ending())
}

// parseStaged is the inverse of file, for parts of one subtask.
func parseStaged(file, name string, subtask uint32) (staged, bool) {
	s := staged{Name: name, Subtask: subtask}
	prefix := fmt.Sprintf("%s-%04d-", name, subtask)
	if len(file) < len(prefix) || file[:len(prefix)] != prefix {
		return staged{}, false
	}
	var ending string
	if _, err := fmt.Sscanf(file[len(prefix):], "%d-%d.%s", &s.Attempt, &s.Sequence, &ending); err != nil {
		return staged{}, false
	}
	s.Form = form(ending)
	return s, (s.Form == CSV || s.Form == JSONLines) && s.file() == file
}

func (s staged) pending(dir string) string {
	return filepath.Join(dir, pendingDir, s.file())
}

func (s staged) final(dir string) string {
	return filepath.Join(dir, Part{Name: s.Name, Subtask: s.Subtask, Checkpoint: s.Checkpoint, Attempt: s.Attempt, Form: s.Form}.String())
}
