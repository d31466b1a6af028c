package hdfs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"

	"github.com/colinmarc/hdfs/v2"
	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/layout/storage"
)

const (
	// pageSize is how many entries a NameNode gives at once by default.
	pageSize = 1000
	// lookers is how many folders are looked at at once; lookersFrom is from how many on.
	lookers     = 4
	lookersFrom = 8
)

// List implements storage.Store.
func (s *store) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		err := ctx.Err()
		if err == nil {
			err = storage.ValidatePrefix(prefix)
		}
		if err == nil {
			err = s.list(ctx, prefix, yield)
		}
		if err != nil && err != errStopped {
			yield(storage.Info{}, &storage.Error{Op: "list", Key: prefix, Err: err})
		}
	}
}

var errStopped = errors.New("the caller has seen enough")

// list shows the objects below prefix: those directly in its folder, then those of each folder in it.
func (s *store) list(ctx context.Context, prefix string, yield func(storage.Info, error) bool) error {
	return s.pages(ctx, prefix, func(page []folderEntry) error {
		found, err := s.sort(ctx, prefix, page)
		if err != nil {
			return err
		}
		for _, info := range found.objects {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !yield(info, nil) {
				return errStopped
			}
		}
		for _, name := range found.folders {
			if err := s.list(ctx, prefix+name+"/", yield); err != nil {
				return err
			}
		}
		return nil
	})
}

// Folders implements storage.FolderLister.
func (s *store) Folders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := ctx.Err()
		if err == nil {
			err = storage.ValidatePrefix(prefix)
		}
		if err == nil {
			err = s.pages(ctx, prefix, func(page []folderEntry) error {
				found, err := s.sort(ctx, prefix, page)
				if err != nil {
					return err
				}
				for _, name := range found.folders {
					if !yield(name, nil) {
						return errStopped
					}
				}
				return nil
			})
		}
		if err != nil && err != errStopped {
			yield("", &storage.Error{Op: "list", Key: prefix, Err: err})
		}
	}
}

// A folderEntry is one entry of a folder.
type folderEntry = fs.FileInfo

// pages shows the entries of a prefix's folder page by page.
func (s *store) pages(ctx context.Context, prefix string, show func([]folderEntry) error) error {
	return s.entriesOf(ctx, s.path(prefix), show)
}

// entriesOf shows the entries of a folder page by page. A folder that does not exist has none.
func (s *store) entriesOf(ctx context.Context, path string, show func([]folderEntry) error) error {
	c, err := s.pool.take(ctx)
	if err != nil {
		return plain(err)
	}
	sound := false
	defer func() {
		if sound && ctx.Err() == nil {
			s.pool.give(c)
		} else {
			c.drop()
		}
	}()
	next := func() ([]folderEntry, error) { return nil, nil }
	err = s.read(ctx, c, func() error {
		folder, err := c.Open(path)
		if err == nil && folder.Stat().IsDir() {
			next = func() ([]folderEntry, error) { return folder.Readdir(pageSize) }
		}
		return err
	})
	for err == nil {
		var page []folderEntry
		err = s.read(ctx, c, func() (err error) {
			page, err = next()
			return err
		})
		if len(page) == 0 || err != nil && err != io.EOF {
			break
		}
		if err := show(page); err != nil {
			sound = true
			return err
		}
		if len(page) < pageSize {
			break
		}
	}
	sound = kindOf(err) < unsent || err == io.EOF
	if err == nil || err == io.EOF || kindOf(err) == absent {
		return nil
	}
	return plain(err)
}

// read makes calls with a client that the caller holds. They end with ctx.
func (s *store) read(ctx context.Context, c *client, do func() error) error {
	stop := context.AfterFunc(ctx, c.link.cut)
	err := do()
	if !stop() {
		return ctx.Err()
	}
	return err
}

// A sorted page has objects and folders, without what belongs to the driver.
type sorted struct {
	objects []storage.Info
	folders []string
}

// sort tells the folders of a page that are objects from those that hold objects. The former have one entry.
func (s *store) sort(ctx context.Context, prefix string, page []folderEntry) (sorted, error) {
	var all sorted
	var single []string
	for _, entry := range page {
		name := unescape(entry.Name())
		switch {
		case name == storage.TempElement || name == dataName:
		case !entry.IsDir():
			all.objects = append(all.objects, storage.Info{Key: prefix + name, Size: entry.Size(), ModTime: entry.ModTime()})
		case entries(entry) == 0: // emptied, or just made
		case entries(entry) == 1:
			single = append(single, name)
		default:
			all.folders = append(all.folders, name)
		}
	}
	infos := make([]storage.Info, len(single))
	g, ctx := errgroup.WithContext(ctx)
	workers := 1
	if len(single) >= lookersFrom {
		workers = lookers
	}
	for w := range workers {
		g.Go(func() error {
			return s.pool.call(ctx, func(c *client) error {
				for i := w; i < len(single); i += workers {
					info, err := c.Stat(below(s.path(prefix+single[i]), dataName))
					if kindOf(err) == absent {
						continue
					}
					if err != nil {
						return err
					}
					infos[i] = storage.Info{Key: prefix + single[i], Size: info.Size(), ModTime: info.ModTime()}
				}
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		return sorted{}, plain(err)
	}
	for i, info := range infos {
		if info.Key == "" {
			all.folders = append(all.folders, single[i])
		} else {
			all.objects = append(all.objects, info)
		}
	}
	return all, nil
}

// entries returns how many entries a folder has, as its status says; 1 if the NameNode does not say.
func entries(folder folderEntry) int {
	status, ok := folder.Sys().(*hdfs.FileStatus)
	if !ok || status.ChildrenNum == nil || *status.ChildrenNum < 0 {
		return 1
	}
	return int(*status.ChildrenNum)
}
