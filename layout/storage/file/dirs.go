package file

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/ckptd/ckptd/layout/storage"
)

// dirs knows what this process has synced of the folders below a root, and shares one fsync between all who wait for one.
type dirs struct {
	root string
	sys  *system

	mu sync.Mutex
	// groups of callers that wait for a sync of one folder; only while some do. Callers hold the folder open, so the
	// identity cannot be used again meanwhile.
	groups map[identity]*group
	// durable folders: this process has synced the folder above since the folder had this identity. May forget, never invents.
	durable map[string]identity
	// names in small folders that are durable for certain, so that showing them needs no sync: the journal's, mostly. Likewise. Each
	// with the file that had it: another process may have deleted that one, and be about to make another of the same name.
	names map[string]map[string]stamp
	// failed folders: a sync failed once; that a later one succeeds would prove nothing.
	failed map[string]error
}

// The bounds of what dirs remembers; forgetting costs a sync, never safety.
const (
	maxDurable = 1 << 16
	maxFolders = 1 << 12
	maxNames   = 32
)

// An identity is one folder through its whole life.
type identity struct {
	dev, ino uint64
	birth    int64 // ns
}

// A stamp tells a file from others that have its name later.
type stamp struct {
	ino     uint64
	written int64 // ns
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{written: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.ino = uint64(st.Ino)
	}
	return s
}

// A dir is an open folder.
type dir struct {
	f      *os.File
	path   string
	id     identity
	stable bool // id tells it from every other that ever had its path
}

// A group is the callers that wait for one folder: those whose sync runs, and those who came after it began.
type group struct {
	running, next *batch
}

// A batch is the callers that share one sync.
type batch struct {
	done chan struct{} // closed when err is set
	err  error
}

func newDirs(root string, sys *system) *dirs {
	return &dirs{
		root: root, sys: sys,
		groups:  map[identity]*group{},
		durable: map[string]identity{},
		names:   map[string]map[string]stamp{},
		failed:  map[string]error{},
	}
}

func (d *dirs) open(path string) (*dir, error) {
	f, err := d.sys.openDir(path)
	if err != nil {
		return nil, err
	}
	id, stable, err := d.sys.identify(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &dir{f: f, path: path, id: id, stable: stable}, nil
}

// settle makes every name in the folder durable, and the folder itself, up to the root. A failure is remembered for ever.
func (d *dirs) settle(at *dir) error {
	if err := d.reach(at); err != nil {
		return err
	}
	return d.sync(at)
}

// reach makes the folder itself durable: all folders above it are synced by this process once, after it saw the folder there.
func (d *dirs) reach(at *dir) error {
	if at.path == d.root || d.isDurable(at) {
		return nil
	}
	above, err := d.open(filepath.Dir(at.path))
	if err != nil {
		return err
	}
	defer above.f.Close()
	if err := d.settle(above); err != nil {
		return err
	}
	if at.stable {
		d.mu.Lock()
		if len(d.durable) >= maxDurable {
			clear(d.durable)
		}
		d.durable[at.path] = at.id
		d.mu.Unlock()
	}
	return nil
}

func (d *dirs) isDurable(at *dir) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, ok := d.durable[at.path]
	return ok && at.stable && id == at.id
}

// sync returns after an fsync of the folder that began after sync was called. Whoever comes while one runs waits for the next,
// together with all others who do.
func (d *dirs) sync(at *dir) error {
	d.mu.Lock()
	if err := d.failed[at.path]; err != nil {
		d.mu.Unlock()
		return err
	}
	g := d.groups[at.id]
	if g == nil {
		g = &group{}
		d.groups[at.id] = g
	}
	if b := g.next; b != nil {
		d.mu.Unlock()
		<-b.done
		return b.err
	}
	b := &batch{done: make(chan struct{})}
	g.next = b
	if before := g.running; before != nil {
		d.mu.Unlock()
		<-before.done
		d.mu.Lock()
	}
	g.running, g.next = b, nil
	d.mu.Unlock()

	err := d.sys.syncDir(at.f)

	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		b.err = fmt.Errorf("%w: fsync of folder %s failed: %w", storage.ErrAbandoned, at.path, err)
		d.failed[at.path] = b.err
	} else if err := d.failed[at.path]; err != nil {
		b.err = err
	}
	if g.running == b {
		g.running = nil
	}
	if g.running == nil && g.next == nil {
		delete(d.groups, at.id)
	}
	close(b.done)
	return b.err
}

// broken says why nothing in the folder can be relied on any more; nil if it can.
func (d *dirs) broken(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed[path]
}

// remember that these names in the folder are durable.
func (d *dirs) remember(path string, names map[string]stamp) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.names) >= maxFolders && d.names[path] == nil {
		clear(d.names)
	}
	known := d.names[path]
	if known == nil || len(known)+len(names) > maxNames {
		known = make(map[string]stamp, len(names))
		d.names[path] = known
	}
	maps.Copy(known, names)
}

// knows tells whether every one of the names is durable for certain.
func (d *dirs) knows(path string, names map[string]stamp) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.names[path]
	if len(names) > len(known) {
		return false
	}
	for name, is := range names {
		if was, ok := known[name]; !ok || was != is {
			return false
		}
	}
	return true
}

// forget one name, because it is being deleted.
func (d *dirs) forget(path, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.names[path], name)
	if len(d.names[path]) == 0 {
		delete(d.names, path)
	}
}

// prune removes the folder if it is empty, then the one above it, and so on, but never the root.
func (d *dirs) prune(path string) {
	for path != d.root && len(path) > len(d.root) {
		if err := d.sys.rmdir(path); err != nil && !absent(err) {
			return // not empty, mostly; an empty folder that stays does no harm
		}
		d.mu.Lock()
		delete(d.durable, path)
		delete(d.names, path)
		d.mu.Unlock()
		path = filepath.Dir(path)
	}
}

// mkdirAll makes the folder and those above it, below the root. They become durable when something in them does.
func (d *dirs) mkdirAll(path string) error {
	err := d.sys.mkdir(path)
	if err == nil || errors.Is(err, os.ErrExist) {
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) || path == d.root {
		return err
	}
	if err := d.mkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	if err := d.sys.mkdir(path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}
