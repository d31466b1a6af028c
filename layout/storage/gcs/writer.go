package gcs

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"

	"github.com/ckptd/ckptd/crc32c"
	contract "github.com/ckptd/ckptd/layout/storage"
)

// A writer sends an object in one of three ways. An object that is small, or of unknown length and at most one chunk, is
// held until Commit and sent by one request. An object of known length and sum is streamed into one request, up to
// singleSize; its last byte is held until Commit, so that the store cannot make an object before. Any other object is a
// resumable upload.
type writer struct {
	store    *store
	ctx      context.Context // the context of Create; it also ends the writer
	key      string
	opts     contract.CreateOptions
	verifier contract.Verifier
	sum      uint32 // of all bytes so far; only if no sum was announced
	held     []byte // the bytes not yet given to upload
	reserved int64  // bytes of the pool that held, or the library for upload, may use
	upload   *upload
	over     bool
	err      error // why the object cannot be committed any more
}

var _ contract.Writer = (*writer)(nil)

var errOver = errors.New("the writer was committed or aborted before")

func newWriter(ctx context.Context, s *store, key string, opts contract.CreateOptions) *writer {
	return &writer{store: s, ctx: ctx, key: key, opts: opts, verifier: contract.NewVerifier(opts)}
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	n, err := 0, w.ready()
	if err == nil {
		err = w.verifier.Add(p)
	}
	if err == nil {
		n, err = w.take(p)
	}
	if err != nil {
		w.err = err
		return n, &contract.Error{Op: "write", Key: w.key, Err: err}
	}
	return n, nil
}

// Commit implements storage.Writer.
func (w *writer) Commit() error {
	err := w.ready()
	if err == nil {
		err = w.verifier.Check()
	}
	if err == nil {
		err = w.finish()
	}
	w.Abort() // releases memory, and ends an upload that is not complete
	if err != nil {
		return &contract.Error{Op: "commit", Key: w.key, Err: err}
	}
	return nil
}

// Abort implements storage.Writer.
func (w *writer) Abort() {
	if w.over {
		return
	}
	w.over = true
	if w.upload != nil {
		w.upload.abort()
		w.upload = nil
	}
	w.held = nil
	w.store.pool.Release(w.reserved)
}

func (w *writer) ready() error {
	switch {
	case w.over:
		return errOver
	case w.ctx.Err() != nil:
		return w.ctx.Err()
	}
	return w.err
}

// streams reports whether the object is streamed into one request.
func (w *writer) streams() bool {
	return w.opts.HasSize && w.opts.HasCRC32C && w.opts.Size > smallSize && w.opts.Size <= singleSize
}

func (w *writer) take(p []byte) (int, error) {
	if !w.opts.HasCRC32C {
		w.sum = crc32c.Update(w.sum, p)
	}
	switch {
	case len(p) == 0:
		return 0, nil
	case w.streams():
		return w.stream(p)
	case w.upload != nil:
		return w.upload.Write(p)
	}
	if err := w.makeRoom(len(p)); err != nil {
		return 0, err
	}
	if len(w.held)+len(p) <= w.chunk() && (w.reserved == 0 || !w.large()) { // the library holds a chunk, too
		w.held = append(w.held, p...)
		return len(p), nil
	}
	w.upload = w.begin(w.chunk())
	if _, err := w.upload.Write(w.held); err != nil {
		return 0, err
	}
	w.held = nil
	return w.upload.Write(p)
}

// chunk is the size of chunks. A large object of known length is sent in fewer ones, as each waits for the reply to the one before.
func (w *writer) chunk() int {
	if w.large() {
		return 2 * w.store.chunk
	}
	return w.store.chunk
}

// large reports whether the object is known to be sent in chunks.
func (w *writer) large() bool { return w.opts.HasSize && w.opts.Size > singleSize }

func (w *writer) begin(chunk int) *upload {
	return w.store.begin(w.ctx, w.key, announcement{mark: rand.Text(), chunk: chunk, sum: w.opts.CRC32C, hasSum: w.opts.HasCRC32C})
}

// stream sends bytes of an announced object, all but the last one.
func (w *writer) stream(p []byte) (int, error) {
	if w.upload == nil {
		w.upload = w.begin(0)
	}
	give := p
	if w.verifier.Size() == w.opts.Size {
		give, w.held = p[:len(p)-1], []byte{p[len(p)-1]}
	}
	if len(give) > 0 {
		if n, err := w.upload.Write(give); err != nil {
			return n, err
		}
	}
	return len(p), nil
}

// makeRoom reserves memory for more bytes, once the object is no longer small. What is reserved is enough to go on to
// the end, so writers do not wait for each other in a circle.
func (w *writer) makeRoom(more int) error {
	if len(w.held)+more <= smallSize || w.reserved > 0 {
		return nil
	}
	room := int64(w.chunk())
	if w.opts.HasSize {
		room = min(room, w.opts.Size)
	}
	if err := w.store.pool.Acquire(w.ctx, room); err != nil {
		return err
	}
	w.reserved = room
	if w.opts.HasSize && !w.large() { // otherwise the bytes take as much room as come
		w.held = slices.Grow(w.held, int(room)-len(w.held))
	}
	return nil
}

// finish makes the object whole. Only here a mutation can be done, or its outcome be unknown.
func (w *writer) finish() error {
	sum := w.sum
	if w.opts.HasCRC32C {
		sum = w.opts.CRC32C
	}
	if w.upload == nil {
		return w.store.put(w.ctx, w.key, w.held, sum, w.store.attempts())
	}
	if len(w.held) > 0 {
		if _, err := w.upload.Write(w.held); err != nil {
			return err
		}
	}
	err := w.upload.finish(w.verifier.Size(), sum)
	if err == nil || errors.Is(err, contract.ErrUnknown) {
		w.upload = nil // it may be an object now
	}
	return err
}
