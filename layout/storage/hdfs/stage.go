package hdfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/ckptd/ckptd/layout/storage"
)

// A staged object lies below _tmp, under a name that nobody else knows. Its client is its own until it is whole, so that a
// broken one can be cut off without harm to others.
type staged struct {
	store *store
	key   string
	// path is what will be renamed: a file, or a folder that holds the file.
	path, file string
	folder     bool
	size       int64
	// id is the number that HDFS gave the file, and gives to no other.
	id     uint64
	client *client
	writer *hdfs.FileWriter
	closed bool // Close of the writer was called, and failed
}

// begin creates a file below _tmp.
func (s *store) begin(ctx context.Context, key string, folder bool) (*staged, error) {
	st := &staged{store: s, key: key, path: s.tempPath(key), folder: folder}
	st.file = st.path
	parent := st.path[:len(st.path)-len(lastOf(st.path))-1]
	if folder {
		st.file, parent = below(st.path, dataName), st.path
	}
	c, err := s.pool.take(ctx)
	if err != nil {
		return nil, err
	}
	st.client = c
	err = st.within(ctx, func() error {
		create := func() (err error) {
			st.writer, err = c.CreateFile(st.file, s.cluster.replication, s.cluster.blockSize, s.cluster.fileMode)
			return err
		}
		var err error
		if !folder {
			if err = create(); kindOf(err) != absent {
				return err
			}
		}
		for range folderTries { // a delete may remove the folder just then
			if err = c.MkdirAll(parent, s.cluster.folderMode); err != nil {
				return err
			}
			if err = create(); kindOf(err) != absent {
				return err
			}
		}
		return err
	})
	if err != nil {
		if kindOf(err) >= unsent {
			s.pool.flush()
		}
		st.abandon(ctx)
		return nil, err
	}
	return st, nil
}

// folderTries is how often a folder is made anew when somebody removes it, because it is empty, before it is used.
const folderTries = 10

// within runs calls with the object's client, and cuts it off once ctx ends.
func (st *staged) within(ctx context.Context, do func() error) error {
	stop := context.AfterFunc(ctx, st.client.link.cut)
	err := do()
	if !stop() {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

// pieceBytes is how much the library is given at once; it keeps a copy of what it is given.
const pieceBytes = 64 << 10

// write writes data. A success means nothing yet.
func (st *staged) write(ctx context.Context, data []byte) error {
	return st.within(ctx, func() error {
		for piece := range slices.Chunk(data, pieceBytes) {
			if _, err := st.writer.Write(piece); err != nil {
				return err
			}
			if err := st.client.link.dataError(); err != nil {
				return err
			}
			st.size += int64(len(piece))
		}
		return nil
	})
}

// finish makes the file whole, and compares its length. Whatever it returns, the client is done with.
func (st *staged) finish(ctx context.Context) error {
	err := st.within(ctx, func() error {
		if err := st.closeFile(ctx); err != nil {
			return err
		}
		info, err := st.client.Stat(st.file)
		if err != nil {
			return err
		}
		if info.Size() != st.size {
			return fmt.Errorf("HDFS has %d bytes of %d that were written", info.Size(), st.size)
		}
		status, ok := info.Sys().(*hdfs.FileStatus)
		if !ok || status.GetFileId() == 0 {
			return fmt.Errorf("%w: the NameNode gives files no numbers", storage.ErrUnfit)
		}
		st.id = status.GetFileId()
		return nil
	})
	if err != nil {
		st.abandon(ctx)
		return err
	}
	st.store.pool.give(st.client)
	st.client, st.writer = nil, nil
	return nil
}

// closeFile closes the file until the NameNode says that it is whole. After any other error Close must not be called
// again, because a second one may hide that error.
func (st *staged) closeFile(ctx context.Context) error {
	end := time.Now().Add(2 * st.store.config.Timeout)
	for wait := time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		err := st.writer.Close()
		if err == nil {
			st.writer = nil
			return nil
		}
		if !hdfs.IsErrReplicating(err) {
			st.closed = true
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("the DataNodes have not reported the last block for %v: %w", 2*st.store.config.Timeout, err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// abandon gives the object up, and removes what is there of it. It may be called again.
func (st *staged) abandon(ctx context.Context) {
	if st.client != nil {
		st.client.link.cut()
		if st.writer != nil && !st.closed {
			st.closed = true
			_ = st.writer.Close() // ends the library's goroutines; it fails, because the connections are cut
		}
		st.client.drop()
		st.client = nil
	}
	ctx, cancel := st.store.afterwards(ctx)
	defer cancel()
	_ = st.drop(ctx) // a sweep removes what stays
}

// drop removes the object from below _tmp. After a success no rename of it can happen any more.
func (st *staged) drop(ctx context.Context) error {
	return st.store.pool.call(ctx, func(c *client) error { return c.RemoveAll(st.path) })
}

// stageTries is how often a small object is written. HDFS may choose a dead DataNode until it notices its death.
const stageTries = 5

// stageBytes writes a small object below _tmp. A failed write is begun again under a new name.
func (s *store) stageBytes(ctx context.Context, key string, folder bool, data []byte) (*staged, error) {
	for try := 0; ; try++ {
		st, err := s.begin(ctx, key, folder)
		if err == nil {
			if err = st.write(ctx, data); err != nil {
				st.abandon(ctx)
			} else if err = st.finish(ctx); err == nil {
				return st, nil
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if try+1 == stageTries || final(err) || errors.Is(err, storage.ErrUnfit) || !pause(ctx, try) {
			return nil, plain(err)
		}
		s.repeated(err)
	}
}

func lastOf(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[i+1:]
		}
	}
	return path
}
