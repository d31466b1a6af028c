// Package hdfs keeps objects in a folder of HDFS.
//
// It owns how an object becomes whole and durable there, and what may be concluded from a reply, or from none:
//
//   - Every object is written below _tmp, closed until the NameNode says that it is whole, and measured, before its name is
//     touched. HDFS shows a file as soon as it is begun, and cannot tell a half file from a whole one.
//   - Publish, and Create with IfAbsent, rename a fresh folder with one file onto the key. The NameNode lets one win.
//   - Other objects are renamed to their key, which nobody else uses.
//   - Each file has a number that HDFS gives only once. Whether a rename whose reply was lost took place is read back by it.
//   - A client of the library whose connection failed is thrown away. Its calls, bounded in time, are never repeated by it.
//
// The package must not know what the objects mean.
package hdfs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/ckptd/ckptd/layout/storage"
)

// A store is one folder of HDFS.
type store struct {
	config  Config
	cluster cluster
	pool    *pool
	// repeats is called before a request is repeated.
	repeats atomic.Pointer[func(cause error)]
}

var _ storage.Store = (*store)(nil)

// Open opens a store, and looks once at its folder, so that wrong addresses and users are reported at once. It writes
// nothing.
func Open(ctx context.Context, c Config) (storage.Opened, error) {
	opened, err := open(ctx, c)
	if err != nil {
		return storage.Opened{}, fmt.Errorf("hdfs: open %s: %w", c, err)
	}
	return opened, nil
}

