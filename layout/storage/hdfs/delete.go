package hdfs

import (
	"context"
	"path"
	"strings"
	"sync"
	"syscall"

	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/layout/storage"
)

const (
	// deleters is how many clients delete at once; one for each deletersEvery keys.
	deleters      = 8
	deletersEvery = 8
)

// Delete implements storage.Store. HDFS has no call for many files.
func (s *store) Delete(ctx context.Context, keys []string) []error {
	errs := make([]error, len(keys))
	var g errgroup.Group
	g.SetLimit(min(deleters, 1+len(keys)/deletersEvery))
	var mu sync.Mutex
	emptied := map[string]bool{}
	for i, key := range keys {
		g.Go(func() error {
			err := s.writable(ctx, key)
			if err == nil {
				err = s.remove(ctx, key)
			}
			if err != nil {
				errs[i] = &storage.Error{Op: "delete", Key: key, Err: err}
				return nil
			}
			mu.Lock()
			emptied[path.Dir(s.path(key))] = true
			mu.Unlock()
			return nil
		})
	}
	_ = g.Wait() // each key has a result of its own
	s.prune(ctx, emptied)
	for _, err := range errs {
		if err != nil {
			return errs
		}
	}
	return nil
}

// remove deletes one object.
func (s *store) remove(ctx context.Context, key string) error {
	at := s.path(key)
	err := s.pool.call(ctx, func(c *client) error {
		err := c.Remove(at)
		if !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
		if _, err := c.Stat(below(at, dataName)); err != nil {
			return err // a folder is not an object
		}
		return c.RemoveAll(at) // at once: an emptied folder could be taken by a Publish
	})
	switch kindOf(err) {
	case done, absent:
		return nil
	case lost:
		return unknown(err)
	}
	return plain(err)
}

// prune removes folders that became empty, and those above them, but not the root. HDFS refuses to remove one that is not
// empty.
func (s *store) prune(ctx context.Context, folders map[string]bool) {
	root := s.path("")
	for folder := range folders {
		for ; len(folder) > len(root) && strings.HasPrefix(folder, root); folder = path.Dir(folder) {
			err := s.pool.call(ctx, func(c *client) error {
				err := c.Remove(folder)
				if errors.Is(err, syscall.ENOTEMPTY) && path.Dir(folder) == root {
					if c.Remove(below(folder, storage.TempElement)) == nil {
						err = c.Remove(folder)
					}
				}
				return err
			})
			if kindOf(err) != done && kindOf(err) != absent {
				break
			}
		}
	}
}

// AbortUnfinished implements storage.Store.
func (s *store) AbortUnfinished(ctx context.Context, prefix string, dead func(key string) bool) (int, error) {
	n, err := 0, ctx.Err()
	if err == nil {
		err = storage.ValidatePrefix(prefix)
	}
	if err == nil && s.config.ReadOnly {
		err = errReadOnly
	}
	if err == nil {
		n, err = s.abortBelow(ctx, prefix, func(key string) bool { return strings.HasPrefix(key, prefix) && dead(key) })
	}
	if err != nil {
		return n, &storage.Error{Op: "abort unfinished", Key: prefix, Err: err}
	}
	return n, nil
}

func (s *store) abortBelow(ctx context.Context, prefix string, dead func(key string) bool) (int, error) {
	places := []string{s.tempFolder(prefix)}
	if prefix == "" {
		err := s.pages(ctx, "", func(page []folderEntry) error {
			for _, entry := range page {
				if entry.IsDir() && entry.Name() != storage.TempElement {
					places = append(places, below(below(s.path(""), entry.Name()), storage.TempElement))
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	n := 0
	for _, place := range places {
		removed, err := s.abortIn(ctx, place, "", dead)
		n += removed
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// abortIn removes the temporary files of dead keys from a folder. begun is what the folder's own name has of their names.
func (s *store) abortIn(ctx context.Context, folder, begun string, dead func(key string) bool) (int, error) {
	var names []string
	err := s.entriesOf(ctx, folder, func(page []folderEntry) error {
		for _, entry := range page {
			names = append(names, entry.Name())
		}
		return nil
	})
	n := 0
	for _, name := range names {
		if err != nil {
			return n, err
		}
		at := below(folder, name)
		if piece, more := strings.CutSuffix(name, pieceEnd); more {
			var removed int
			removed, err = s.abortIn(ctx, at, begun+piece, dead)
			n += removed
			_ = s.pool.call(ctx, func(c *client) error { return c.Remove(at) }) // only if it is empty
			continue
		}
		isScrap := begun == "" && strings.HasPrefix(name, scrap)
		key, notOurs := targetOf(begun + name)
		if !isScrap && (notOurs != nil || !dead(key)) {
			continue
		}
		err = s.pool.call(ctx, func(c *client) error { return c.RemoveAll(at) })
		if err != nil {
			err = plain(err)
		} else if !isScrap {
			n++
		}
	}
	return n, err
}
