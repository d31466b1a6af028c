package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/ckptd/ckptd/proto/data"
)

// CheckState fetches a piece of a job's state from a daemon, compares every block with its sum, and throws the bytes
// away. Unlike Job.Open it attaches nothing, so that it can try a restore of any checkpoint. ErrCorrupt: the bytes are
// not those of the handle.
func (a *Admin) CheckState(ctx context.Context, job string, h Handle) error {
	f := h.File
	if f == nil || h.Size() == 0 {
		return nil
	}
	err := checkHandle(f)
	if err == nil {
		err = a.checkState(ctx, job, f)
	}
	if err != nil {
		return fmt.Errorf("client: check %s of %s: %w", f.Key, job, err)
	}
	return nil
}

func (a *Admin) checkState(ctx context.Context, job string, f *File) error {
	s := span{0, f.Length}
	if seg := f.Segment; seg != nil {
		s.start = seg.Offset - seg.Offset%data.BlockSize
		s.end = min(f.Length, (seg.Offset+seg.Length+data.BlockSize-1)/data.BlockSize*data.BlockSize)
	}
	v := newVerifier(f, s)
	discard := func([]byte, uint64) error { return nil }
	j := &Job{client: a.client, spec: JobSpec{ID: job}}
	for tries := 1; ; {
		before := v.done
		_, err := callDaemon(ctx, a, func(e *endpoint) (*struct{}, error) {
			v.rewind()
			return &struct{}{}, j.stream(ctx, e, f, v, discard)
		})
		if v.done > before {
			tries = 1
		}
		switch said, ok := errors.AsType[*answer](err); {
		case err == nil && s == span{0, f.Length}:
			return compareWhole(f, v.whole)
		case err == nil:
			return nil
		case ctx.Err() != nil || tries == corruptTries:
			return err
		case !ok || !said.retry && !errors.Is(err, ErrCorrupt):
			return err
		}
		tries++
	}
}
