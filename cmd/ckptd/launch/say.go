package launch

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/output"
)

// Narrator prints each event in one line, with the seconds since the processes were started. It uses neither colours
// nor cursor movements, so its output looks the same in a log.
type Narrator struct {
	out   io.Writer
	began time.Time
	last  time.Time
}

// NewNarrator returns a narrator whose time begins now.
func NewNarrator(out io.Writer) *Narrator {
	now := time.Now()
	return &Narrator{out: out, began: now, last: now}
}

// Event prints a line with the time.
func (n *Narrator) Event(format string, args ...any) {
	n.last = time.Now()
	fmt.Fprintf(n.out, "%6.1fs  %s\n", n.last.Sub(n.began).Seconds(), fmt.Sprintf(format, args...))
}

// More prints a further line about the last event.
func (n *Narrator) More(format string, args ...any) {
	fmt.Fprintf(n.out, "         %s\n", fmt.Sprintf(format, args...))
}

// Begin makes the time begin now.
func (n *Narrator) Begin() { n.began = time.Now() }

// Out is where the narrator prints to.
func (n *Narrator) Out() io.Writer { return n.out }

// Line prints a line of its own.
func (n *Narrator) Line(format string, args ...any) { fmt.Fprintf(n.out, format+"\n", args...) }

// Silent is the time since the last line was printed.
func (n *Narrator) Silent() time.Duration { return time.Since(n.last) }

// Program is the command with which a person calls this program again, as words for a shell.
func Program() string {
	self, err := os.Executable()
	switch {
	case err != nil:
		return "ckptd"
	case strings.Contains(self, "go-build"): // `go run` removes the program when it ends
		return "go run ./cmd/ckptd"
	case strings.ContainsRune(os.Args[0], filepath.Separator):
		return output.ShellWord(os.Args[0])
	}
	return "ckptd"
}

// Grouped prints 1234567 as 1,234,567.
func Grouped(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
