package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/ckptd/ckptd/layout/keygroup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// next waits for the next frame of a gate.
func next(t testing.TB, g *Gate) (int, *Frame) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		ch, f, err := g.Poll()
		if err != nil {
			t.Fatal(err)
		}
		if f != nil {
			return ch, f
		}
		select {
		case <-g.Wake():
		case <-deadline:
			t.Fatal("no frame arrived in time")
		}
	}
}

// Records come out as they went in, in order within a channel, for all sizes, and through the bytes of a connection
// too.
func TestRecordsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFrame(Data)
		var want [][2][]byte
		for range rapid.IntRange(0, 20).Draw(t, "records") {
			k := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "key")
			v := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(t, "value")
			want = append(want, [2][]byte{k, v})
			f.add(keygroup.Of(k, 128), k, v)
		}
		var wire bytes.Buffer
		if err := f.writeTo(&wire); err != nil {
			t.Fatal(err)
		}
		got, err := readFrame(&wire)
		if err != nil {
			t.Fatal(err)
		}
		r := got.Records()
		for _, w := range want {
			group, k, v, err := r.Next()
			if err != nil || !bytes.Equal(k, w[0]) || !bytes.Equal(v, w[1]) || group != keygroup.Of(w[0], 128) {
				t.Fatalf("got %d %q %q %v, want %q %q", group, k, v, err, w[0], w[1])
			}
		}
		if r.More() {
			t.Fatal("more records than were written, want the same number")
		}
	})
}

// Cut or foreign bytes are an error. They never cause a panic or another number of records.
func TestMalformedFrames(t *testing.T) {
	f := newFrame(Data)
	f.add(7, []byte("key"), []byte("value"))
	var wire bytes.Buffer
	f.writeTo(&wire)
	whole := wire.Bytes()
	for n := range whole {
		_, err := readFrame(bytes.NewReader(whole[:n]))
		if n == 0 && !errors.Is(err, io.EOF) || n > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v, want io.EOF at 0, else io.ErrUnexpectedEOF", n, err)
		}
	}
	for n := 1; n < len(f.bytes)-headerSize; n++ {
		r := Records{rest: f.bytes[headerSize : headerSize+n]}
		if _, _, _, err := r.Next(); err == nil {
			t.Errorf("record cut at %d was read, want an error", n)
		}
	}
	for _, kind := range []byte{0, 5, 255} {
		bad := bytes.Clone(whole)
		bad[4] = kind
		if _, err := readFrame(bytes.NewReader(bad)); err == nil {
			t.Errorf("a frame of kind %d was read, want an error", kind)
		}
	}
	huge := bytes.Clone(whole)
	huge[3] = 0xff
	if _, err := readFrame(bytes.NewReader(huge)); !errors.Is(err, errFrame) {
		t.Errorf("a frame of 4 GB: %v, want errFrame", err)
	}
}

func TestRecordTooLarge(t *testing.T) {
	g := NewGate(1)
	w := NewWriter([]Link{g.Link(0)}, 128)
	if err := w.Write([]byte("k"), make([]byte, MaxRecord)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("got %v", err)
	}
	if err := w.Write([]byte("k"), make([]byte, 3<<20)); err != nil {
		t.Fatal(err)
	}
	_, f := next(t, g)
	r := f.Records()
	if _, _, v, err := r.Next(); err != nil || len(v) != 3<<20 {
		t.Fatalf("the record has %d bytes, %v; want 3 MiB", len(v), err)
	}
}

