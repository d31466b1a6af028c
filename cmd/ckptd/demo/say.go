package demo

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
)

// narrator prints each event in one line, with the seconds since the processes were started. It uses neither colours
// nor cursor movements, so its output looks the same in a log.
type narrator struct {
	out   io.Writer
	began time.Time
	last  time.Time
}

func newNarrator(out io.Writer) *narrator {
	now := time.Now()
	return &narrator{out: out, began: now, last: now}
}

// event prints a line with the time.
func (n *narrator) event(format string, args ...any) {
	n.last = time.Now()
	fmt.Fprintf(n.out, "%6.1fs  %s\n", n.last.Sub(n.began).Seconds(), fmt.Sprintf(format, args...))
}

// more prints a further line about the last event.
func (n *narrator) more(format string, args ...any) {
	fmt.Fprintf(n.out, "         %s\n", fmt.Sprintf(format, args...))
}

// line prints a line of its own.
func (n *narrator) line(format string, args ...any) { fmt.Fprintf(n.out, format+"\n", args...) }

// silent is the time since the last line was printed.
func (n *narrator) silent() time.Duration { return time.Since(n.last) }

// introduce prints what the demo will do.
func (d *Demo) introduce() {
	n := d.say
	n.line("job     source -> filter -> map -> keyBy + sum -> sink, parallelism %d, over %d workers", d.o.Parallelism, NumWorkers)
	if d.Params.Input == "" {
		n.line("input   %s generated clicks of at most %s users (--seed %d)", grouped(d.total), grouped(d.Params.Users), d.Params.Seed)
	} else {
		n.line("input   %s: %s clicks%s", output.Clean(d.o.Input), grouped(d.total), unparsable(d.skipped))
		if d.inputNote != "" {
			n.line("        %s", output.Clean(d.inputNote))
		}
		d.saySkipped("        ")
	}
	n.line("rate    %s a second: about %.0f s", grouped(uint64(d.rate())), float64(d.total)/d.rate())
	if d.o.From != "" {
		n.line("from    %s", d.o.From)
	}
	if d.inMemory() {
		n.line("state   in the memory of the daemon, which is not killed: the state would be lost with it")
	} else {
		n.line("state   %s", drivers.Below(d.Root, d.ID))
	}
	n.line("logs    %s", output.ShellWord(filepath.Join(d.Tmp, "logs")))
	n.line("watch   %s status %s --server %s", program(), d.ID, output.ShellWord(d.URL))
	n.line("")
	n.began = time.Now()
}

// rate is records a second of all sources together.
func (d *Demo) rate() float64 { return d.Params.Rate * float64(d.o.Parallelism) }

// saySkipped shows a line that is no click, and says loudly when there are many.
func (d *Demo) saySkipped(indent string) {
	if d.skipped == 0 {
		return
	}
	if w := d.warning(); w != "" {
		d.say.line("%s%s", indent, w)
	}
	d.say.line("%s%s", indent, d.firstSkipped())
}

func unparsable(n uint64) string {
	switch n {
	case 0:
		return ""
	case 1:
		return ", and 1 line that is none: counted and skipped"
	}
	return fmt.Sprintf(", and %s lines that are none: counted and skipped", grouped(n))
}

// program is the command with which a person calls this program again, as words for a shell.
func program() string {
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

// grouped prints 1234567 as 1,234,567.
func grouped(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
