package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// wantPutRefused uploads a file for a checkpoint and checks the reason of the refusal and the words of the error.
func (w *worker) wantPutRefused(d *daemon, checkpoint uint64, want ckptdv1.Refused_Reason, words ...string) {
	w.t.Helper()
	_, err := w.putAt(d, shared, checkpoint, "abc")
	wantRefused(w.t, err, want)
	wantCode(w.t, err, connect.CodeFailedPrecondition, append(words, fmt.Sprintf("put state of job %s, checkpoint %d:", w.job, checkpoint))...)
}

func TestTheOwnerTakesFilesOnlyForOpenCheckpoints(t *testing.T) {
	root := newRoot()
	held := &heldMetadata{Store: root.Store, begun: make(chan struct{}), goOn: make(chan struct{})}
	way := root
	way.Store = held
	d := startDaemon(t, way, "")
	goOn := sync.OnceFunc(func() { close(held.goOn) })
	t.Cleanup(goOn) // before the daemon's end, which waits for it
	w := oneWorker(t, d, "j", func(c *ckptdv1.JobConfig) { c.TolerableFailedCheckpoints = 1 })
	aborted := w.open()
	w.put(shared, aborted, "while it is open")
	if _, err := d.engineService().Decline(t.Context(), &ckptdv1.DeclineRequest{JobId: "j", Epoch: w.epoch, Attempt: w.attempt, CheckpointId: aborted}); err != nil {
		t.Fatal(err)
	}
	expect[abort](w)
	id := w.open()
	unchanged(t, root.Store, func() {
		w.wantPutRefused(d, aborted, ckptdv1.Refused_REASON_NOT_OPEN, "was aborted")
		w.wantPutRefused(d, id+1, ckptdv1.Refused_REASON_NOT_OPEN, "has not been triggered")
		w.wantPutRefused(d, 1_000, ckptdv1.Refused_REASON_NOT_OPEN, "has not been triggered")
		for _, attempt := range []uint64{0, w.attempt - 1, w.attempt + 1} {
			other := *w
			other.attempt = attempt
			other.wantPutRefused(d, id, ckptdv1.Refused_REASON_STALE_ATTEMPT, fmt.Sprintf("attempt %d", attempt), "follow the newest Start")
		}
		other := *w
		other.epoch++
		other.wantPutRefused(d, id, ckptdv1.Refused_REASON_STALE_EPOCH, "attach again")
	})
	w.mustAck(id, uploaded("i", "a", w.put(shared, id, "abc")))
	<-held.begun
	unchanged(t, root.Store, func() { w.wantPutRefused(d, id, ckptdv1.Refused_REASON_NOT_OPEN, "has all its acknowledgements") })
	goOn()
	expect[complete](w)
	w.wantPutRefused(d, id, ckptdv1.Refused_REASON_NOT_OPEN)
}

// The SDK reports that the checkpoint has ended, for a piece in a file and for an inline piece.
func TestTheSDKIsToldThatACheckpointIsOver(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	w := oneWorker(t, d, "j", nil)
	c, err := client.New([]string{d.http.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	job, err := c.AttachJob(t.Context(), client.JobSpec{ID: "j", Plan: sdkPlan(onePlan())})
	if err != nil {
		t.Fatal(err)
	}
	id, big := w.open(), strings.Repeat("x", 100<<10)
	file := client.Piece{Name: "f", Size: int64(len(big)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(big)), nil }}
	snapshot := func(p client.Piece) error {
		return job.Snapshot(t.Context(), client.Snapshot{Attempt: w.attempt, Epoch: w.epoch, Checkpoint: id,
			Subtasks: []client.SubtaskSnapshot{{Subtask: client.Subtask{Operator: "count"}, Pieces: []client.Piece{p}}}})
	}
	if err := snapshot(file); err != nil {
		t.Fatal(err)
	}
	expect[complete](w)
	for name, p := range map[string]client.Piece{"a file": file, "inline": {Name: "n", Inline: []byte("abc")}} {
		if err := snapshot(p); !errors.Is(err, client.ErrNotOpen) {
			t.Errorf("%s, repeated: %v, want ErrNotOpen", name, err)
		}
	}
}

// journalReads counts reads of journal entries.
type journalReads struct {
	storage.Store
	n atomic.Int64
}

func (s *journalReads) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if strings.HasPrefix(key, layout.JournalPrefix("j")) {
		s.n.Add(1)
	}
	return s.Store.Open(ctx, key, offset, length)
}

