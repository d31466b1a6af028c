package data

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"

	"google.golang.org/protobuf/encoding/protowire"
)

// receiveSize is the buffer between a connection and whoever takes the chunks: small enough to stay in the processor's cache,
// which makes it cheaper than one of a whole chunk.
const receiveSize = 64 << 10

type sinkKey struct{}

// WithSink has a Doer give the chunks of GetState's answer to in.Write right from the connection, in pieces smaller than a message.
// What Connect then receives is the stream's end: Receive(in) gives io.EOF, or the error. An answer in another form than ours
// arrives through Receive as always, so that the same loop does for both.
func WithSink(ctx context.Context, in *In) context.Context {
	return context.WithValue(ctx, sinkKey{}, in)
}

// takeChunks puts a chunkReader before the body of an answer that has chunks for a sink.
func takeChunks(res *http.Response, in *In) {
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/connect+proto" {
		return
	}
	res.Body = &chunkReader{Closer: res.Body, r: bufio.NewReaderSize(res.Body, receiveSize), in: in}
}

// chunkReader takes the messages with chunks out of a stream and lets the rest through.
type chunkReader struct {
	io.Closer
	r  *bufio.Reader
	in *In
	// through: nothing but what is not a message follows.
	through bool
}

func (c *chunkReader) Read(p []byte) (int, error) {
	for !c.through {
		head, _ := c.r.Peek(envelopeSize)
		if len(head) < envelopeSize || head[0] != 0 {
			// The end of the stream, as Connect knows it, or an end that Connect will complain of.
			c.through = true
			break
		}
		if err := c.message(int(binary.BigEndian.Uint32(head[1:]))); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
	return c.r.Read(p)
}

// message takes one message of size bytes, its envelope included.
func (c *chunkReader) message(size int) error {
	if size > ReadMaxBytes {
		return fmt.Errorf("data: message of %d bytes: at most %d", size, ReadMaxBytes)
	}
	_, _ = c.r.Discard(envelopeSize)
	prefix, err := c.r.Peek(min(size, prefixMax))
	if err != nil {
		return err
	}
	k := chunkPrefix(prefix, c.in.Direction, size)
	if k == 0 {
		d := make([]byte, size)
		if _, err := io.ReadFull(c.r, d); err != nil {
			return err
		}
		if err := (Codec{}).Unmarshal(d, c.in); err != nil {
			return err
		}
		return c.in.Err
	}
	_, _ = c.r.Discard(k)
	for left := size - k; left > 0; {
		if _, err := c.r.Peek(1); err != nil {
			return err
		}
		p, _ := c.r.Peek(min(left, c.r.Buffered()))
		if c.in.Err = c.in.Write(p); c.in.Err != nil {
			return c.in.Err
		}
		left -= len(p)
		_, _ = c.r.Discard(len(p))
	}
	return nil
}

// chunkPrefix is the length of what stands before the chunk in a message of size bytes that begins with b and is nothing but a
// chunk; 0: it is something else.
func chunkPrefix(b []byte, dir Direction, size int) int {
	num, typ, k := protowire.ConsumeTag(b)
	if k < 0 || num != dir.field() || typ != protowire.BytesType {
		return 0
	}
	n, m := protowire.ConsumeVarint(b[k:])
	if m < 0 || n != uint64(size-k-m) {
		return 0
	}
	return k + m
}
