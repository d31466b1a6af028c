package file

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"

	"github.com/ckptd/ckptd/layout/storage"
)

// listBatch is the number of a folder's names that are in memory at once and share a sync before they are shown.
const listBatch = 1024

// List implements storage.Store. It shows everything that is not a folder, special files too, so that a foreign root
// never looks empty.
func (s *store) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		w := &walk{store: s, ctx: ctx, yield: yield}
		err := storage.ValidatePrefix(prefix)
		if err == nil {
			err = w.folder(prefix)
		}
		err = s.complete(err)
		if err != nil && !errors.Is(err, errStopped) {
			yield(storage.Info{}, s.failed("list", prefix, err))
		}
	}
}

// Folders implements storage.FolderLister.
func (s *store) Folders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := ctx.Err()
		if err == nil {
			err = storage.ValidatePrefix(prefix)
		}
		if err == nil {
			err = s.folders(prefix, func(name string) bool { return yield(name, nil) })
		}
		err = s.complete(err)
		if err != nil && !errors.Is(err, errStopped) {
			yield("", s.failed("list", prefix, err))
		}
	}
}

// folders shows the folders directly below prefix.
func (s *store) folders(prefix string, show func(name string) bool) error {
	f, err := s.sys.openDir(s.path(prefix))
	if absent(err) && prefix != "" {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(listBatch)
		if err == io.EOF || absent(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if entry.IsDir() && entry.Name() != storage.TempElement && !show(entry.Name()) {
				return errStopped
			}
		}
	}
}

// complete judges the end of a list. If the root's path leads elsewhere by now, the list may have missed objects.
func (s *store) complete(err error) error {
	if err == nil || absent(err) {
		if elsewhere := s.present(); elsewhere != nil {
			return elsewhere
		}
	}
	return err
}

// errStopped is returned when the caller ends the iteration.
var errStopped = errors.New("iteration stopped")

// A walk is one call of List.
type walk struct {
	store *store
	ctx   context.Context // for this one call
	yield func(storage.Info, error) bool
}

// folder shows the objects below prefix, which is "" or ends with "/".
func (w *walk) folder(prefix string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	at, err := w.store.dirs.open(w.store.path(prefix))
	switch {
	case absent(err) && prefix != "":
		return nil
	case errors.Is(err, os.ErrPermission) && prefix == "lost+found/":
		return nil // every fresh ext4 has it, and only root may read it
	case err != nil:
		return err
	}
	defer at.f.Close()
	for first := true; ; first = false {
		entries, err := at.f.ReadDir(listBatch)
		if err == io.EOF || absent(err) {
			return nil
		}
		if err != nil {
			return err
		}
		last := len(entries) < listBatch
		if err := w.entries(at, prefix, entries, first && last); err != nil || last {
			return err
		}
	}
}

// entries shows one batch of a folder's entries, and then the folders in it. all: the batch is the whole folder.
func (w *walk) entries(at *dir, prefix string, entries []fs.DirEntry, all bool) error {
	infos, below, err := w.look(at, prefix, entries, all)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if !w.yield(info, nil) {
			return errStopped
		}
	}
	for _, prefix := range below {
		if err := w.folder(prefix); err != nil {
			return err
		}
	}
	return nil
}

// look returns the files of a batch, which are durable then, and the folders in it.
func (w *walk) look(at *dir, prefix string, entries []fs.DirEntry, all bool) (infos []storage.Info, below []string, err error) {
	defer w.store.dirs.watch(at.path)()
	infos = make([]storage.Info, 0, len(entries))
	names := make(map[string]stamp, min(len(entries), maxNames))
	for _, entry := range entries {
		if entry.IsDir() {
			if entry.Name() != storage.TempElement {
				below = append(below, prefix+entry.Name()+"/")
			}
			continue
		}
		st, err := statIn(at.f, entry.Name())
		if absent(err) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, nil, err
		}
		infos = append(infos, storage.Info{Key: prefix + entry.Name(), Size: st.Size, ModTime: time.Unix(st.Mtim.Unix())})
		if len(entries) <= maxNames {
			names[entry.Name()] = stampOf(&st)
		}
	}
	return infos, below, w.settle(at, len(infos), names, all)
}

// settle makes durable what is about to be shown. Its writer may be another process that has linked the file but not
// yet synced the folder; a reader must not act on a file that a power cut could take away.
//
// names are the files of the batch, unless there are too many to remember.
func (w *walk) settle(at *dir, files int, names map[string]stamp, all bool) error {
	if files == 0 || w.store.readOnly {
		return nil
	}
	dirs := w.store.dirs
	if err := dirs.broken(at.path); err != nil {
		return err
	}
	if len(names) == files && dirs.knows(at.path, names) {
		return nil
	}
	if err := dirs.settle(at, nil); err != nil {
		if absent(err) {
			return nil // the folder was removed meanwhile, so none of its files is shown as durable
		}
		return err
	}
	if all && len(names) == files {
		dirs.rememberListed(at.path, names)
	}
	return nil
}