func TestAnotherDaemonJudgesUploadsByTheHead(t *testing.T) {
	root := newRoot()
	reads := &journalReads{Store: root.Store}
	way := root
	way.Store = reads
	d, other := startDaemon(t, root, ""), startDaemon(t, way, "")
	w := oneWorker(t, d, "j", nil)
	id := w.open()
	before := reads.n.Load()
	const files = 5
	for range files {
		if _, err := w.putAt(other, shared, id, "abc"); err != nil {
			t.Fatal(err)
		}
	}
	if n := reads.n.Load() - before; n != 1+files {
		t.Errorf("%d uploads of one epoch: %d reads of the journal, want one before the first upload, and one after each, to learn whether the job has ended", files, n)
	}
	reserved := head(t, root, "j").Reserved
	unchanged(t, root.Store, func() {
		for _, epoch := range []uint64{w.epoch + 1, w.epoch + 100} {
			stale := *w
			stale.epoch = epoch
			stale.wantPutRefused(other, id, ckptdv1.Refused_REASON_STALE_EPOCH, "attach again")
		}
		stale := *w
		stale.attempt++
		stale.wantPutRefused(other, id, ckptdv1.Refused_REASON_STALE_ATTEMPT, "follow the newest Start")
		w.wantPutRefused(other, reserved+1, ckptdv1.Refused_REASON_NOT_OPEN, "has not been triggered")
		none := *w
		none.job = "none"
		_, err := none.putAt(other, shared, id, "abc")
		wantCode(t, err, connect.CodeNotFound, "put state of job none", "no journal", "call AttachJob")
	})
	old := *w
	if _, err := d.engineService().NewAttempt(t.Context(), &ckptdv1.NewAttemptRequest{JobId: "j", Attempt: w.attempt}); err != nil {
		t.Fatal(err)
	}
	w.begin()
	id = w.open()
	if _, err := w.putAt(other, shared, id, "abc"); err != nil {
		t.Errorf("the next attempt: %v, want its file taken", err)
	}
	unchanged(t, root.Store, func() { old.wantPutRefused(other, id, ckptdv1.Refused_REASON_STALE_ATTEMPT) })
}

