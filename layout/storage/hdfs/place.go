package hdfs

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/ckptd/ckptd/layout/storage"
)

// A placing gives one staged object its name.
type placing struct {
	*staged
	target string
	// mayLand: the reply to a rename was lost, so the rename may still happen.
	mayLand bool
	cause   error // of the last rename that did not succeed
}

// place renames a staged object to its key. Whatever it returns, nothing is left below _tmp, unless no NameNode answers.
func (s *store) place(ctx context.Context, st *staged) error {
	p := &placing{staged: st, target: s.path(st.key)}
	if !st.folder { // a rename of a file would replace what is there
		id, there, err := s.number(ctx, p.target, false)
		if err != nil || there && id != st.id {
			return p.refuse(ctx, err)
		}
	}
	end := time.Now().Add(s.config.Timeout)
	for try := 0; ; try++ {
		over, err := p.rename(ctx)
		if over {
			return err
		}
		if ctx.Err() != nil || time.Now().After(end) || try >= placeTries || !pause(ctx, try) {
			return p.settle(ctx)
		}
		s.repeated(p.cause)
	}
}

// placeTries is how often a rename is tried while its outcome is unknown.
const placeTries = 8

// rename tries once; over says that err is the outcome.
func (p *placing) rename(ctx context.Context) (over bool, err error) {
	s := p.store
	err = s.pool.call(ctx, func(c *client) error { return c.Rename(p.path, p.target) })
	switch kindOf(err) {
	case done:
		return true, nil
	case absent:
		p.cause = err
		return p.missing(ctx)
	case refused, exists:
		if taken(err) || kindOf(err) == exists {
			return p.occupied(ctx)
		}
		return true, p.refuse(ctx, plain(err))
	case lost:
		p.mayLand = true
	}
	p.cause = err
	return false, nil
}

// missing is for a rename whose source, or the folder of whose target, does not exist. The NameNode does not say which.
func (p *placing) missing(ctx context.Context) (over bool, err error) {
	s := p.store
	err = s.pool.call(ctx, func(c *client) error {
		if _, err := c.Stat(p.path); err != nil {
			return err
		}
		return c.MkdirAll(path.Dir(p.target), s.cluster.folderMode)
	})
	switch kindOf(err) {
	case done:
		return false, nil // again, with the folder
	case absent:
		return p.gone(ctx)
	case refused, exists:
		return true, p.refuse(ctx, plain(err))
	}
	p.cause = err
	return false, nil
}

// gone is for an object that is no longer below _tmp: an earlier rename took place, or a sweep removed the object.
func (p *placing) gone(ctx context.Context) (over bool, err error) {
	id, there, err := p.store.number(ctx, p.target, p.folder)
	switch {
	case err != nil:
		p.cause = err
		return false, nil
	case there && id == p.id:
		// The rename may be seen before it is durable, because its reply was lost.
		if err := p.store.sync(ctx, p.key); err != nil {
			p.cause, p.mayLand = err, true // it has landed
			return false, nil
		}
		return true, nil
	case p.mayLand:
		return true, fmt.Errorf("%w: the object is neither below _tmp nor under its key: renamed and deleted since, or swept", storage.ErrUnknown)
	case there:
		return true, storage.ErrExists
	}
	return true, errors.New("the object was removed from below _tmp before it got its name; does another program clean up there?")
}

// occupied is for a target that is taken, by another object or by something else. It is not ours: the NameNode looks for the
// source of a rename first.
func (p *placing) occupied(ctx context.Context) (over bool, err error) {
	_, there, err := p.store.number(ctx, p.target, p.folder)
	switch {
	case err != nil:
		p.cause = err
		return false, nil
	case there:
		return true, p.refuse(ctx, nil)
	}
	if _, there, err := p.store.number(ctx, p.target, false); err != nil || !there { // deleted meanwhile
		p.cause = errors.Join(err, errors.New("the key was taken, and is free"))
		return false, nil
	}
	return true, p.refuse(ctx, fmt.Errorf("%s holds something that is not ckptd's", p.target))
}

// refuse ends a placing that the NameNode refused, with an error, or with ErrExists if err is nil. It removes the object from
// below _tmp: no rename can land later, and the removal makes durable whatever was seen under the key.
func (p *placing) refuse(ctx context.Context, err error) error {
	ctx, cancel := p.store.afterwards(ctx)
	defer cancel()
	left := p.drop(ctx)
	switch {
	case left != nil && (p.mayLand || err == nil):
		return unknown(errors.Join(err, fmt.Errorf("remove the temporary file: %w", plain(left))))
	case err != nil:
		return err
	}
	return storage.ErrExists
}

// settle ends a placing without an answer. It moves the object to another name, which is possible only if no rename took
// place; then none can.
func (p *placing) settle(ctx context.Context) error {
	cause := p.cause
	if ctx.Err() != nil {
		cause = errors.Join(ctx.Err(), cause)
	}
	ctx, cancel := p.store.afterwards(ctx)
	defer cancel()
	if !p.mayLand {
		_ = p.drop(ctx) // a sweep removes what stays
		return plain(cause)
	}
	away := p.store.scrapPath(p.key)
	for try := 0; ; try++ {
		err := p.store.pool.call(ctx, func(c *client) error {
			err := c.Rename(p.path, away)
			if kindOf(err) != absent {
				return err
			}
			if _, moved := c.Stat(away); moved == nil {
				return nil // by the try before
			}
			return err
		})
		switch kindOf(err) {
		case done:
			p.path = away
			_ = p.drop(ctx)
			return plain(cause)
		case absent:
			if over, err := p.gone(ctx); over {
				return err
			}
		}
		if !pause(ctx, try) || try >= placeTries {
			return unknown(cause)
		}
	}
}

// number returns the number of the file under a path; folder: of the one file in the folder there.
func (s *store) number(ctx context.Context, path string, folder bool) (id uint64, there bool, err error) {
	if folder {
		path = below(path, dataName)
	}
	err = s.pool.call(ctx, func(c *client) error {
		info, err := c.Stat(path)
		if err != nil {
			return err
		}
		if status, ok := info.Sys().(*hdfs.FileStatus); ok {
			id, there = status.GetFileId(), true
		}
		return nil
	})
	if kindOf(err) == absent {
		return 0, false, nil
	}
	return id, there, err
}

// settle implements storage.Facts.Settle.
func (s *store) settle(ctx context.Context, prefix string) error {
	if err := s.sync(ctx, prefix); err != nil {
		return &storage.Error{Op: "settle", Key: prefix, Err: plain(err)}
	}
	return nil
}

// sync makes durable what a NameNode has shown. It shows a change before the change is durable. It syncs its log before
// it answers, and the log holds every change before that: so a folder is made, and removed again.
func (s *store) sync(ctx context.Context, prefix string) error {
	path := s.scrapPath(prefix)
	return s.pool.call(ctx, func(c *client) error {
		if err := c.MkdirAll(path, s.cluster.folderMode); err != nil {
			return err
		}
		_ = c.Remove(path) // a sweep removes what stays
		return nil
	})
}
