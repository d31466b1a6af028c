package file

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ckptd/ckptd/layout/storage"
)

// dirs records what this process has synced of the folders below a root, and lets all waiting callers share one
// fsync.
type dirs struct {
	root string
	sys  *system

	mu sync.Mutex
	// groups are the callers that wait for a sync of one folder. An entry exists only while callers wait. Callers
	// hold the folder open, so the file system cannot give its identity to another folder meanwhile.
	groups map[identity]*group
	// coming counts, for each folder, the files whose bytes are being synced: each of them will soon need a sync of
	// the folder.
	coming map[string]*crowd
	// took is how long the last sync of a folder took.
	took time.Duration
	// durable are folders whose parent this process has synced since the folder had this identity. dirs may forget an
	// entry; it never invents one.
	durable map[string]identity
	// names are files in small folders (mostly journals) that are durable for certain, so that List need not sync to
	// show them. Here, too, entries may be forgotten. Each name has the stamp of its file: another process may have
	// deleted that file, and may be making another of the same name.
	names map[string]map[string]stamp
	// below are, for some folders, a folder in them that names has.
	below map[string]string
	// watched are the folders whose files a list is looking at.
	watched map[string]*watch
	// failed are folders for which a sync failed once. A later success would prove nothing.
	failed map[string]error
}

// The bounds of what dirs remembers. Forgetting costs a sync, never safety.
const (
	maxDurable = 1 << 16
	maxFolders = 1 << 12
	maxNames   = 32
)

// A watch tells the lists of one folder that a file was deleted while they looked at it. They may have seen that file.
type watch struct {
	lists   int
	deleted bool
}

// An identity tells a folder from every other folder that has had the same path.
type identity struct {
	dev, ino uint64
	birth    int64 // ns
}

// A stamp tells a file from other files that have the same name later.
type stamp struct {
	ino     uint64
	written int64 // ns
}

func stampOf(st *unix.Stat_t) stamp { return stamp{ino: uint64(st.Ino), written: st.Mtim.Nano()} }

// A dir is an open folder.
type dir struct {
	f      *os.File
	path   string
	id     identity
	stable bool // true if id differs from that of every other folder that ever had this path
}

// A group is the callers that wait for one folder: the batch whose sync runs, and the batch that came after its
// start.
type group struct {
	running, next *batch
}

// A crowd counts the files that are about to need a sync of the same folder.
type crowd struct {
	n    int
	none chan struct{} // closed when n is 0
}

// An arrival is one file of a crowd.
type arrival struct {
	dirs  *dirs
	path  string
	crowd *crowd // nil once the file has asked for its sync, or has given up
}

// maxWait bounds how long a sync of a folder waits for the files that are coming.
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
		below:   map[string]string{},
		watched: map[string]*watch{},
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

// settle makes every name in the folder durable, and the folder itself, up to the root. A failure is remembered for
// ever. a is the caller's arrival in the crowd of this folder; nil if the caller did not call expect.
func (d *dirs) settle(at *dir, a *arrival) error {
	if err := d.reach(at); err != nil {
		return err
	}
	return d.sync(at, a)
}

// reach makes the folder itself durable: this process syncs every folder above it once, after it has seen the folder
// there.
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

// sync returns after an fsync of the folder that began after sync was called. A caller that comes while an fsync runs
// waits for the next one and shares it with all others that wait.
func (d *dirs) sync(at *dir, a *arrival) error {
	d.mu.Lock()
	a.endLocked()
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
	d.awaitCrowdLocked(at.path)
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

// expect announces a file that will soon need a sync of the folder. The announcement ends with sync or with leave.
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

// leave withdraws the announcement; it does nothing if the file has already asked for its sync.
func (a *arrival) leave() {
	a.dirs.mu.Lock()
	defer a.dirs.mu.Unlock()
	a.endLocked()
}

// endLocked takes the file out of its crowd. The caller holds dirs.mu.
func (a *arrival) endLocked() {
	if a == nil || a.crowd == nil {
		return
	}
	if a.crowd.n--; a.crowd.n == 0 {
		close(a.crowd.none)
		delete(a.dirs.coming, a.path)
	}
	a.crowd = nil
}

// awaitCrowdLocked lets other files arrive before a sync, so that they share it. Without the wait, the first of several
// files would have a sync of its own, and the others would wait for two syncs.
//
// It waits at most half as long as a sync takes. The caller holds d.mu; awaitCrowdLocked releases it while it waits.
func (d *dirs) awaitCrowdLocked(path string) {
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

// broken returns the error of a failed sync of the folder: nothing in it can be relied on any more. Otherwise it
// returns nil.
func (d *dirs) broken(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed[path]
}

// remember notes that these names in the folder are durable.
func (d *dirs) remember(path string, names map[string]stamp) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keep(path, names)
}

// keep adds names. d.mu is held.
func (d *dirs) keep(path string, names map[string]stamp) {
	if len(d.names) >= maxFolders && d.names[path] == nil {
		for any := range d.names { // one makes room; without all of them, each of many journals would be synced again
			delete(d.names, any)
			delete(d.below, filepath.Dir(any))
			break
		}
	}
	d.below[filepath.Dir(path)] = path
	known := d.names[path]
	if known == nil || len(known)+len(names) > maxNames {
		known = make(map[string]stamp, len(names))
		d.names[path] = known
	}
	maps.Copy(known, names)
}

// watch begins to note whether a file of the folder is deleted, until the function that it returns is called.
func (d *dirs) watch(path string) (end func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.watched[path]
	if w == nil {
		w = &watch{}
		d.watched[path] = w
	}
	w.lists++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if w.lists--; w.lists == 0 {
			delete(d.watched, path)
		}
	}
}

// rememberListed is remember for a list that watches the folder. If a file was deleted meanwhile, it remembers nothing: a name without
// a file would keep the empty folder from being removed.
func (d *dirs) rememberListed(path string, names map[string]stamp) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.watched[path].deleted {
		d.keep(path, names)
	}
}

// knows reports whether every one of the names is durable for certain.
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

// forget drops one name, because the file is being deleted, or was.
func (d *dirs) forget(path, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w := d.watched[path]; w != nil {
		w.deleted = true
	}
	delete(d.names[path], name)
	if len(d.names[path]) == 0 {
		delete(d.names, path)
	}
}

// prune removes the folder if it is empty, then the one above it, and so on, but never the root.
func (d *dirs) prune(path string) {
	for path != d.root && len(path) > len(d.root) && !d.holds(path) {
		if err := d.sys.rmdir(path); err != nil && !absent(err) {
			return // mostly because the folder is not empty; an empty folder that stays does no harm
		}
		d.mu.Lock()
		delete(d.durable, path)
		delete(d.names, path)
		delete(d.below, path)
		d.mu.Unlock()
		path = filepath.Dir(path)
	}
}

// holds reports whether the folder certainly is not empty, because a file in it or below it is known. It spares a call that
// would fail after each delete.
func (d *dirs) holds(path string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.names[path]) > 0 || len(d.names[d.below[path]]) > 0
}

// mkdirAll makes the folder and those above it, below the root. They become durable with the first object in them. A
// missing root is not made again: a new folder would hold only a part of the root's files.
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