func TestAcknowledgementsUnderAnotherRequestID(t *testing.T) {
	d := startDaemon(t, newRoot(), "")
	d.attach(t, "j", twoPlan(), nil)
	w := d.register(t, "j", "w", 0, subtask("source"), subtask("sink"))
	w.begin()
	ack := func(id uint64, request string, subtasks ...string) error {
		req := &ckptdv1.AcknowledgeRequest{JobId: "j", Epoch: w.epoch, Attempt: w.attempt, CheckpointId: id, RequestId: request}
		for _, s := range subtasks {
			req.Snapshots = append(req.Snapshots, subtaskState(s, 0, inlineState(id)...))
		}
		_, err := d.engineService().Acknowledge(t.Context(), req)
		return err
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	id := w.open()
	must(ack(id, "first", "source"))
	must(ack(id, "first", "source"))
	err := ack(id, "other", "source")
	wantRefused(t, err, ckptdv1.Refused_REASON_UNKNOWN_HANDLE)
	wantCode(t, err, connect.CodeInvalidArgument, fmt.Sprintf("acknowledge checkpoint %d of job j", id), "source[0] has acknowledged it already", "request id")
	must(ack(id, "second", "sink"))
	expect[complete](w)
	must(ack(id, "first", "source"))
	must(ack(id, "second", "sink"))
	for what, err := range map[string]error{
		"a new request id": ack(id, "third", "source"), "both subtasks": ack(id, "third", "source", "sink"), "none": ack(id, "", "sink"),
		"another subtask's request id": ack(id, "first", "sink"), "more subtasks than under the request id": ack(id, "first", "source", "sink"),
	} {
		if r := detail[*ckptdv1.Refused](err); r.GetReason() != ckptdv1.Refused_REASON_NOT_OPEN {
			t.Errorf("after completion, %s: %v, want NOT_OPEN", what, err)
			continue
		}
		wantCode(t, err, connect.CodeFailedPrecondition, fmt.Sprintf("acknowledge checkpoint %d of job j", id), "it is complete", "request id")
	}
	for range 20 { // the calls of old checkpoints are forgotten, those of the last few are not
		last := id
		id = w.open()
		must(ack(id, "first", "source"))
		must(ack(id, "second", "sink"))
		expect[complete](w)
		must(ack(last, "first", "source"))
	}
}

// An acknowledgement must describe a file as PutState answered it. A refused acknowledgement changes nothing.
func TestAcknowledgementsDescribeFilesAsTheyWereStored(t *testing.T) {
	const block = 4 << 20
	change := func(f *ckptdv1.FileHandle, edit func(*ckptdv1.FileHandle)) *ckptdv1.FileHandle {
		c := &ckptdv1.FileHandle{Key: f.GetKey(), Length: f.GetLength(), Crc32C: f.GetCrc32C(), BlockCrc32C: append([]uint32(nil), f.GetBlockCrc32C()...)}
		edit(c)
		return c
	}
	wrong := map[string]func(*ckptdv1.FileHandle){
		"a shorter length":      func(f *ckptdv1.FileHandle) { f.Length-- },
		"no length":             func(f *ckptdv1.FileHandle) { f.Length = 0 },
		"another sum":           func(f *ckptdv1.FileHandle) { f.Crc32C++ },
		"no sum":                func(f *ckptdv1.FileHandle) { f.Crc32C = 0 },
		"another block's sum":   func(f *ckptdv1.FileHandle) { f.BlockCrc32C[1]++ },
		"no block sums":         func(f *ckptdv1.FileHandle) { f.BlockCrc32C = nil },
		"one block sum too few": func(f *ckptdv1.FileHandle) { f.BlockCrc32C = f.BlockCrc32C[:1] },
	}
	big := strings.Repeat("0123456789abcdef", block/16) + "and a bit"
	for name, edit := range wrong {
		t.Run("stored here: "+name, func(t *testing.T) {
			root := newRoot()
			d := startDaemon(t, root, "")
			w := oneWorker(t, d, "j", nil)
			id := w.open()
			f := w.put(shared, id, big)
			unchanged(t, root.Store, func() {
				err := w.ack(id, uploaded("i", "a", change(f, edit)))
				wantRefused(t, err, ckptdv1.Refused_REASON_UNKNOWN_HANDLE)
				wantCode(t, err, connect.CodeInvalidArgument, fmt.Sprintf("acknowledge checkpoint %d of job j", id), f.GetKey(), "as PutState answered it")
			})
			w.mustAck(id, uploaded("i", "a", f))
			expect[complete](w)
			wantPieces(t, tableOf(t, read(t, root.Store, layout.MetadataKey("j", id))),
				map[string][]piece{"count[0]": {{name: "a", instance: "i", file: fileOf(f)}}})
		})
	}
	// If another daemon stored the file, the owner knows the description in the first accepted acknowledgement.
	two := func(t *testing.T) (root storage.Opened, w *worker, id uint64, f *ckptdv1.FileHandle) {
		root = newRoot()
		d, other := startDaemon(t, root, ""), startDaemon(t, root, "")
		d.attach(t, "j", twoPlan(), nil)
		w = d.register(t, "j", "w", 0, subtask("source"), subtask("sink"))
		w.begin()
		id = w.open()
		f, err := w.putAt(other, shared, id, "abc")
		if err != nil {
			t.Fatal(err)
		}
		return root, w, id, f
	}
	wantRight := func(t *testing.T, root storage.Opened, w *worker, id uint64, f *ckptdv1.FileHandle) {
		t.Helper()
		w.mustAckAll(id, subtaskState("sink", 0, uploaded("i", "a", f)))
		expect[complete](w)
		right := []piece{{name: "a", instance: "i", file: fileOf(f)}}
		wantPieces(t, tableOf(t, read(t, root.Store, layout.MetadataKey("j", id))), map[string][]piece{"source[0]": right, "sink[0]": right})
	}
	bad := func(f *ckptdv1.FileHandle) *ckptdv1.FileHandle {
		return change(f, func(f *ckptdv1.FileHandle) { f.Crc32C++ })
	}
	t.Run("stored elsewhere: a refused acknowledgement is forgotten", func(t *testing.T) {
		root, w, id, f := two(t)
		for _, refused := range []error{
			w.ackAll(id, subtaskState("source", 0, uploaded("x", "y", bad(f)), known("", 4711))),
			w.ackAll(id, subtaskState("source", 0, uploaded("x", "y", bad(f)), known("", 0))),
			w.ackAll(id, subtaskState("source", 0, uploaded("x", "y", bad(f)), inline("n", strings.Repeat("x", 2<<20)))),
			w.ackAll(id, subtaskState("source", 0, uploaded("x", "y", bad(f)), uploaded("x", "y", f))),
		} {
			if refused == nil {
				t.Fatal("accepted, want it refused")
			}
		}
		w.mustAckAll(id, subtaskState("source", 0, uploaded("i", "a", f)))
		wantRight(t, root, w, id, f)
	})
	t.Run("stored elsewhere: the block sums are those of the length", func(t *testing.T) {
		root, w, id, f := two(t)
		for _, edit := range []func(*ckptdv1.FileHandle){
			func(f *ckptdv1.FileHandle) { f.BlockCrc32C = []uint32{f.GetCrc32C()} },
			func(f *ckptdv1.FileHandle) { f.Length = block + 1 },
			func(f *ckptdv1.FileHandle) { f.Length, f.BlockCrc32C = block+1, []uint32{1, 2, 3} },
		} {
			err := w.ackAll(id, subtaskState("source", 0, uploaded("i", "a", change(f, edit))))
			wantRefused(t, err, ckptdv1.Refused_REASON_UNKNOWN_HANDLE)
			wantCode(t, err, connect.CodeInvalidArgument, f.GetKey(), "block sums for", "want")
		}
		w.mustAckAll(id, subtaskState("source", 0, uploaded("i", "a", f)))
		wantRight(t, root, w, id, f)
	})
	t.Run("stored elsewhere: the second description has to be the first", func(t *testing.T) {
		root, w, id, f := two(t)
		w.mustAckAll(id, subtaskState("source", 0, uploaded("i", "a", f)))
		err := w.ackAll(id, subtaskState("sink", 0, uploaded("i", "a", bad(f))))
		wantRefused(t, err, ckptdv1.Refused_REASON_UNKNOWN_HANDLE)
		wantCode(t, err, connect.CodeInvalidArgument, "not the file that was stored", "CRC32C")
		wantRight(t, root, w, id, f)
	})
}

// A report without a kind is refused. It would change nothing otherwise.
func TestAReportSaysItsKind(t *testing.T) {
	d := startDaemon(t, newRoot(), "")
	w := oneWorker(t, d, "j", nil)
	err := w.tell(t.Context(), &ckptdv1.ReportRequest{})
	wantCode(t, err, connect.CodeInvalidArgument, "report of job j", "kind", "KIND_RUNNING")
	w.report(ckptdv1.ReportRequest_KIND_ALIVE, nil)
}

// A handle without a length is refused. Otherwise the file would seem empty.
func TestGetStateWantsALength(t *testing.T) {
	d := startDaemon(t, newRoot(), "")
	w := oneWorker(t, d, "j", nil)
	id := w.open()
	f, empty := w.put(shared, id, "abc"), w.put(shared, id, "")
	get := func(f *ckptdv1.FileHandle) (n int, err error) {
		stream, err := d.state().GetState(t.Context(), &ckptdv1.GetStateRequest{JobId: "j", File: f})
		if err != nil {
			return 0, err
		}
		defer stream.Close()
		for stream.Receive() {
			n += len(stream.Msg().GetChunk())
		}
		return n, stream.Err()
	}
	_, err := get(&ckptdv1.FileHandle{Key: f.GetKey()})
	wantCode(t, err, connect.CodeInvalidArgument, "get state", f.GetKey(), "no length", "3 bytes")
	_, err = get(&ckptdv1.FileHandle{Key: empty.GetKey(), Crc32C: 7})
	wantCode(t, err, connect.CodeInvalidArgument, "no length")
	_, err = get(&ckptdv1.FileHandle{Key: sibling(t, f.GetKey(), 99)})
	wantCode(t, err, connect.CodeNotFound)
	for want, f := range map[int]*ckptdv1.FileHandle{0: empty, 3: f} {
		if n, err := get(f); n != want || err != nil {
			t.Errorf("%d bytes, %v; want %d", n, err, want)
		}
	}
	m := ckptdv1.File_ckptd_v1_engine_proto.Services().ByName("StateService").Methods().ByName("GetState")
	if r := d.post(t, m, "application/connect+json", fmt.Sprintf(`{"jobId": "j", "file": {"key": %q}}`, f.GetKey())); r.Code != "invalid_argument" {
		t.Errorf("in JSON: %+v, want invalid_argument", r)
	}
}
