package demo

import (
	"fmt"
	"path/filepath"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
)

// introduce prints what the demo will do.
func (d *Demo) introduce() {
	n := d.say
	n.Line("job     source -> filter -> map -> keyBy + sum -> sink, parallelism %d, over %d workers", d.o.Parallelism, NumWorkers)
	if d.Params.Input == "" {
		n.Line("input   %s generated clicks of at most %s users (--seed %d)", launch.Grouped(d.total), launch.Grouped(d.Params.Users), d.Params.Seed)
	} else {
		n.Line("input   %s: %s clicks%s", output.Clean(d.o.Input), launch.Grouped(d.total), unparsable(d.skipped))
		if d.inputNote != "" {
			n.Line("        %s", output.Clean(d.inputNote))
		}
		d.saySkipped("        ")
	}
	n.Line("rate    %s a second: about %.0f s", launch.Grouped(uint64(d.rate())), float64(d.total)/d.rate())
	if d.o.From != "" {
		n.Line("from    %s", d.o.From)
	}
	if d.inMemory() {
		n.Line("state   in the memory of the daemon, which is not killed: the state would be lost with it")
	} else {
		n.Line("state   %s", drivers.Below(d.Root, d.ID))
	}
	n.Line("logs    %s", output.ShellWord(filepath.Join(d.Tmp, "logs")))
	n.Line("watch   %s status %s --server %s", launch.Program(), d.ID, output.ShellWord(d.URL))
	n.Line("")
	n.Begin()
}

// rate is records a second of all sources together.
func (d *Demo) rate() float64 { return d.Params.Rate * float64(d.o.Parallelism) }

// saySkipped shows a line that is no click, and says loudly when there are many.
func (d *Demo) saySkipped(indent string) {
	if d.skipped == 0 {
		return
	}
	if w := d.warning(); w != "" {
		d.say.Line("%s%s", indent, w)
	}
	d.say.Line("%s%s", indent, d.firstSkipped())
}

func unparsable(n uint64) string {
	switch n {
	case 0:
		return ""
	case 1:
		return ", and 1 line that is none: counted and skipped"
	}
	return fmt.Sprintf(", and %s lines that are none: counted and skipped", launch.Grouped(n))
}
