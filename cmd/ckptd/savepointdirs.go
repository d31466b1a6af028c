package main

import (
	"context"
	"fmt"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout/copying"
	"github.com/ckptd/ckptd/layout/storage/retry"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/shell"
)

// savepointDirs are the places below which this daemon may write savepoints. Whoever may run jobs may name any place, and the daemon
// writes there with its own rights, so the operator lists them.
type savepointDirs allowed

func (d savepointDirs) places() shell.Savepoints {
	out := shell.Savepoints{Normal: d.normal, Open: openSavepoint}
	if len(d) > 0 {
		out.Default = d[0]
	}
	return out
}

func (d savepointDirs) normal(dir, root string) (string, error) {
	place, err := drivers.Normal(dir)
	if err != nil {
		return "", err
	}
	if _, below := api.BelowRoot(place, root); !below && !allowed(d).has(place) {
		return "", fmt.Errorf("this daemon may not write there: start it with --savepoints for a place that holds %s", output.Argument(place))
	}
	return place, nil
}

// openSavepoint opens the directory of a savepoint's folder for writing.
func openSavepoint(ctx context.Context, folder string) (copying.Place, string, error) {
	parent, name, err := drivers.CutKey(folder)
	if err != nil {
		return copying.Place{}, "", err
	}
	opened, err := drivers.Open(ctx, parent, false)
	if err != nil {
		return copying.Place{}, "", err
	}
	return copying.Place{Store: retry.New(opened.Store, retry.Policy{}), Opened: opened, Facts: opened.Facts}, name, nil
}
