package engines

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"sync"
)

// recorder reads what all processes of a job print, one after the other, and judges it.
type recorder struct {
	mu   sync.Mutex
	rest []byte
	all  bytes.Buffer
	// states is the state that each checkpoint has, complete the newest that is complete, and attempt the newest that was
	// restored.
	states            map[uint64]string
	complete, attempt uint64
	// faults are the sentences of what was wrong.
	faults []string
	// changed is closed, and made anew, at each line.
	changed chan struct{}
}

func newRecorder() *recorder {
	return &recorder{states: map[uint64]string{}, changed: make(chan struct{})}
}

var (
	restoredLine = regexp.MustCompile(`^attempt (\d+) restored checkpoint (\d+): (.*)$`)
	stateLine    = regexp.MustCompile(`^checkpoint (\d+) has (.*)$`)
	completeLine = regexp.MustCompile(`^checkpoint (\d+) is complete$`)
)

// Write takes a piece of the output. A line may come in several pieces.
func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all.Write(p)
	r.rest = append(r.rest, p...)
	for {
		line, rest, ok := bytes.Cut(r.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		r.rest = rest
		r.line(string(bytes.TrimRight(line, "\r")))
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

func (r *recorder) line(s string) {
	if m := restoredLine.FindStringSubmatch(s); m != nil {
		r.restored(number(m[1]), number(m[2]), m[3])
	} else if m := stateLine.FindStringSubmatch(s); m != nil {
		id := number(m[1])
		if old, again := r.states[id]; again && old != m[2] {
			r.fault("checkpoint %d was taken twice: with %q and with %q", id, old, m[2])
		}
		r.states[id] = m[2]
	} else if m := completeLine.FindStringSubmatch(s); m != nil {
		r.complete = max(r.complete, number(m[1]))
	}
}

// restored judges a restore: it must be of the newest checkpoint that is known to be complete, or a newer one, and bring
// the state that this checkpoint has.
func (r *recorder) restored(attempt, id uint64, state string) {
	if attempt <= r.attempt {
		r.fault("attempt %d was restored after attempt %d", attempt, r.attempt)
	}
	r.attempt = max(r.attempt, attempt)
	want, known := r.states[id]
	switch {
	case id < r.complete:
		r.fault("attempt %d restored checkpoint %d, though %d was complete", attempt, id, r.complete)
	case id > 0 && !known:
		r.fault("attempt %d restored checkpoint %d, which no process has taken", attempt, id)
	case id > 0 && state != want:
		r.fault("attempt %d restored checkpoint %d as %q, want %q", attempt, id, state, want)
	}
}

func (r *recorder) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

func number(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64) // the pattern has digits only
	return n
}

// now returns the newest complete checkpoint and attempt, and what is closed at the next line.
func (r *recorder) now() (complete, attempt uint64, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.complete, r.attempt, r.changed
}
