// Package mem keeps objects in memory: of jobs whose state is lost with their daemon, for tests, and for benchmarks of
// everything above a store.
//
// It owns a Store made of maps, which Bounded limits, and two decorators that work over any store. Faults makes mutations fail in each way
// that a real store may. Transcript writes down the calls. The package must not know what the objects mean.
package mem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/ckptd/ckptd/layout/storage"
)

// Store is a storage.Store in memory. To play two processes over one root, tests use one Store twice.
type Store struct {
	mu   sync.RWMutex
	root folder
	room *room // nil: there is no limit
}

var _ storage.Store = (*Store)(nil)

// A folder holds the objects and folders directly below it, so that a listing costs what it shows. Store.mu guards
// it.
type folder struct {
	folders map[string]*folder
	objects map[string]object
}

// An object never changes; nothing writes to data once the object is in a folder.
type object struct {
	data    []byte
	modTime time.Time
}

// New returns an empty store.
func New() *Store { return &Store{} }

// Open returns a new, empty store in the form that every driver's constructor returns.
func Open() storage.Opened { return New().Opened() }

// Opened returns the store in the form that every driver's constructor returns. Close does nothing, so the objects
// outlive it.
func (s *Store) Opened() storage.Opened {
	return storage.Opened{
		Store: s,
		Facts: storage.Facts{
			Kind: "mem", Location: "mem:", ListShowsPublished: true,
			Notes: []string{"in memory: gone with the process"},
		},
		Close: func() error { return nil },
	}
}

// Create implements storage.Store.
func (s *Store) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	if err := begin(ctx, key); err != nil {
		return nil, &storage.Error{Op: "create", Key: key, Err: err}
	}
	w := &writer{store: s, ctx: ctx, key: key, verifier: storage.NewVerifier(opts)}
	size := int64(0)
	if opts.HasSize && opts.Size > 0 {
		size = opts.Size
		if s.room == nil { // else the limit bounds it
			size = min(size, 64<<20)
		}
	}
	if err := w.take(Cost(key, size)); err != nil {
		return nil, &storage.Error{Op: "create", Key: key, Err: err}
	}
	w.data = make([]byte, 0, size)
	return w, nil
}

// Publish implements storage.Store.
func (s *Store) Publish(ctx context.Context, key string, data []byte) error {
	err := begin(ctx, key)
	if err == nil {
		cost := Cost(key, int64(len(data)))
		if err = s.room.take(cost, true); err == nil {
			copied := make([]byte, len(data)) // bytes.Clone would take more than it says
			copy(copied, data)
			if err = s.put(key, copied); err != nil {
				s.room.give(cost)
			}
		}
	}
	if err != nil {
		return &storage.Error{Op: "publish", Key: key, Err: err}
	}
	return nil
}

// Open implements storage.Store.
func (s *Store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	o, err := s.get(ctx, key)
	if err == nil {
		size := int64(len(o.data))
		if length < 0 {
			length = size - offset
		}
		if offset >= 0 && length >= 0 && offset <= size-length {
			return io.NopCloser(bytes.NewReader(o.data[offset : offset+length])), nil
		}
		err = fmt.Errorf("range of %d bytes from %d of an object of %d: %w", length, offset, size, io.ErrUnexpectedEOF)
	}
	return nil, &storage.Error{Op: "open", Key: key, Err: err}
}

// Stat implements storage.Store.
func (s *Store) Stat(ctx context.Context, key string) (storage.Info, error) {
	o, err := s.get(ctx, key)
	if err != nil {
		return storage.Info{}, &storage.Error{Op: "stat", Key: key, Err: err}
	}
	return o.info(key), nil
}

