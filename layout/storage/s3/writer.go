package s3

import (
	"context"
	"errors"

	"github.com/ckptd/ckptd/layout/storage"
)

// A writer sends an object in one of three ways. An object that is small or of unknown length is held until Commit
// and sent by one request. An object of known length and sum that fits into one request is streamed into it. Any
// other object is sent in parts.
type writer struct {
	store    *store
	ctx      context.Context // the context of Create; it also ends the writer
	key      string
	opts     storage.CreateOptions
	verifier storage.Verifier
	sum      uint32 // of all bytes so far; only if no sum was announced
	held     buffer // the bytes not yet sent: the object, or its next part
	stream   *stream
	upload   *upload
	over     bool
	err      error // why the object cannot be committed any more
}

var _ storage.Writer = (*writer)(nil)

var errOver = errors.New("the writer was committed or aborted before")

func newWriter(ctx context.Context, s *store, key string, opts storage.CreateOptions) *writer {
	return &writer{store: s, ctx: ctx, key: key, opts: opts, verifier: storage.NewVerifier(opts)}
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
		return n, &storage.Error{Op: "write", Key: w.key, Err: err}
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
	w.Abort() // releases memory, and aborts an upload that is not complete
	if err != nil {
		return &storage.Error{Op: "commit", Key: w.key, Err: err}
	}
	return nil
}

// Abort implements storage.Writer.
func (w *writer) Abort() {
	if w.over {
		return
	}
	w.over = true
	w.held.release()
	if w.stream != nil {
		w.stream.abort()
	}
	if w.upload != nil {
		w.upload.abort()
	}
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
	if w.streams() {
		if w.stream == nil {
			w.stream = w.store.newStream(w.ctx, w.key, w.opts)
		}
		return w.stream.write(p)
	}
	if !w.opts.HasCRC32C {
		w.sum = update(w.sum, p)
	}
	taken := 0
	for len(p) > 0 {
		if w.held.store == nil {
			w.held = buffer{store: w.store, limit: w.partLimit()}
		}
		if w.held.full() {
			if err := w.flush(); err != nil {
				return taken, err
			}
			continue
		}
		n, err := w.held.add(w.ctx, p)
		taken += n
		p = p[n:]
		if err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// partLimit is the size of the next part. If the object's length is known, all parts have one size. Otherwise the
// parts grow, so that maxParts are enough for 1.4 TiB. No part is larger than the pool.
func (w *writer) partLimit() int {
	if w.opts.HasSize {
		least := (w.opts.Size + maxParts - 1) / maxParts
		return int(max(partSize, (least+1<<20-1)&^(1<<20-1)))
	}
	if w.upload == nil {
		return partSize
	}
	return min(partSize<<(w.upload.sent/1000), poolSize)
}

// flush sends the held part and begins another.
func (w *writer) flush() error {
	if w.upload == nil {
		u, err := w.store.newUpload(w.ctx, w.key, false)
		if err != nil {
			return err
		}
		w.upload = u
	}
	full := w.held
	w.held = buffer{store: w.store, limit: full.limit}
	err := w.upload.send(full)
	w.held.limit = w.partLimit()
	return err
}

// finish makes the object whole. Only here a mutation can be done, or its outcome be unknown.
func (w *writer) finish() error {
	sum := w.opts.CRC32C
	if !w.opts.HasCRC32C {
		sum = w.sum
	}
	switch {
	case w.stream != nil:
		return w.stream.finish()
	case w.upload != nil:
		if err := w.flush(); err != nil {
			return err
		}
		if w.opts.IfAbsent {
			if err := w.store.conditionHolds(w.ctx); err != nil {
				return err
			}
		}
		return w.upload.complete(w.verifier.Size(), sum, w.opts.IfAbsent)
	}
	return w.store.put(w.ctx, w.key, w.held.data, sum, w.opts.IfAbsent)
}
