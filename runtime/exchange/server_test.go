package exchange

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

var channelAB = Channel{From: Endpoint{"a", 0}, To: Endpoint{"b", 1}}

// onEveryNetwork runs a test with a server over memory, TCP and Unix sockets.
func onEveryNetwork(t *testing.T, test func(t *testing.T, n Network, s *Server, address string)) {
	for name, n := range map[string]Network{"memory": NewMemory(), "tcp": TCP{}, "unix": Unix{Dir: t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			l, address, err := n.Listen()
			if err != nil {
				t.Fatal(err)
			}
			s := NewServer(l, "job")
			defer s.Close()
			test(t, n, s, address)
		})
	}
}

func context10s(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestChannelOverNetwork(t *testing.T) {
	onEveryNetwork(t, func(t *testing.T, n Network, s *Server, address string) {
		g := NewGate(1)
		if err := s.Begin(3, map[Channel]Input{channelAB: {g, 0}}); err != nil {
			t.Fatal(err)
		}
		l, err := Dial(context10s(t), n, address, "job", 3, channelAB)
		if err != nil {
			t.Fatal(err)
		}
		w := NewWriter([]Link{l}, 128)
		const records = 20000
		go func() {
			for range records {
				w.Write([]byte("some key"), []byte("some value"))
			}
			w.Broadcast(Barrier, 5, 2)
			w.Broadcast(End, 0, 0)
			w.Close()
		}()
		for got := 0; ; {
			_, f := next(t, g)
			for r := f.Records(); f.Kind == Data && r.More(); got++ {
				if _, k, v, err := r.Next(); err != nil || string(k) != "some key" || string(v) != "some value" {
					t.Fatal(string(k), string(v), err)
				}
			}
			if f.Kind == Barrier && (got != records || f.Checkpoint != 5 || f.Epoch != 2) {
				t.Fatalf("barrier %d after %d records, want barrier 5 after all", f.Checkpoint, got)
			}
			if f.Kind == End {
				break
			}
			f.Release()
		}
		// A connection that ends after End is not a lost channel.
		time.Sleep(10 * time.Millisecond)
		if _, _, err := g.Poll(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestHandshakeRefuses(t *testing.T) {
	onEveryNetwork(t, func(t *testing.T, n Network, s *Server, address string) {
		g := NewGate(1)
		begin := func(attempt uint64) {
			if err := s.Begin(attempt, map[Channel]Input{channelAB: {g, 0}}); err != nil {
				t.Fatal(err)
			}
		}
		refused := func(job string, attempt uint64, ch Channel, because string) {
			t.Helper()
			_, err := Dial(context10s(t), n, address, job, attempt, ch)
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), because) {
				t.Errorf("%s attempt %d %v: got %v, want a refusal with %q", job, attempt, ch, err, because)
			}
		}
		begin(4)
		refused("another", 4, channelAB, "this worker runs job job")
		refused("job", 3, channelAB, "attempt 3 is over")
		refused("job", 0, channelAB, "attempt 0 is over")
		refused("job", 4, Channel{From: Endpoint{"a", 7}, To: Endpoint{"b", 1}}, "not expected")
		l, err := Dial(context10s(t), n, address, "job", 4, channelAB)
		if err != nil {
			t.Fatal(err)
		}
		refused("job", 4, channelAB, "connected already")
		s.End(4) // also ends channels on which nothing moves
		for range 500 {
			if s.tracked() == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := s.tracked(); n > 0 {
			t.Errorf("%d connections of an attempt that is over, want none", n)
		}
		g.Close()
		refused("job", 4, channelAB, "attempt 4 is over")
		for l.Send(newFrame(Cancel)) == nil {
			time.Sleep(time.Millisecond) // the socket's buffer may take some
		}
		l.Close()
		if err := s.Begin(4, nil); err == nil {
			t.Error("Begin of a lower attempt: no error, want one")
		}
	})
}

// A channel of a higher attempt waits for this worker's own Start. A channel of a lower attempt is refused, even
// after it waited.
func TestHigherAttemptIsHeld(t *testing.T) {
	onEveryNetwork(t, func(t *testing.T, n Network, s *Server, address string) {
		type result struct {
			l   Link
			err error
		}
		results := map[uint64]chan result{5: make(chan result, 1), 7: make(chan result, 1)}
		for attempt, ch := range results {
			go func() {
				l, err := Dial(context10s(t), n, address, "job", attempt, channelAB)
				ch <- result{l, err}
			}()
		}
		if err := s.Begin(4, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case r := <-results[5]:
			t.Fatalf("attempt 5 was answered in attempt 4: %v, want it to wait", r.err)
		case <-time.After(30 * time.Millisecond):
		}
		s.End(4)
		g := NewGate(1)
		if err := s.Begin(7, map[Channel]Input{channelAB: {g, 0}}); err != nil {
			t.Fatal(err)
		}
		if r := <-results[5]; !errors.Is(r.err, ErrRefused) {
			t.Errorf("attempt 5 in attempt 7: %v, want ErrRefused", r.err)
		}
		r := <-results[7]
		if r.err != nil {
			t.Fatal(r.err)
		}
		r.l.Send(newFrame(Cancel))
		next(t, g)
		r.l.Close()
		if err := failure(t, g); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "a/0 -> b/1") {
			t.Errorf("a connection that ended without End: %v, want ErrLost and the channel", err)
		}
	})
}

func (s *Server) tracked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// failure waits until a gate fails.
func failure(t *testing.T, g *Gate) error {
	for range 1000 {
		if _, _, err := g.Poll(); err != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the gate has no error, want it to fail")
	return nil
}

// A caller that gives up while it waits, and a caller that sends nothing, leave nothing behind.
func TestCallersThatGiveUp(t *testing.T) {
	onEveryNetwork(t, func(t *testing.T, n Network, s *Server, address string) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if _, err := Dial(ctx, n, address, "job", 9, channelAB); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial that is held: %v, want its context's error", err)
		}
		var silent, garbage net.Conn
		for _, c := range []*net.Conn{&silent, &garbage} {
			var err error
			if *c, err = n.Dial(context10s(t), address); err != nil {
				t.Fatal(err)
			}
			defer (*c).Close()
		}
		go garbage.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		garbage.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := garbage.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the server's reply to garbage: %v, want the connection closed", err)
		}
		for range 500 {
			if s.tracked() == 1 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Error("the server keeps connections that their callers gave up, want one alone")
	})
}

// A connection whose channel is blocked does not delay another connection between the same two workers.
func TestBlockedChannelOverNetwork(t *testing.T) {
	onEveryNetwork(t, func(t *testing.T, n Network, s *Server, address string) {
		other := Channel{From: Endpoint{"a", 1}, To: Endpoint{"b", 1}}
		g := NewGate(2)
		if err := s.Begin(1, map[Channel]Input{channelAB: {g, 0}, other: {g, 1}}); err != nil {
			t.Fatal(err)
		}
		g.Block(0)
		writers := map[Channel]*Writer{}
		for _, ch := range []Channel{channelAB, other} {
			l, err := Dial(context10s(t), n, address, "job", 1, ch)
			if err != nil {
				t.Fatal(err)
			}
			writers[ch] = NewWriter([]Link{l}, 128)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for writers[channelAB].Write([]byte("k"), make([]byte, 30000)) == nil {
			}
		}()
		go func() {
			for range 100 {
				writers[other].Write([]byte("k"), make([]byte, 40000))
			}
		}()
		for range 100 {
			if ch, f := next(t, g); ch != 1 {
				t.Fatal("the blocked channel was read, want the other one")
			} else {
				f.Release()
			}
		}
		g.Close()
		s.End(1)
		<-ended
		for _, w := range writers {
			w.Close()
		}
	})
}
