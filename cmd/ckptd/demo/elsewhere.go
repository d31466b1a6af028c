package demo

import (
	"context"
	"errors"
	"strings"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/layout"
)

// places returns the flags of a daemon about places outside of its root.
func (d *Demo) places() []string {
	if d.o.Savepoints == "" {
		return d.elsewhere()
	}
	return append([]string{"--savepoints", d.o.Savepoints}, d.elsewhere()...)
}

// elsewhere returns the flags of a daemon that lets the job begin from a checkpoint of another root.
func (d *Demo) elsewhere() []string {
	from := d.o.From
	if !strings.Contains(from, "://") || strings.HasPrefix(from, d.Root+"/") {
		return nil
	}
	if folder, last := drivers.CutLast(from); last == layout.MetadataName {
		from = folder
	}
	job, folder := drivers.CutLast(from)
	if _, err := layout.ParseCheckpointDir(folder); err != nil { // a savepoint: one that the job claims is deleted later
		return []string{"--savepoints", job}
	}
	root, _ := drivers.CutLast(job)
	return []string{"--restore-from", root}
}

// savepointOf returns the job of which a savepoint was taken.
func savepointOf(ctx context.Context, folder string) (job string, err error) {
	parent, name, err := drivers.CutKey(folder)
	if err != nil {
		return "", err
	}
	opened, err := drivers.Open(ctx, parent, true)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	body, err := opened.Store.Open(ctx, name+"/"+layout.MetadataName, 0, -1)
	if err != nil {
		return "", err
	}
	defer body.Close()
	r, err := layout.NewMetadataReader(body)
	if err != nil {
		return "", err
	}
	if r.Header().Kind != layout.KindSavepoint {
		return "", errors.New("it is no savepoint")
	}
	return r.Header().JobID, nil
}
