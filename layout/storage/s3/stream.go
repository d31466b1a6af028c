package s3

import (
	"context"
	"errors"
	"io"

	"github.com/ckptd/ckptd/layout/storage"
)

// A stream is one PutObject that is fed by Write. Its last byte is held back until Commit. A store makes no object of
// a request that ends early, so until then the object is certainly not made.
type stream struct {
	cancel context.CancelFunc
	feed   *io.PipeWriter
	rest   int64 // bytes still to come, including the held byte
	last   byte
	held   bool
	ended  chan struct{}
	err    error // of the request; valid once ended is closed
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
		// The SDK treats a bare pipe as a body of unknown length.
		st.err = s.putOnce(ctx, key, struct{ io.Reader }{body},
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
			return n, st.bodyRefused(err)
		}
	}
	return len(p), nil
}

// bodyRefused returns the error of a request that took no more bytes. Its body is incomplete, so the object is
// certainly not made.
func (st *stream) bodyRefused(err error) error {
	st.cancel()
	<-st.ended
	if st.err == nil {
		return err
	}
	return withoutUnknown(st.err)
}

// finish sends the last byte and waits for the reply.
func (st *stream) finish() error {
	if !st.held {
		return io.ErrUnexpectedEOF // the verifier has found this before
	}
	st.held = false
	if _, err := st.feed.Write([]byte{st.last}); err != nil {
		return st.bodyRefused(err)
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
