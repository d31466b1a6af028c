package journal

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Process is 96 random bits, drawn once by each process.
type Process [12]byte

// NewProcess draws a process nonce.
func NewProcess() (p Process) {
	_, _ = rand.Read(p[:]) // never fails
	return p
}

// Nonce names one append or write of one process: the process's nonce and a counter. The zero value is no nonce.
type Nonce struct {
	Process Process
	Count   uint32
}

// IsZero tells whether it is none.
func (n Nonce) IsZero() bool { return n == Nonce{} }

// String is 24 hex digits, a dash and the counter in decimal; empty for none.
func (n Nonce) String() string {
	if n.IsZero() {
		return ""
	}
	return hex.EncodeToString(n.Process[:]) + "-" + strconv.FormatUint(uint64(n.Count), 10)
}

// ParseNonce is the inverse of Nonce.String.
func ParseNonce(s string) (n Nonce, err error) {
	if s == "" {
		return n, nil
	}
	process, count, ok := strings.Cut(s, "-")
	if !ok || len(process) != 2*len(n.Process) {
		return Nonce{}, fmt.Errorf("journal: nonce %q: not 24 hex digits, a dash and a number", s)
	}
	if _, err := hex.Decode(n.Process[:], []byte(process)); err != nil {
		return Nonce{}, fmt.Errorf("journal: nonce %q: %w", s, err)
	}
	c, err := strconv.ParseUint(count, 10, 32)
	if err != nil {
		return Nonce{}, fmt.Errorf("journal: nonce %q: %w", s, err)
	}
	n.Count = uint32(c)
	if n.String() != s {
		return Nonce{}, fmt.Errorf("journal: nonce %q: not in its one form", s)
	}
	return n, nil
}

// Request is the first 16 bytes of the SHA-256 of a caller's request id. Zero is none.
type Request [16]byte

// RequestOf shortens a request id; the empty one is none.
func RequestOf(id string) (r Request) {
	if id == "" {
		return r
	}
	sum := sha256.Sum256([]byte(id))
	copy(r[:], sum[:])
	return r
}

// Operator is one operator of a plan.
type Operator struct {
	ID, UID                     string
	Parallelism, MaxParallelism uint32
	// Triggered is true if the owner sends Trigger to the operator's subtasks. All other subtasks wait for barriers.
	Triggered bool
}

// Plan is the set of operators of an attempt. Its subtasks are numbered: operators in order, indices in order. Immutable.
type Plan struct {
	Operators []Operator
	hash      uint64
	subtasks  uint32
}

// NewPlan makes a plan of operators; it keeps the slice.
func NewPlan(operators []Operator) *Plan {
	p := &Plan{Operators: operators}
	var b []byte
	for _, o := range operators {
		b = binary.AppendUvarint(b, uint64(len(o.ID)))
		b = append(b, o.ID...)
		b = binary.AppendUvarint(b, uint64(len(o.UID)))
		b = append(b, o.UID...)
		b = binary.AppendUvarint(b, uint64(o.Parallelism))
		b = binary.AppendUvarint(b, uint64(o.MaxParallelism))
		if o.Triggered {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
		p.subtasks += o.Parallelism
	}
	sum := sha256.Sum256(b)
	p.hash = binary.BigEndian.Uint64(sum[:])
	return p
}

// Hash tells plans apart.
func (p *Plan) Hash() uint64 { return p.hash }

// Subtasks is how many there are; their numbers are 0 to Subtasks()-1.
func (p *Plan) Subtasks() uint32 { return p.subtasks }

// Number is the number of a subtask.
func (p *Plan) Number(operator string, index uint32) (n uint32, ok bool) {
	for _, o := range p.Operators {
		if o.ID == operator {
			return n + index, index < o.Parallelism
		}
		n += o.Parallelism
	}
	return 0, false
}

// Receiver finds the operator that gets the state of an operator of another job. names gives the id and uid of each of n operators. The
// one with the same uid gets the state. Where one of the two has no uid, the same id decides. i is -1 if there is none. Of several
// with the uid, only the one with the same id is meant.
func Receiver(n int, names func(i int) (id, uid string), id, uid string) (i int, byUID bool) {
	byID, same, others := -1, -1, 0
	for i := range n {
		switch hisID, his := names(i); {
		case his == uid && uid != "" && hisID == id:
			return i, true
		case his == uid && uid != "":
			same, others = i, others+1
		case hisID == id && (his == "" || uid == ""):
			byID = i
		}
	}
	if others == 1 {
		return same, true
	}
	return byID, false
}

// Receiver is the operator of the plan that gets the state of another job's operator; nil: none does.
func (p *Plan) Receiver(id, uid string) *Operator {
	i, _ := Receiver(len(p.Operators), func(i int) (string, string) { return p.Operators[i].ID, p.Operators[i].UID }, id, uid)
	if i < 0 {
		return nil
	}
	return &p.Operators[i]
}

// Operator is the operator with this id; nil: the plan has none.
func (p *Plan) Operator(id string) *Operator {
	for i := range p.Operators {
		if p.Operators[i].ID == id {
			return &p.Operators[i]
		}
	}
	return nil
}

// Subtask is the inverse of Number; nil if there is no such subtask.
func (p *Plan) Subtask(number uint32) (operator *Operator, index uint32) {
	for i := range p.Operators {
		if o := &p.Operators[i]; number < o.Parallelism {
			return o, number
		} else {
			number -= o.Parallelism
		}
	}
	return nil, 0
}