// List implements storage.Store. It shows the store as it was when the iteration began.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		err := ctx.Err()
		if err == nil {
			err = storage.ValidatePrefix(prefix)
		}
		if err != nil {
			yield(storage.Info{}, &storage.Error{Op: "list", Key: prefix, Err: err})
			return
		}
		for _, info := range s.infos(prefix) {
			if err := ctx.Err(); err != nil {
				yield(storage.Info{}, &storage.Error{Op: "list", Key: prefix, Err: err})
				return
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, keys []string) []error {
	var errs []error
	for i, key := range keys {
		err := begin(ctx, key)
		if err == nil {
			s.remove(key)
			continue
		}
		if errs == nil {
			errs = make([]error, len(keys))
		}
		errs[i] = &storage.Error{Op: "delete", Key: key, Err: err}
	}
	return errs
}

// AbortUnfinished implements storage.Store. Nothing unfinished has a name here, so there is never anything to do.
func (s *Store) AbortUnfinished(ctx context.Context, prefix string, _ func(string) bool) (int, error) {
	err := ctx.Err()
	if err == nil {
		err = storage.ValidatePrefix(prefix)
	}
	if err != nil {
		return 0, &storage.Error{Op: "abort unfinished", Key: prefix, Err: err}
	}
	return 0, nil
}

func begin(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return storage.ValidateKey(key)
}

func (o object) info(key string) storage.Info {
	return storage.Info{Key: key, Size: int64(len(o.data)), ModTime: o.modTime}
}

// split returns the folder's path without a last "/", and the name in the folder.
func split(key string) (dir, name string) {
	i := strings.LastIndexByte(key, '/')
	return key[:max(i, 0)], key[i+1:]
}

// findLocked walks down to a folder. It returns nil if there is none and create is false.
func (s *Store) findLocked(dir string, create bool) *folder {
	at := &s.root
	if dir == "" {
		return at
	}
	for name := range strings.SplitSeq(dir, "/") {
		next := at.folders[name]
		if next == nil {
			if !create {
				return nil
			}
			next = &folder{}
			if at.folders == nil {
				at.folders = map[string]*folder{}
			}
			at.folders[name] = next
		}
		at = next
	}
	return at
}

func (s *Store) put(key string, data []byte) error {
	dir, name := split(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.findLocked(dir, true)
	if _, ok := at.objects[name]; ok {
		return storage.ErrExists
	}
	if at.objects == nil {
		at.objects = map[string]object{}
	}
	at.objects[name] = object{data: data, modTime: time.Now()}
	return nil
}

func (s *Store) get(ctx context.Context, key string) (object, error) {
	if err := begin(ctx, key); err != nil {
		return object{}, err
	}
	dir, name := split(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if at := s.findLocked(dir, false); at != nil {
		if o, ok := at.objects[name]; ok {
			return o, nil
		}
	}
	return object{}, storage.ErrNotFound
}

// remove deletes an object, and the folders that became empty.
func (s *Store) remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir, name := split(key)
	at := s.findLocked(dir, false)
	if at == nil {
		return
	}
	if o, ok := at.objects[name]; ok {
		s.room.give(Cost(key, int64(cap(o.data))))
		delete(at.objects, name)
	}
	for dir != "" && len(at.objects) == 0 && len(at.folders) == 0 {
		dir, name = split(dir)
		at = s.findLocked(dir, false)
		delete(at.folders, name)
	}
}

func (s *Store) infos(prefix string) []storage.Info {
	s.mu.RLock()
	defer s.mu.RUnlock()
	at := s.findLocked(strings.TrimSuffix(prefix, "/"), false)
	if at == nil {
		return nil
	}
	return at.appendInfos(make([]storage.Info, 0, len(at.objects)), prefix)
}

func (f *folder) appendInfos(infos []storage.Info, prefix string) []storage.Info {
	for name, o := range f.objects {
		infos = append(infos, o.info(prefix+name))
	}
	for name, below := range f.folders {
		infos = below.appendInfos(infos, prefix+name+"/")
	}
	return infos
}

// A writer collects bytes and puts them into the store at Commit.
type writer struct {
	store    *Store
	ctx      context.Context // the context of Create; it also ends the writer
	key      string
	data     []byte
	taken    int64 // of the store's room
	verifier storage.Verifier
	err      error // why no more can be written; errDone after Commit or Abort
}

var errDone = errors.New("the writer was committed or aborted before")

func (w *writer) Write(p []byte) (int, error) {
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err == nil {
		w.err = w.verifier.Add(p)
	}
	if w.err != nil {
		return 0, &storage.Error{Op: "write", Key: w.key, Err: w.err}
	}
	if err := w.grow(len(p)); err != nil {
		w.err = err
		return 0, &storage.Error{Op: "write", Key: w.key, Err: err}
	}
	w.data = append(w.data, p...)
	return len(p), nil
}

// grow makes room for n more bytes. The capacity is doubled if the store has so much room, because append grows large
// slices only by a quarter.
func (w *writer) grow(n int) error {
	if cap(w.data)-len(w.data) >= n {
		return nil
	}
	size := len(w.data) + max(n, len(w.data))
	if err := w.take(int64(size)); err != nil {
		size = len(w.data) + n
		if err := w.take(int64(size)); err != nil {
			return err
		}
	}
	w.move(size)
	return nil
}

// move moves the bytes into a slice of this capacity, for which the room is taken.
func (w *writer) move(size int) {
	larger := make([]byte, len(w.data), size)
	copy(larger, w.data)
	w.give(int64(cap(w.data)))
	w.data = larger
}

func (w *writer) take(n int64) error {
	err := w.store.room.take(n, false)
	if err == nil {
		w.taken += n
	}
	return err
}

func (w *writer) give(n int64) {
	w.store.room.give(n)
	w.taken -= n
}

// end ends the writer, and gives back what it still has taken.
func (w *writer) end() {
	w.give(w.taken)
	w.data, w.err = nil, errDone
}

func (w *writer) Commit() error {
	err := w.err
	if err == nil {
		err = w.ctx.Err()
	}
	if err == nil {
		err = w.verifier.Check()
	}
	if err == nil && len(w.data) < cap(w.data) && w.take(int64(len(w.data))) == nil { // the object keeps no spare bytes
		w.move(len(w.data))
	}
	if err == nil {
		if err = w.store.put(w.key, w.data); err == nil {
			w.taken = 0 // the object has it
		}
	}
	w.end()
	if err != nil {
		return &storage.Error{Op: "commit", Key: w.key, Err: err}
	}
	return nil
}

func (w *writer) Abort() { w.end() }
