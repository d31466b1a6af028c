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
	"time"

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
	// coming are the files whose bytes are being synced, by folder: each will soon want a sync of it.
	coming map[string]*crowd
	// took is how long the last sync of a folder took.
	took time.Duration
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

// A crowd is so many files that come together.
type crowd struct {
	n    int
	none chan struct{} // closed when n is 0
}

// An arrival is one of a crowd.
type arrival struct {
	dirs  *dirs
	path  string
	crowd *crowd // nil: it has come, or will not
}

// maxWait bounds how long a sync of a folder waits for files that are coming.
const maxWait = 2 * time.Millisecond

// A batch is the callers that share one sync.
type batch struct {
	done chan struct{} // closed when err is set
	err  error
}

func newDirs(root string, sys *system) *dirs {
	return &dirs{
		root: root, sys: sys,
		groups:  map[identity]*group{},
		coming:  map[string]*crowd{},
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

// settle makes every name in the folder durable, and the folder itself, up to the root. A failure is remembered for ever. Whoever was expected
// there is a; nobody is nil.
func (d *dirs) settle(at *dir, a *arrival) error {
	if err := d.reach(at); err != nil {
		return err
	}
	return d.sync(at, a)
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
	if err := d.settle(above, nil); err != nil {
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
func (d *dirs) sync(at *dir, a *arrival) error {
	d.mu.Lock()
	a.has()
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
	d.awaitCrowd(at.path)
	g.running, g.next = b, nil
	d.mu.Unlock()

	began := time.Now()
	err := d.sys.syncDir(at.f)

	d.mu.Lock()
	defer d.mu.Unlock()
	d.took = time.Since(began)
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

// expect says that a file is about to want a sync of the folder: until it asks for that, or leaves.
func (d *dirs) expect(path string) *arrival {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.coming[path]
	if c == nil {
		c = &crowd{none: make(chan struct{})}
		d.coming[path] = c
	}
	c.n++
	return &arrival{d, path, c}
}

// leave does nothing for one that is not expected any more.
func (a *arrival) leave() {
	a.dirs.mu.Lock()
	defer a.dirs.mu.Unlock()
	a.has()
}

// has come. dirs.mu is held.
func (a *arrival) has() {
	if a == nil || a.crowd == nil {
		return
	}
	if a.crowd.n--; a.crowd.n == 0 {
		close(a.crowd.none)
		delete(a.dirs.coming, a.path)
	}
	a.crowd = nil
}

// awaitCrowd lets others arrive before a sync that they then share: of files synced at the same time the first would otherwise have one for
// itself, and the others wait for that and for theirs. It waits for at most half of what a sync takes. d.mu is held, but for the wait.
func (d *dirs) awaitCrowd(path string) {
	c, wait := d.coming[path], min(d.took/2, maxWait)
	if c == nil || wait == 0 {
		return
	}
	d.mu.Unlock()
	timer := time.NewTimer(wait)
	select {
	case <-c.none:
	case <-timer.C:
	}
	timer.Stop()
	d.mu.Lock()
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

// mkdirAll makes the folder and those above it, below the root. They become durable when something in them does. A root that is not there
// any more is not made again: another folder in its place would hold a part of what belongs together.
func (d *dirs) mkdirAll(path string) error {
	if path == d.root {
		_, err := os.Stat(path)
		return err
	}
	err := d.sys.mkdir(path)
	if err == nil || errors.Is(err, os.ErrExist) {
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) {
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
