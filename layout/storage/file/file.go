// Package file keeps objects as files below one folder of a local (or NFS) file system.
//
// It owns how a file becomes whole, durable and visible in one step, and when a reader may rely on it:
//
//   - A new file has no name until its bytes are synced. If the file system has no unnamed files, it has a name
//     below "_tmp".
//   - Then a hard link gives the file its name. A link never replaces another file.
//   - Then its folder is synced, and every folder above that this process has not yet synced.
//
// A failed sync is never tried again. A failed sync of a file abandons that file. After a failed sync of a folder,
// everything that relies on this folder fails with storage.ErrAbandoned. The syncs cannot be switched off.
//
// The package must not know what the objects mean.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ckptd/ckptd/layout/storage"
)

// Options of Open. The zero value, or nil, means to read and write.
type Options struct {
	// ReadOnly opens an existing folder, creates and syncs nothing, and refuses every mutation. It is for the command
	// line on a bare root, and for roots that belong to others.
	ReadOnly bool
}

// A store is one root folder.
type store struct {
	root     string   // absolute, symbolic links resolved
	identity identity // of the root's folder
	readOnly bool
	kind     string // of the file system
	network  bool   // true for a network file system
	sys      *system
	dirs     *dirs
	unique   string        // the part of temporary names that only this store uses
	sequence atomic.Uint64 // the part of temporary names that counts up

	mu     sync.Mutex
	probed bool // true once probe has found out how files get their names
	named  bool // true if the file system has no unnamed files
}

var _ storage.Store = (*store)(nil)

// Open opens the folder dir as a root; it creates dir and the folders above it if they are missing.
//
// An empty folder is probed at once: a file system without hard links, or without fsync of folders, is refused. A
// folder that holds something is not written to by Open; the first mutation probes it.
func Open(ctx context.Context, dir string, opts *Options) (storage.Opened, error) {
	opened, err := open(ctx, dir, opts, realSystem())
	if err != nil {
		return storage.Opened{}, fmt.Errorf("file: open %s: %w", dir, err)
	}
	return opened, nil
}

func open(ctx context.Context, dir string, opts *Options, sys *system) (storage.Opened, error) {
	if opts == nil {
		opts = &Options{}
	}
	if err := ctx.Err(); err != nil {
		return storage.Opened{}, err
	}
	if dir == "" {
		return storage.Opened{}, errors.New("no folder is named; want file:///path")
	}
	s := &store{readOnly: opts.ReadOnly, sys: sys, unique: newUnique()}
	root, err := openRoot(dir, opts.ReadOnly, sys)
	if err != nil {
		s.root = existing(dir)
		s.kind, s.network = sys.fileSystem(s.root)
		return storage.Opened{}, s.explain(err)
	}
	s.root, s.dirs = root, newDirs(root, sys)
	s.kind, s.network = sys.fileSystem(root)
	if !opts.ReadOnly {
		s.moveUp()
		if err := s.probeIfEmpty(); err != nil {
			return storage.Opened{}, s.explain(err)
		}
	}
	if s.identity, err = rootIdentity(root); err != nil {
		return storage.Opened{}, s.explain(err)
	}
	return storage.Opened{Store: s, Facts: s.facts(), Close: func() error { return nil }}, nil
}

func (s *store) facts() storage.Facts {
	location := url.URL{Scheme: "file", Path: filepath.ToSlash(s.root)}
	facts := storage.Facts{Kind: "file", Location: location.String(), ListShowsPublished: !s.network, InProcess: true, Copies: true,
		Notes: []string{s.kind}, Hazards: s.hazards}
	if s.network {
		facts.Notes = append(facts.Notes,
			s.kind+": listings may come from a cache; several daemons over one root need a mount without attribute caching (noac)")
	}
	if s.named {
		facts.Notes = append(facts.Notes, "no unnamed files (O_TMPFILE): what is unfinished has names below _tmp/")
	}
	return facts
}

// failed wraps an error of any method with the operation and the key.
func (s *store) failed(op, key string, err error) error {
	return &storage.Error{Op: op, Key: key, Err: s.explain(err)}
}

// explain adds hints that the system's error texts lack.
func (s *store) explain(err error) error {
	left := func() string { return s.sys.room(s.root).String() }
	switch { // of bytes or of inodes: the text is the same
	case errors.Is(err, unix.ENOSPC) && left() != "":
		err = fmt.Errorf("%w (%s)", err, left())
	case errors.Is(err, unix.EDQUOT) && left() != "": // the quota can be one that the system does not show
		err = fmt.Errorf("%w (a quota of the user, the group or the folder is used up; the file system itself: %s)", err, left())
	}
	if errors.Is(err, unix.EROFS) {
		err = fmt.Errorf("%w (on %s: mounted for reading only, or the kernel stopped writing after a disk error; see the kernel log)",
			err, s.kind)
	}
	var errno unix.Errno
	if s.network && errors.As(err, &errno) && !absent(err) {
		err = fmt.Errorf("on %s: %w", s.kind, err)
	}
	return err
}