func open(ctx context.Context, c Config) (storage.Opened, error) {
	if err := ctx.Err(); err != nil {
		return storage.Opened{}, err
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if !strings.HasPrefix(c.Path, "/") || c.Path == "/" {
		return storage.Opened{}, errors.New("no folder is named")
	}
	found, err := resolve(c)
	if err != nil {
		return storage.Opened{}, err
	}
	s := &store{config: c, cluster: found}
	s.pool = &pool{options: found.options, timeout: func() *link { return newLink(c.Timeout) }}
	if err := s.look(ctx); err != nil {
		s.close()
		return storage.Opened{}, err
	}
	shown := c
	if shown.Timeout == defaultTimeout {
		shown.Timeout = 0
	}
	facts := storage.Facts{Kind: "hdfs", Location: shown.String(), Notes: s.notes(), Hazards: s.hazards}
	facts.Repeats = func(listener func(error)) { s.repeats.Store(&listener) }
	if !c.ReadOnly {
		facts.Settle = s.settle
	}
	return storage.Opened{Store: s, Facts: facts, Close: func() error { s.close(); return nil }}, nil
}

func (s *store) close() {
	s.pool.shut()
	if s.cluster.kerberos != nil {
		s.cluster.kerberos.Destroy()
	}
}

// Flags of a file's status.
const (
	flagEncrypted    = 2
	flagErasureCoded = 4
	flagSnapshots    = 8
)

// look refuses folders in which the library would write bytes that no other client can read. It gets the NameNode's
// defaults where nothing else is said.
func (s *store) look(ctx context.Context) error {
	var folders []folder
	err := s.pool.call(ctx, func(c *client) error {
		defaults, err := c.ServerDefaults()
		if err != nil {
			return err
		}
		if s.cluster.replication == 0 {
			s.cluster.replication = defaults.Replication
		}
		if s.cluster.blockSize == 0 {
			s.cluster.blockSize = defaults.BlockSize
		}
		folders, err = s.lineage(c)
		return err
	})
	if err != nil {
		return s.advise(err)
	}
	for _, f := range folders {
		if err := fit(f); err != nil {
			return err
		}
	}
	if n := len(folders); n > 0 && !folders[n-1].isFolder {
		return fmt.Errorf("%s is a file, want a folder", folders[n-1].path)
	}
	return nil
}

// A folder is the root, or a folder above it.
type folder struct {
	path     string
	flags    uint32
	isFolder bool
}

// lineage returns the folders from / to the root, as far as they exist.
func (s *store) lineage(c *client) ([]folder, error) {
	all, path := []folder{}, ""
	for _, element := range strings.Split(s.config.Path, "/") {
		if path = below(path, element); element == "" {
			path = "/"
		}
		info, err := c.Stat(path)
		if kindOf(err) == absent {
			break
		}
		if err != nil {
			return nil, err
		}
		f := folder{path: path, isFolder: info.IsDir()}
		if status, ok := info.Sys().(*hdfs.FileStatus); ok {
			f.flags = status.GetFlags()
		}
		all = append(all, f)
	}
	return all, nil
}

// fit refuses a folder by the flags of its status.
func fit(f folder) error {
	switch {
	case f.flags&flagEncrypted != 0:
		return fmt.Errorf("%w: %s is an encryption zone, where ckptd would write bytes that are not encrypted; use a folder outside of it, and encrypt the disks or the state",
			storage.ErrUnfit, f.path)
	case f.flags&flagErasureCoded != 0:
		return fmt.Errorf("%w: %s is erasure coded, which ckptd cannot write; set a folder to replication (hdfs ec -setPolicy -replicate)", storage.ErrUnfit, f.path)
	}
	return nil
}

// advise adds to the error of a first call what to do.
func (s *store) advise(err error) error {
	switch kindOf(err) {
	case unsent, lost:
		return fmt.Errorf("%w; are these the RPC addresses of the NameNodes (%s), and is one active?", plain(err), strings.Join(s.cluster.options.Addresses, ", "))
	}
	return plain(err)
}

func (s *store) notes() []string {
	user := s.cluster.options.User
	if s.cluster.kerberos != nil {
		user = s.cluster.kerberos.Credentials.CName().PrincipalNameString() + " (Kerberos)"
	}
	return []string{
		fmt.Sprintf("NameNode %s, user %s", strings.Join(s.cluster.options.Addresses, " or "), user),
		fmt.Sprintf("replication %d, blocks of %d MiB", s.cluster.replication, s.cluster.blockSize>>20),
	}
}

// Publish implements storage.Store.
func (s *store) Publish(ctx context.Context, key string, data []byte) error {
	err := s.writable(ctx, key)
	if err == nil {
		err = s.publish(ctx, key, data)
	}
	if err != nil {
		return &storage.Error{Op: "publish", Key: key, Err: err}
	}
	return nil
}

func (s *store) publish(ctx context.Context, key string, data []byte) error {
	st, err := s.stageBytes(ctx, key, true, data)
	if err != nil {
		return err
	}
	return s.place(ctx, st)
}

// Create implements storage.Store.
func (s *store) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	if err := s.writable(ctx, key); err != nil {
		return nil, &storage.Error{Op: "create", Key: key, Err: err}
	}
	return &writer{store: s, ctx: ctx, key: key, opts: opts, verifier: storage.NewVerifier(opts)}, nil
}

var errReadOnly = errors.New("store was opened for reading only")

// writable refuses mutations when ctx has ended or the store is read-only.
func (s *store) writable(ctx context.Context, key string) error {
	if err := s.usable(ctx, key); err != nil {
		return err
	}
	if s.config.ReadOnly {
		return errReadOnly
	}
	return nil
}

func (s *store) usable(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return storage.ValidateKey(key)
}

// repeated tells the listener that a request is about to be repeated.
func (s *store) repeated(cause error) {
	if listener := s.repeats.Load(); listener != nil {
		(*listener)(cause)
	}
}

// pause waits before a request is repeated, ever longer. It returns false once ctx has ended.
func pause(ctx context.Context, try int) bool {
	wait := min(50*time.Millisecond<<min(try, 10), time.Second)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// afterwards returns a context for what must be tried even though the caller's context has ended.
func (s *store) afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), min(s.config.Timeout, afterTime))
}

// afterTime bounds the removal of what a given up mutation leaves.
const afterTime = 10 * time.Second
