package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/copying"
	"github.com/ckptd/ckptd/layout/storage/retry"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// copyEnds are the source and the target of a copy.
type copyEnds struct {
	from, to copying.Place
	// source and target are their URLs.
	source, target string
	// job and checkpoint are what SRC means; empty and 0: all of the root.
	job        string
	checkpoint uint64
}

// openCopy opens both ends. Of a dry run, the target need not be there.
func openCopy(ctx context.Context, at daemons, src, dst string, dry bool) (*copyEnds, error) {
	t, err := openAny(ctx, at, src)
	if err == nil {
		t, err = t.onStorage(ctx)
	}
	if err != nil {
		return nil, err
	}
	_, outside := t.view.(*loose)
	ends := &copyEnds{source: t.root, job: t.job, checkpoint: t.id}
	if err := t.close(); err != nil {
		return nil, err
	}
	if outside {
		return nil, exit.Usagef("copy %s: it lies outside of any root, so nobody knows where it comes from: begin a job from it instead, by --restore-from", output.Argument(src))
	}
	if ends.target, err = drivers.Normal(dst); err != nil {
		return nil, err
	}
	if err := notInRoot(ctx, ends.target); err != nil {
		return nil, err
	}
	if ends.from, err = openPlace(ctx, ends.source, true); err == nil {
		ends.to, err = openPlace(ctx, ends.target, dry)
	}
	if err != nil {
		return nil, errors.Join(err, ends.close())
	}
	return ends, nil
}

// notInRoot refuses a target below another root: it would be a folder of that root.
func notInRoot(ctx context.Context, target string) error {
	parent, _ := drivers.CutLast(target)
	t, err := openBareRoot(ctx, parent)
	if err != nil {
		return nil // opening the target itself says what is wrong
	}
	return errors.Join(exit.Usagef("copy: %s lies in the root %s: give that root, or a place outside of it", output.Argument(target), output.Argument(parent)), t.close())
}

// openPlace opens one end. With readOnly a root need not be there; then the Place has no Store.
func openPlace(ctx context.Context, root string, readOnly bool) (p copying.Place, err error) {
	d, url, err := drivers.Find(root)
	if err != nil {
		return p, err
	}
	opened, err := d.Open(ctx, url, readOnly)
	if readOnly && errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	p = copying.Place{Store: retry.New(opened.Store, retry.Policy{}), Opened: opened, Facts: opened.Facts}
	if !readOnly {
		p.Root, err = layout.OpenRoot(ctx, p.Store)
	} else {
		var found layout.Contents
		found, err = layout.Survey(ctx, p.Store)
		switch {
		case err == nil && found.Root != nil:
			p.Root = *found.Root
		case err == nil && !found.Writable():
			err = fmt.Errorf("%w: there is no %s, but other things: %q", layout.ErrNotRoot, layout.RootMarkerKey, found.Found)
		case err == nil:
			err = opened.Close()
			return copying.Place{}, err
		}
	}
	if err != nil {
		return copying.Place{}, errors.Join(fmt.Errorf("%s: %w", url, err), opened.Close())
	}
	return p, nil
}

func (e *copyEnds) close() error {
	var errs []error
	for _, p := range []*copying.Place{&e.from, &e.to} {
		if p.Opened.Close != nil {
			errs = append(errs, p.Opened.Close())
		}
	}
	return errors.Join(errs...)
}

// run copies once, and names both ends in the report.
func (e *copyEnds) run(ctx context.Context, opts copying.Options) (*ckptdv1.CopyReport, error) {
	report, err := copying.Run(ctx, &e.from, &e.to, opts)
	if report != nil {
		report.Source, report.Target = e.source, e.target
	}
	return report, err
}

// completeCopy offers what can be copied, and then roots.
func completeCopy(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return completeRoot(cmd, nil, word)
	}
	return completeCheckpoints(cmd, args, word)
}
