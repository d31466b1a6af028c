package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"
)

func envelope(flags byte, m []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(m))), m...)
}

// takeAll reads an answer as Connect would, and gives the chunks and what Connect gets to see.
func takeAll(body io.Reader) (chunks, seen []byte, err error) {
	res := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/connect+proto"}}, Body: io.NopCloser(body)}
	in := &In{Direction: Get, Write: func(p []byte) error { chunks = append(chunks, p...); return nil }}
	takeChunks(res, in)
	seen, err = io.ReadAll(res.Body)
	return chunks, seen, err
}

// Chunks arrive whatever the messages look like; the end of the stream arrives at Connect.
func TestChunksAreTakenOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wire, want []byte
		for range rapid.IntRange(0, 4).Draw(t, "messages") {
			p := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "chunk")
			m := append(AppendPrefix(nil, Get, len(p)), p...)
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				m = protowire.AppendVarint(protowire.AppendTag(m, 9, protowire.VarintType), 5)
			case 1:
				m = append(AppendPrefix(nil, Get, 1), append([]byte{'x'}, m...)...) // the last one counts
			}
			wire, want = append(wire, envelope(0, m)...), append(want, p...)
		}
		end := envelope(2, []byte("{}"))
		wire = append(wire, end...)
		var r io.Reader = bytes.NewReader(wire)
		if rapid.Bool().Draw(t, "in small pieces") {
			r = iotest.OneByteReader(r)
		}
		chunks, seen, err := takeAll(r)
		if err != nil || !bytes.Equal(chunks, want) || !bytes.Equal(seen, end) {
			t.Fatalf("chunks %x, want %x; seen %x; %v", chunks, want, seen, err)
		}
		// Cut anywhere, the end is missing: an error, or a rest that Connect takes for none.
		cut := rapid.IntRange(0, len(wire)-1).Draw(t, "cut")
		_, seen, err = takeAll(bytes.NewReader(wire[:cut]))
		if err == nil && len(seen) >= len(end) {
			t.Fatalf("cut at %d: seen %x", cut, seen)
		}
	})
}

func TestSinkErrorEndsTheAnswer(t *testing.T) {
	full := errors.New("full")
	for _, m := range [][]byte{{0x0a, 1, 'x'}, {0x0a, 1, 'x', 0x48, 5}} {
		res := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/connect+proto"}}, Body: io.NopCloser(bytes.NewReader(envelope(0, m)))}
		in := &In{Direction: Get, Write: func([]byte) error { return full }}
		takeChunks(res, in)
		if _, err := io.ReadAll(res.Body); !errors.Is(err, full) || !errors.Is(in.Err, full) {
			t.Errorf("%x: %v, In.Err %v", m, err, in.Err)
		}
	}
}

func TestOversizedMessageIsRefused(t *testing.T) {
	if _, _, err := takeAll(bytes.NewReader([]byte{0, 0xff, 0xff, 0xff, 0xff, 0x0a})); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("got %v", err)
	}
}

// Errors of HTTP, and answers in other encodings, are not ours to take apart.
func TestOtherAnswersPass(t *testing.T) {
	for _, res := range []*http.Response{
		{StatusCode: http.StatusNotFound, Header: http.Header{"Content-Type": {"application/connect+proto"}}},
		{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/connect+json"}}},
	} {
		body := envelope(0, []byte("text"))
		res.Body = io.NopCloser(bytes.NewReader(body))
		takeChunks(res, &In{Direction: Get})
		if b, err := io.ReadAll(res.Body); err != nil || !bytes.Equal(b, body) {
			t.Errorf("got %x, %v", b, err)
		}
	}
}

func FuzzTakeChunks(f *testing.F) {
	f.Add(append(envelope(0, []byte{0x0a, 1, 'x'}), envelope(2, []byte("{}"))...))
	f.Add(envelope(0, []byte{0x0a, 0x80}))
	f.Add(envelope(0, nil))
	f.Fuzz(func(t *testing.T, wire []byte) {
		chunks, seen, _ := takeAll(bytes.NewReader(wire))
		if len(chunks)+len(seen) > len(wire) {
			t.Fatalf("%d chunk bytes and %d others of %d", len(chunks), len(seen), len(wire))
		}
	})
}