// Every record reaches the subtask whose range holds its key group, and barriers come after the records before them.
func TestWriterPartitionsByKeyGroup(t *testing.T) {
	const subtasks, maxParallelism, records = 3, 128, 5000
	gates := make([]*Gate, subtasks)
	links := make([]Link, subtasks)
	for i := range gates {
		gates[i] = NewGate(1)
		links[i] = gates[i].Link(0)
	}
	w := NewWriter(links, maxParallelism)
	done := make(chan error, 1)
	go func() {
		for i := range records {
			if err := w.Write(fmt.Appendf(nil, "user-%d", i), fmt.Appendf(nil, "%0100d", i)); err != nil {
				done <- err
				return
			}
		}
		done <- w.Broadcast(Barrier, 4, 9)
	}()
	counts := make(chan int, subtasks)
	for i, g := range gates {
		go func() {
			n := 0
			for {
				_, f := next(t, g)
				if f.Kind == Barrier && f.Checkpoint == 4 && f.Epoch == 9 {
					counts <- n
					return
				}
				for r := f.Records(); r.More(); n++ {
					group, key, _, err := r.Next()
					if err != nil || !keygroup.RangeOf(maxParallelism, subtasks, i).Contains(group) || group != keygroup.Of(key, maxParallelism) {
						t.Errorf("subtask %d got group %d, key %s, %v; want the key's own group, within the subtask's range", i, group, key, err)
					}
				}
				f.Release()
			}
		}()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := <-counts + <-counts + <-counts; n != records {
		t.Fatalf("%d records arrived, want %d", n, records)
	}
}

// A blocked channel delays only its own sender. After Unblock it continues where it was.
func TestBlockedChannelDelaysNoOther(t *testing.T) {
	g := NewGate(2)
	g.Block(0)
	stuck := make(chan int, 1)
	go func() {
		for i := range 3 * queueDepth {
			f := newFrame(Barrier)
			f.Checkpoint = uint64(i)
			if g.Link(0).Send(f) != nil {
				stuck <- i
				return
			}
		}
		stuck <- -1
	}()
	for i := range 10 * queueDepth {
		if err := g.Link(1).Send(newFrame(Cancel)); err != nil {
			t.Fatal(err)
		}
		if ch, f := next(t, g); ch != 1 || f.Kind != Cancel {
			t.Fatalf("frame %d: channel %d, kind %d; want Cancel of channel 1", i, ch, f.Kind)
		}
	}
	select {
	case i := <-stuck:
		t.Fatalf("the blocked channel's sender ended after %d frames, want it to wait", i)
	case <-time.After(20 * time.Millisecond):
	}
	g.Unblock(0)
	for i := range 3 * queueDepth {
		if ch, f := next(t, g); ch != 0 || f.Checkpoint != uint64(i) {
			t.Fatalf("channel %d, frame %d; want channel 0, frame %d", ch, f.Checkpoint, i)
		}
	}
	if i := <-stuck; i != -1 {
		t.Fatalf("the sender ended with %d, want -1: all frames sent", i)
	}
}

// Blocking takes effect at once, also for frames that are ready.
func TestBlockHidesWhatIsReady(t *testing.T) {
	g := NewGate(2)
	for ch := range 2 {
		for range 2 {
			g.Link(ch).Send(newFrame(Cancel))
		}
	}
	g.Block(0)
	for range 2 {
		if ch, _ := next(t, g); ch != 1 {
			t.Fatal("the blocked channel was read, want channel 1")
		}
	}
	if _, f, _ := g.Poll(); f != nil {
		t.Fatal("the blocked channel was read, want no frame")
	}
}

// A gate that ends releases its senders with its error.
func TestGateFailFreesSenders(t *testing.T) {
	g := NewGate(1)
	ended := make(chan error, 1)
	go func() {
		for {
			if err := g.Link(0).Send(newFrame(Cancel)); err != nil {
				ended <- err
				return
			}
		}
	}()
	time.Sleep(5 * time.Millisecond)
	cause := errors.New("some cause")
	g.Fail(cause)
	g.Close()
	if err := <-ended; err != cause {
		t.Fatalf("sender got %v", err)
	}
	if _, _, err := g.Poll(); err != cause {
		t.Fatalf("reader got %v", err)
	}
}

func BenchmarkExchange(b *testing.B) {
	g := NewGate(1)
	w := NewWriter([]Link{g.Link(0)}, 128)
	key, value := []byte("user-12345"), []byte("1")
	go func() {
		for range b.N {
			w.Write(key, value)
		}
		w.Broadcast(End, 0, 0)
	}()
	b.ReportAllocs()
	for n := 0; ; {
		_, f := next(b, g)
		if f.Kind == End {
			if n != b.N {
				b.Fatalf("%d records arrived, want %d", n, b.N)
			}
			return
		}
		for r := f.Records(); r.More(); n++ {
			r.Next()
		}
		f.Release()
	}
}
