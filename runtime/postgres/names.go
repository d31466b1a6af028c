package postgres

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Subtask names the part of a job that writes.
type Subtask struct {
	// Job is the job's id, Operator the id of its operator.
	Job, Operator string
	// 0 <= Index < Parallelism.
	Index, Parallelism int
}

// transaction identifies a transaction that is or was prepared. Its JSON is part of the sink's state.
type transaction struct {
	Job        string `json:"job"`
	Operator   string `json:"operator"`
	Subtask    int    `json:"subtask"`
	Attempt    uint64 `json:"attempt"`
	Checkpoint uint64 `json:"checkpoint"`
}

// maxPart bounds a job and an operator in names: a name of a prepared transaction has at most 199 bytes.
const maxPart = 64

// gid returns the name of the prepared transaction: ckptd:<job>:<operator>:<subtask>:<attempt>:<checkpoint>.
func (t transaction) gid() string {
	return fmt.Sprintf("%s%d:%d", prefix(t.Job, t.Operator, t.Subtask), t.Attempt, t.Checkpoint)
}

// prefix begins the names of one subtask's transactions, and of no other's.
func prefix(job, operator string, subtask int) string {
	return fmt.Sprintf("ckptd:%s:%s:%d:", part(job), part(operator), subtask)
}

// attemptOf returns the attempt in a name with this prefix. It is false for a name that gid does not make.
func attemptOf(gid, prefix string) (attempt uint64, ok bool) {
	rest, found := strings.CutPrefix(gid, prefix)
	a, c, two := strings.Cut(rest, ":")
	attempt, err1 := strconv.ParseUint(a, 10, 64)
	checkpoint, err2 := strconv.ParseUint(c, 10, 64)
	ok = found && two && err1 == nil && err2 == nil && fmt.Sprintf("%s%d:%d", prefix, attempt, checkpoint) == gid
	return attempt, ok
}

// part makes a job or an operator fit into a name. Bytes other than letters, digits and "._-" become %XX. What is too
// long keeps its beginning, so that people find it, and ends in a hash.
func part(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._-", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if text := b.String(); len(text) <= maxPart {
		return text
	}
	sum := sha256.Sum256([]byte(name))
	return b.String()[:maxPart-33] + "~" + hex.EncodeToString(sum[:16])
}

// applicationPrefix begins the application_name of one subtask's sessions; the attempt follows. PostgreSQL cuts it
// after 63 bytes, so most of it is a hash.
func (s Subtask) applicationPrefix() string {
	sum := sha256.Sum256([]byte(prefix(s.Job, s.Operator, s.Index)))
	return fmt.Sprintf("ckptd:%.20s~%s:", part(s.Job), hex.EncodeToString(sum[:8]))
}
