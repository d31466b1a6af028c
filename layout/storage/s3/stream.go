package s3

import (
	"context"
	"errors"
	"io"

	"github.com/ckptd/ckptd/layout/storage"
)

// A stream is one PutObject that is fed by Write. Its last byte is held back until Commit: a store makes nothing of a request that ends
// early, so until then the object is not done, for certain, whatever happens.
type stream struct {
	cancel context.CancelFunc
	feed   *io.PipeWriter
	rest   int64 // bytes still to come, the one held back included
	last   byte
	held   bool
	ended  chan struct{}
	err    error // of the request; valid once ended
}

var errAborted = errors.New("aborted")

func (s *store) newStream(ctx context.Context, key string, opts storage.CreateOptions) *stream {
	ctx, cancel := context.WithCancel(ctx)
	body, feed := io.Pipe()
	st := &stream{cancel: cancel, feed: feed, rest: opts.Size, ended: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { body.CloseWithError(context.Cause(ctx)) })
	go func() {
		defer close(st.ended)
		defer stop()
		st.err = s.putOnce(ctx, key, struct{ io.Reader }{body}, // the SDK treats a bare pipe as one of unknown length
			opts.Size, opts.CRC32C, opts.IfAbsent)
		body.CloseWithError(errEnded)
	}()
	return st
}

var errEnded = errors.New("request ended before its body")

func (st *stream) write(p []byte) (int, error) {
	give := p
	if int64(len(p)) == st.rest && len(p) > 0 {
		st.last, st.held = p[len(p)-1], true
		give = p[:len(p)-1]
	}
	st.rest -= int64(len(p))
	if len(give) > 0 {
		if n, err := st.feed.Write(give); err != nil {
			return n, st.early(err)
		}
	}
	return len(p), nil
}

// early says why the request took no more bytes. It lacks some, so nothing is done and nothing is unknown.
func (st *stream) early(err error) error {
	st.cancel()
	<-st.ended
	if st.err == nil {
		return err
	}
	return certain(st.err)
}

// finish gives the last byte and waits.
func (st *stream) finish() error {
	if !st.held {
		return io.ErrUnexpectedEOF // the verifier found this before
	}
	st.held = false
	if _, err := st.feed.Write([]byte{st.last}); err != nil {
		return st.early(err)
	}
	if err := st.feed.Close(); err != nil {
		return err
	}
	<-st.ended
	st.cancel()
	return st.err
}

func (st *stream) abort() {
	st.feed.CloseWithError(errAborted)
	st.cancel()
	<-st.ended
}
