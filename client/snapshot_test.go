package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/mem"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/data"
)

func randomBytes(seed byte, n int) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}

// piece is a piece with a source that can be opened again.
func piece(name string, scope Scope, p []byte) Piece {
	return Piece{
		Name: name, InstanceNonce: "instance", Scope: scope, Size: int64(len(p)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(p)), nil },
	}
}

func snapshotOf(pieces ...Piece) Snapshot {
	return Snapshot{Attempt: 1, Epoch: 1, Checkpoint: 3, Subtasks: []SubtaskSnapshot{{Subtask: Subtask{"map", 0}, Pieces: pieces}}}
}

// stored reads the object that an uploaded handle names.
func (c *cluster) stored(f *ckptdv1.FileHandle) []byte {
	c.t.Helper()
	r, err := c.store.Open(c.t.Context(), "job/"+f.GetKey(), 0, -1)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Close()
	p, err := io.ReadAll(r)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

func (c *cluster) lastAck() []*ckptdv1.SnapshotHandle {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.acks[len(c.acks)-1].GetSnapshots()[0].GetHandles()
}

func TestSnapshotPlacesEachPiece(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		c := newCluster(t)
		_, job := c.client([]string{c.start(daemonOptions{network: network}).url})
		c.known["instance/000001.sst"] = 17
		big := randomBytes(1, data.BlockSize+100)
		small, large := []byte("small"), bytes.Repeat([]byte("x"), 30<<10)
		groups := &KeyGroups{0, 63}
		sst := piece("000002.sst", Shared, big)
		sst.KeyGroups = groups
		s := snapshotOf(
			Piece{Name: "offsets", Inline: small},
			Piece{Name: "empty"},
			Piece{Name: "inline but large", Inline: large},
			piece("MANIFEST", Exclusive, small),
			piece("log", Exclusive, large),
			piece("000001.sst", Shared, big),
			sst,
			piece("tiny.sst", Shared, small),
		)
		s.Subtasks = append(s.Subtasks, SubtaskSnapshot{Subtask: Subtask{"map", 1}, Pieces: []Piece{piece("000002.sst", Shared, big)}})
		if err := job.Snapshot(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		ack := c.acks[0]
		if ack.GetJobId() != "job" || ack.GetEpoch() != 1 || ack.GetAttempt() != 1 || ack.GetCheckpointId() != 3 || ack.GetRequestId() == "" || len(ack.GetSnapshots()) != 2 {
			t.Errorf("acknowledged %v", ack)
		}
		want := []string{"inline 5", "inline 0", "chk-3", "inline 5", "chk-3", "known 17", "shared", "shared"}
		for i, h := range c.lastAck() {
			got := fmt.Sprintf("known %d", h.GetKnown())
			switch src := h.GetSource().(type) {
			case *ckptdv1.SnapshotHandle_Inline:
				got = fmt.Sprintf("inline %d", len(src.Inline))
			case *ckptdv1.SnapshotHandle_Uploaded:
				got, _, _ = strings.Cut(src.Uploaded.GetKey(), "/")
				if n := len(c.stored(src.Uploaded)); int64(n) != max(s.Subtasks[0].Pieces[i].Size, int64(len(s.Subtasks[0].Pieces[i].Inline))) {
					t.Errorf("%s has %d bytes", h.GetName(), n)
				}
			}
			name := s.Subtasks[0].Pieces[i].Name
			if h.GetKnown() != 0 {
				name = "" // the daemon knows it
			}
			if got != want[i] || h.GetName() != name {
				t.Errorf("%s: %s, want %s", h.GetName(), got, want[i])
			}
		}
		first, second := ack.GetSnapshots()[0].GetHandles()[6], ack.GetSnapshots()[1].GetHandles()[0]
		if first.GetUploaded().GetKey() != second.GetUploaded().GetKey() {
			t.Errorf("one shared file was sent twice")
		}
		if first.GetKeyGroups().GetEnd() != 63 || second.GetKeyGroups() != nil {
			t.Errorf("key groups are the subtasks' own: %v, %v", first.GetKeyGroups(), second.GetKeyGroups())
		}
		if !bytes.Equal(c.stored(first.GetUploaded()), big) {
			t.Errorf("other bytes stored")
		}
		if n := len(c.keys()); n != 4 {
			t.Errorf("stored: %v", c.keys())
		}
	}
}

// Where the checkpoint takes no more inline bytes, the largest pieces become files of the checkpoint.
func TestInlineCap(t *testing.T) {
	for _, left := range []uint32{0, 60, 1 << 20} {
		c := newCluster(t)
		_, job := c.client([]string{c.start(daemonOptions{}).url})
		c.inline = left
		s := snapshotOf(Piece{Name: "a", Inline: make([]byte, 50)}, Piece{Name: "b", Inline: make([]byte, 51)}, Piece{Name: "c"})
		if err := job.Snapshot(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		files := 0
		for _, h := range c.lastAck() {
			if f := h.GetUploaded(); f != nil {
				files++
				if !strings.HasPrefix(f.GetKey(), "chk-3/") {
					t.Errorf("key %s", f.GetKey())
				}
			}
		}
		if want := map[uint32]int{0: 2, 60: 1, 1 << 20: 0}[left]; files != want {
			t.Errorf("%d left: %d files, want %d", left, files, want)
		}
	}
}

// TestInlineThreshold: the daemon of these tests says 20 KiB.
func TestInlineThreshold(t *testing.T) {
	t.Run("FS-14", func(t *testing.T) {
		c := newCluster(t)
		_, job := c.client([]string{c.start(daemonOptions{}).url})
		sizes := []int{0, 1, 20<<10 - 1, 20 << 10, 20<<10 + 1, 576446}
		var pieces []Piece
		for i, n := range sizes {
			pieces = append(pieces, piece(fmt.Sprint(i), Exclusive, randomBytes(byte(i), n)))
		}
		if err := job.Snapshot(t.Context(), snapshotOf(pieces...)); err != nil {
			t.Fatal(err)
		}
		for i, h := range c.lastAck() {
			got, file := h.GetInline(), h.GetUploaded() != nil
			if file {
				got = c.stored(h.GetUploaded())
			}
			if want := sizes[i] > 20<<10; file != want || !bytes.Equal(got, randomBytes(byte(i), sizes[i])) {
				t.Errorf("%d bytes: a file %v, want %v, with equal contents", sizes[i], file, want)
			}
		}
	})
}

// limitedConn breaks after so many bytes have been read; flippedConn damages one byte. Both only do it once per test.
type limitedConn struct {
	net.Conn
	n    int
	once *sync.Once
	flip bool
}

func (l *limitedConn) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if l.n -= n; l.n < 0 {
		l.once.Do(func() {
			if l.flip {
				p[n-1] ^= 1
				return
			}
			l.Conn.Close()
		})
	}
	return n, err
}

// A stream that breaks in the middle, or arrives damaged, is sent again from its source, under a new name.
func TestBrokenStreamIsSentAgain(t *testing.T) {
	for _, flip := range []bool{false, true} {
		c := newCluster(t)
		once := &sync.Once{}
		_, job := c.client([]string{c.start(daemonOptions{wrap: func(conn net.Conn) net.Conn {
			return &limitedConn{Conn: conn, n: 3 << 20, once: once, flip: flip}
		}}).url})
		p := randomBytes(2, 9<<20)
		opened := atomic.Int32{}
		q := piece("000001.sst", Shared, p)
		open := q.Open
		q.Open = func() (io.ReadCloser, error) { opened.Add(1); return open() }
		if err := job.Snapshot(t.Context(), snapshotOf(q)); err != nil {
			t.Fatal(err)
		}
		f := c.lastAck()[0].GetUploaded()
		if !bytes.Equal(c.stored(f), p) {
			t.Error("other bytes stored")
		}
		if opened.Load() != 3 {
			t.Errorf("opened %d times, want 3: for the sum and two tries", opened.Load())
		}
		if !strings.HasSuffix(f.GetKey(), "-2") || len(c.keys()) != 1 {
			t.Errorf("key %s; stored: %v", f.GetKey(), c.keys())
		}
	}
}

// Where the store does not know whether a file was made, it is sent again under another name.
func TestUnknownOutcomeIsSentAgain(t *testing.T) {
	c := newCluster(t)
	c.store = mem.NewFaults(c.store, func(m mem.Mutation) mem.Outcome {
		if m.N == 1 {
			return mem.DoneButError()
		}
		return mem.Done()
	})
	_, job := c.client([]string{c.start(daemonOptions{}).url})
	if err := job.Snapshot(t.Context(), snapshotOf(piece("a", Shared, []byte("bytes")))); err != nil {
		t.Fatal(err)
	}
	if n := len(c.keys()); n != 2 {
		t.Errorf("stored: %v", c.keys())
	}
}

// lateStore takes a file's bytes for some time, and then gives no outcome. It does so only the first time.
type lateStore struct {
	storage.Store
	takes time.Duration
	tries atomic.Int32
}

func (s *lateStore) Create(ctx context.Context, key string, o storage.CreateOptions) (storage.Writer, error) {
	w, err := s.Store.Create(ctx, key, o)
	if s.tries.Add(1) > 1 || err != nil {
		return w, err
	}
	return lateWriter{w, s.takes}, nil
}

type lateWriter struct {
	storage.Writer
	takes time.Duration
}

func (w lateWriter) Commit() error {
	time.Sleep(w.takes)
	return storage.ErrUnknown
}

// A file that took longer than the client's patience, which is for finding a daemon, is sent again all the same.
func TestLongStreamIsSentAgain(t *testing.T) {
	t.Parallel()
	const patience = 300 * time.Millisecond
	c := newCluster(t)
	s := &lateStore{Store: c.store, takes: 2 * patience}
	d := c.start(daemonOptions{store: s})
	_, job := c.client([]string{d.url}, WithPatience(patience))
	if err := job.Snapshot(t.Context(), snapshotOf(piece("1.sst", Shared, randomBytes(1, 1000)))); err != nil {
		t.Error(err)
	}
	if n := s.tries.Load(); n != 2 {
		t.Errorf("%d tries", n)
	}
}

func TestSourceErrors(t *testing.T) {
	c := newCluster(t)
	_, job := c.client([]string{c.start(daemonOptions{}).url})
	bad := errors.New("bad sector")
	p := randomBytes(1, 1<<20)
	opened := 0
	cases := map[string]func(q *Piece){
		"cannot be opened": func(q *Piece) { q.Open = func() (io.ReadCloser, error) { return nil, bad } },
		"cannot be read": func(q *Piece) {
			q.Open = func() (io.ReadCloser, error) {
				return io.NopCloser(io.MultiReader(bytes.NewReader(p[:1000]), iotest.ErrReader(bad))), nil
			}
		},
		"breaks while sent": func(q *Piece) {
			q.Open = func() (io.ReadCloser, error) {
				if opened++; opened == 1 {
					return io.NopCloser(bytes.NewReader(p)), nil
				}
				return io.NopCloser(io.MultiReader(bytes.NewReader(p[:800_000]), iotest.ErrReader(bad))), nil
			}
		},
	}
	for name, edit := range cases {
		q := piece("a", Shared, p)
		edit(&q)
		if err := job.Snapshot(t.Context(), snapshotOf(q)); !errors.Is(err, ErrSource) || !errors.Is(err, bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
	short := piece("a", Shared, p)
	short.Size++
	if err := job.Snapshot(t.Context(), snapshotOf(short)); !errors.Is(err, ErrSource) {
		t.Errorf("shorter than said: %v", err)
	}
	// A source that changes each time is not sent for ever.
	changing := piece("a", Shared, p)
	changing.Open = func() (io.ReadCloser, error) {
		p[0]++
		return io.NopCloser(bytes.NewReader(bytes.Clone(p))), nil
	}
	if err := job.Snapshot(t.Context(), snapshotOf(changing)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("changing: %v", err)
	}
	anonymous := piece("", Shared, p)
	if err := job.Snapshot(t.Context(), snapshotOf(anonymous)); !errors.Is(err, ErrInvalid) {
		t.Errorf("without a name: %v", err)
	}
	if len(c.acks) != 0 || len(c.keys()) != 0 {
		t.Errorf("%d acknowledged, stored: %v", len(c.acks), c.keys())
	}
}

// A checkpoint of an epoch that has ended is given up, not carried into the next.
func TestSnapshotEndsWithItsEpoch(t *testing.T) {
	c := newCluster(t)
	a, b := c.start(daemonOptions{}), c.start(daemonOptions{})
	_, job := c.client([]string{a.url, b.url})
	a.kill()
	for _, q := range []Piece{{Name: "offsets", Inline: []byte("x")}, piece("f", Shared, []byte("x"))} {
		if err := job.Snapshot(t.Context(), snapshotOf(q)); !errors.Is(err, ErrStaleEpoch) {
			t.Errorf("got %v", err)
		}
	}
	if len(c.acks) != 0 {
		t.Errorf("acknowledged: %v", c.acks)
	}
}

func TestRefusedUploadIsACleanError(t *testing.T) {
	c := newCluster(t)
	_, job := c.client([]string{c.start(daemonOptions{}).url})
	c.refusePut = refusal(connect.CodeFailedPrecondition, &ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_NOT_OPEN})
	if err := job.Snapshot(t.Context(), snapshotOf(piece("f", Shared, randomBytes(1, 5<<20)))); !errors.Is(err, ErrNotOpen) {
		t.Errorf("got %v", err)
	}
	c.refusePut = &storage.Error{Op: "create", Key: "k", Err: errors.New("odd")}
	if err := job.Snapshot(t.Context(), snapshotOf(piece("f", Shared, randomBytes(1, 5<<20)))); err == nil || !strings.Contains(err.Error(), "odd") {
		t.Errorf("got %v", err)
	}
}

// slowSource does not end its Read before it is told to, and knows whether it is being read.
type slowSource struct {
	began, reading atomic.Int32
	goOn           chan struct{}
}

func (s *slowSource) Read(p []byte) (int, error) {
	s.reading.Add(1)
	defer s.reading.Add(-1)
	s.began.Add(1)
	<-s.goOn
	return len(p), nil
}

func (s *slowSource) Close() error { return nil }

// After Snapshot has returned nobody reads a source any more, even if it returned because it was told to.
func TestSourcesAreLeftAlone(t *testing.T) {
	c := newCluster(t)
	d := c.start(daemonOptions{})
	_, job := c.client([]string{d.url})
	src := &slowSource{goOn: make(chan struct{})}
	q := piece("f", Shared, make([]byte, 1<<20))
	open, opens := q.Open, 0
	q.Open = func() (io.ReadCloser, error) {
		if opens++; opens == 1 {
			return open()
		}
		return src, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	var returned atomic.Bool
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		eventually(t, "reading", func() bool { return src.began.Load() > 0 })
		cancel()
		// The daemon has noticed that the request is over; Snapshot has not returned all the same.
		eventually(t, "the stream cut", func() bool { puts, _ := d.state.InFlight(); return puts == 0 })
		if returned.Load() {
			t.Error("still being read")
		}
		close(src.goOn)
	}()
	if err := job.Snapshot(ctx, snapshotOf(q)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	returned.Store(true)
	<-watched
	if src.reading.Load() != 0 {
		t.Error("still being read")
	}
}

// A daemon that stored something else than was sent is not believed.
func TestAnswersAreCompared(t *testing.T) {
	sums := &data.Sums{}
	_, _ = sums.Write([]byte("state"))
	if err := compare(sums.Handle("shared/x"), sums); err != nil {
		t.Error(err)
	}
	wrong := sums.Handle("shared/x")
	wrong.Crc32C++
	for _, f := range []*ckptdv1.FileHandle{nil, sums.Handle(""), wrong} {
		if err := compare(f, sums); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v: %v", f, err)
		}
	}
}
