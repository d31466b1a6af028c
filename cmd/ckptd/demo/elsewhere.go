package demo

import (
	"strings"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/layout"
)

// elsewhere returns the flags of a daemon that lets the job begin from a checkpoint of another root.
func (d *Demo) elsewhere() []string {
	from := d.o.From
	if !strings.Contains(from, "://") || strings.HasPrefix(from, d.Root+"/") {
		return nil
	}
	if folder, last := drivers.CutLast(from); last == layout.MetadataName {
		from = folder
	}
	job, _ := drivers.CutLast(from)
	root, _ := drivers.CutLast(job)
	return []string{"--restore-from", root}
}