// Create implements storage.Store.
func (s *store) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	t, err := s.begin(ctx, key)
	if err != nil {
		return nil, s.failed("create", key, err)
	}
	return &writer{store: s, ctx: ctx, key: key, temp: t, verifier: storage.NewVerifier(opts)}, nil
}

// Publish implements storage.Store.
func (s *store) Publish(ctx context.Context, key string, data []byte) error {
	t, err := s.begin(ctx, key)
	if err == nil {
		if _, err = s.sys.write(t.f, data); err == nil {
			err = s.finish(ctx, t, key)
		}
		if err == nil {
			s.remember(t, key)
		}
		s.discard(t, key, err == nil)
	}
	if err != nil {
		return s.failed("publish", key, err)
	}
	return nil
}

// remember notes that the object made from t is durable, so that List needs no sync to show it.
func (s *store) remember(t *temp, key string) {
	var st unix.Stat_t
	if err := unix.Fstat(int(t.f.Fd()), &st); err == nil {
		folder, name := s.split(key)
		s.dirs.remember(folder, map[string]stamp{name: stampOf(&st)})
	}
}

// begin checks what every creation needs, and makes the temporary file.
func (s *store) begin(ctx context.Context, key string) (*temp, error) {
	if err := s.writable(ctx); err != nil {
		return nil, err
	}
	if err := storage.ValidateKey(key); err != nil {
		return nil, err
	}
	if err := s.present(); err != nil {
		return nil, err
	}
	return s.newTemp(key)
}

// writable refuses mutations when ctx has ended or the store is read-only.
func (s *store) writable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.readOnly {
		return errors.New("store was opened for reading only")
	}
	return nil
}

// Open implements storage.Store.
func (s *store) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	r, err := s.open(ctx, key, offset, length)
	if err != nil {
		return nil, s.failed("open", key, s.notFound(err))
	}
	return r, nil
}

func (s *store) open(ctx context.Context, key string, offset, length int64) (*rangeReader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := storage.ValidateKey(key); err != nil {
		return nil, err
	}
	// Opening a pipe would wait for its writer for ever, and opening a device may have effects.
	if info, err := os.Stat(s.path(key)); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil, fmt.Errorf("%s is no file (%v)", s.path(key), info.Mode().Type())
	}
	f, err := os.Open(s.path(key))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = storage.ErrNotFound
	}
	if err == nil {
		if length < 0 {
			length = info.Size() - offset
		}
		if offset < 0 || length < 0 || offset > info.Size()-length {
			err = fmt.Errorf("range of %d bytes from %d of an object of %d: %w", length, offset, info.Size(), io.ErrUnexpectedEOF)
		}
	}
	if err == nil && offset > 0 {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &rangeReader{store: s, f: f, key: key, rest: length}, nil
}

// A rangeReader gives exactly rest more bytes, or an error.
type rangeReader struct {
	store *store
	f     *os.File
	key   string
	rest  int64
}

func (r *rangeReader) Read(p []byte) (int, error) {
	if r.rest == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.rest {
		p = p[:r.rest]
	}
	n, err := r.f.Read(p)
	r.rest -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // the file was cut since Open
	}
	if err != nil {
		err = r.store.failed("read", r.key, err)
	}
	return n, err
}

// WriteTo implements io.WriterTo. It hands the file itself to w, so that the system copies to a socket without a buffer.
// An error of w is returned as it is.
func (r *rangeReader) WriteTo(w io.Writer) (int64, error) {
	n, err := io.Copy(w, io.LimitReader(r.f, r.rest))
	r.rest -= n
	if err == nil && r.rest > 0 {
		err = io.ErrUnexpectedEOF // the file was cut since Open
	}
	if _, ours := errors.AsType[*fs.PathError](err); ours || errors.Is(err, io.ErrUnexpectedEOF) {
		err = r.store.failed("read", r.key, err)
	}
	return n, err
}

func (r *rangeReader) Close() error { return r.f.Close() }

// Stat implements storage.Store.
func (s *store) Stat(ctx context.Context, key string) (storage.Info, error) {
	err := ctx.Err()
	if err == nil {
		err = storage.ValidateKey(key)
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(s.path(key))
	}
	if err == nil && info.IsDir() {
		err = storage.ErrNotFound
	}
	if err != nil {
		return storage.Info{}, s.failed("stat", key, s.notFound(err))
	}
	return storage.Info{Key: key, Size: info.Size(), ModTime: info.ModTime()}, nil
}

// path returns the path of a key or a prefix.
func (s *store) path(key string) string { return filepath.Join(s.root, filepath.FromSlash(key)) }

// split returns the folder that holds a key, and the key's name in it.
func (s *store) split(key string) (dir, name string) {
	path := s.path(key)
	return filepath.Dir(path), filepath.Base(path)
}

// next returns the unique part of a name.
func (s *store) next() string { return s.unique + "-" + strconv.FormatUint(s.sequence.Add(1), 10) }

// notFound replaces the system's error for an absent file by ErrNotFound.
func (s *store) notFound(err error) error {
	if !absent(err) && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if err := s.present(); err != nil {
		return err
	}
	return storage.ErrNotFound
}
