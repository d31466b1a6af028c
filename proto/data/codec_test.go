package data

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// receive decodes one message as an In and gives a copy of its chunk.
func receive(t interface{ Fatalf(string, ...any) }, dir Direction, d []byte) ([]byte, error) {
	var got []byte
	in := In{Direction: dir, Write: func(p []byte) error { got = bytes.Clone(p); return nil }}
	err := Codec{}.Unmarshal(d, &in)
	if err == nil && in.Err != nil {
		t.Fatalf("In.Err = %v", in.Err)
	}
	return got, err
}

// What Out sends is, byte for byte, what the default codec sends.
func TestOutIsTheDefaultEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir := rapid.SampledFrom([]Direction{Put, Get}).Draw(t, "direction")
		p := rapid.SliceOf(rapid.Byte()).Draw(t, "chunk")
		before := rapid.SliceOf(rapid.Byte()).Draw(t, "before")
		want, err := proto.Marshal(chunkMessage(dir, p))
		if err != nil {
			t.Fatal(err)
		}
		out := Out{Direction: dir, R: iotest.HalfReader(bytes.NewReader(p)), N: len(p)}
		got, err := Codec{}.MarshalAppend(bytes.Clone(before), &out)
		if err != nil {
			t.Fatal(err)
		}
		// proto3 leaves an empty GetStateResponse.chunk away; an explicit empty one decodes to the same.
		if dir == Get && len(p) == 0 {
			want = AppendPrefix(nil, Get, 0)
		}
		if !bytes.Equal(got, append(before, want...)) {
			t.Fatalf("got %x, want %x behind %x", got, want, before)
		}
		m := newMessage(dir)
		if err := proto.Unmarshal(got[len(before):], m); err != nil {
			t.Fatal(err)
		}
		if c, err := chunkIn(m); err != nil || !bytes.Equal(c, p) {
			t.Fatalf("default codec reads %x, %v; want %x", c, err, p)
		}
	})
}

// In takes what the default codec takes, with unknown fields, repeated chunks and chunks behind a header too.
func TestInTakesWhatTheDefaultTakes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir := rapid.SampledFrom([]Direction{Put, Get}).Draw(t, "direction")
		var d []byte
		for range rapid.IntRange(0, 3).Draw(t, "parts") {
			p := rapid.SliceOf(rapid.Byte()).Draw(t, "part")
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0, 1:
				d = append(AppendPrefix(d, dir, len(p)), p...)
			case 2:
				d = protowire.AppendBytes(protowire.AppendTag(d, 99, protowire.BytesType), p)
			case 3:
				d = protowire.AppendVarint(protowire.AppendTag(d, 98, protowire.VarintType), uint64(len(p)))
			}
		}
		compareWithDefault(t, dir, d)
	})
}

func compareWithDefault(t interface{ Fatalf(string, ...any) }, dir Direction, d []byte) {
	m := newMessage(dir)
	wantErr := proto.Unmarshal(d, m)
	var want []byte
	if wantErr == nil {
		want, wantErr = chunkIn(m)
	}
	got, err := receive(t, dir, d)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("In of %x: %v; default codec: %v", d, err, wantErr)
	}
	if err == nil && !bytes.Equal(got, want) {
		t.Fatalf("In of %x: %x; default codec: %x", d, got, want)
	}
}

func FuzzIn(f *testing.F) {
	f.Add(uint8(0), []byte{})
	f.Add(uint8(0), []byte{0x12, 0x03, 'a', 'b', 'c'})
	f.Add(uint8(0), []byte{0x12, 0x80})
	f.Add(uint8(0), []byte{0x0a, 0x00})
	f.Add(uint8(1), []byte{0x0a, 0x01, 'x', 0x0a, 0x01, 'y'})
	f.Add(uint8(1), []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, dir uint8, d []byte) {
		compareWithDefault(t, Direction(dir%2), d)
	})
}

func TestInRefusesASecondHeader(t *testing.T) {
	d, err := proto.Marshal(&ckptdv1.PutStateRequest{Part: &ckptdv1.PutStateRequest_Header{Header: &ckptdv1.PutStateHeader{JobId: "j"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receive(t, Put, d); !errors.Is(err, ErrNotChunk) {
		t.Fatalf("got %v, want ErrNotChunk", err)
	}
}

func TestInKeepsItsOwnError(t *testing.T) {
	full := errors.New("full")
	in := In{Direction: Get, Write: func([]byte) error { return full }}
	if err := (Codec{}).Unmarshal([]byte{0x0a, 0x01, 'x'}, &in); err != nil {
		t.Fatalf("Unmarshal = %v", err)
	}
	if !errors.Is(in.Err, full) {
		t.Fatalf("Err = %v", in.Err)
	}
}

func TestOutSendsNothingOfAShortSource(t *testing.T) {
	for _, c := range []interface {
		Marshal(any) ([]byte, error)
	}{Codec{}, jsonCodec{"json"}} {
		out := Out{Direction: Get, R: bytes.NewReader(make([]byte, 9)), N: 10}
		b, err := c.Marshal(&out)
		if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(out.Err, io.ErrUnexpectedEOF) || len(b) > 0 {
			t.Fatalf("%T: %d bytes, error %v, Out.Err %v", c, len(b), err, out.Err)
		}
	}
}

func TestJSONRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir := rapid.SampledFrom([]Direction{Put, Get}).Draw(t, "direction")
		p := rapid.SliceOf(rapid.Byte()).Draw(t, "chunk")
		d, err := jsonCodec{"json"}.Marshal(&Out{Direction: dir, R: bytes.NewReader(p), N: len(p)})
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		in := In{Direction: dir, Write: func(p []byte) error { got = bytes.Clone(p); return nil }}
		if err := (jsonCodec{"json"}).Unmarshal(d, &in); err != nil || !bytes.Equal(got, p) {
			t.Fatalf("%s: %x, %v; want %x", d, got, err, p)
		}
	})
}
