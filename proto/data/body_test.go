package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

type trackedSource struct {
	io.Reader
	closed int
}

func (s *trackedSource) Close() error { s.closed++; return nil }

// envelopes decodes a stream with the default codec.
func envelopes(t interface{ Fatalf(string, ...any) }, b []byte) (header *ckptdv1.PutStateHeader, chunks [][]byte) {
	for len(b) > 0 {
		if len(b) < 5 || b[0] != 0 || len(b) < 5+int(binary.BigEndian.Uint32(b[1:])) {
			t.Fatalf("bad envelope: %x", b[:min(len(b), 16)])
		}
		n := int(binary.BigEndian.Uint32(b[1:]))
		m := &ckptdv1.PutStateRequest{}
		if err := proto.Unmarshal(b[5:5+n], m); err != nil {
			t.Fatalf("message: %v", err)
		}
		if h := m.GetHeader(); h != nil {
			header = h
		} else {
			chunks = append(chunks, m.GetChunk())
		}
		b = b[5+n:]
	}
	return header, chunks
}

func TestBodyFramesLikeTheDefaultClient(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		chunk := rapid.IntRange(1, 64).Draw(t, "chunk")
		header := &ckptdv1.PutStateHeader{JobId: "job", CheckpointId: 7, Length: proto.Uint64(uint64(len(p)))}
		src := &trackedSource{Reader: iotest.HalfReader(bytes.NewReader(p))}
		body, err := NewBody(header, src, chunk)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if rapid.Bool().Draw(t, "Read first") {
			if _, err := io.CopyN(&got, readerOnly{body}, int64(rapid.IntRange(0, 20).Draw(t, "read"))); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
		if _, err := body.WriteTo(&got); err != nil {
			t.Fatal(err)
		}
		body.Close()
		body.Wait()
		if src.closed != 1 || body.Err() != nil {
			t.Fatalf("closed %d times, Err %v", src.closed, body.Err())
		}
		h, chunks := envelopes(t, got.Bytes())
		if !proto.Equal(h, header) || !bytes.Equal(bytes.Join(chunks, nil), p) {
			t.Fatalf("header %v, %d chunks: other bytes", h, len(chunks))
		}
		for i, c := range chunks {
			if len(c) != chunk && i < len(chunks)-1 {
				t.Fatalf("chunk %d has %d bytes, want %d", i, len(c), chunk)
			}
		}
	})
}

type readerOnly struct{ io.Reader }

func TestBodySaysThatItsSourceFailed(t *testing.T) {
	broken := errors.New("bad sector")
	body, err := NewBody(&ckptdv1.PutStateHeader{}, io.NopCloser(iotest.ErrReader(broken)), 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := body.WriteTo(io.Discard); !errors.Is(err, broken) {
		t.Fatalf("WriteTo = %v", err)
	}
	body.Close()
	body.Wait()
	if err := body.Err(); !errors.Is(err, ErrSource) || !errors.Is(err, broken) {
		t.Fatalf("Err = %v", err)
	}
	if _, err := body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Fatalf("Read after Close = %v", err)
	}
}

// Close during a write does not pull the source away from under it.
func TestBodyIsReleasedAfterTheWrite(t *testing.T) {
	src := &trackedSource{Reader: bytes.NewReader(make([]byte, 100))}
	body, err := NewBody(&ckptdv1.PutStateHeader{}, src, 10)
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := body.WriteTo(w)
		done <- err
	}()
	if _, err := io.ReadFull(r, make([]byte, 20)); err != nil {
		t.Fatal(err)
	}
	body.Close()
	select {
	case <-body.released:
		t.Fatal("released while being written")
	default:
	}
	r.Close()
	if err := <-done; err == nil {
		t.Fatal("WriteTo into a closed pipe succeeded")
	}
	body.Wait()
	if src.closed != 1 {
		t.Fatalf("closed %d times", src.closed)
	}
}
