package service_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"connectrpc.com/connect"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/layouttest"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service"
)

// fileRecord is the tag of the record of a file in a _metadata. jobOfFile is the field with the job in whose folder the file lies.
const (
	fileRecord = 4<<3 | 2
	jobOfFile  = 10
)

// hostileAtMost bounds what is allocated for a refusal, whatever the _metadata claims to hold.
const hostileAtMost = 64 << 20

// TestRestoreFromHostileMetadata: somebody who can write the store makes a _metadata, with sums that fit and a journal that names it. A job
// that begins from it is refused in both modes, with the checkpoint's name. Nothing is written, and memory is bounded.
func TestRestoreFromHostileMetadata(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	a := oneWorker(t, d, "a", nil)
	id := a.checkpoint(a.ofAll)
	d.cancel(t, "a")
	d.waitReleased(t)
	d.kill()
	key, from := layout.MetadataKey("a", id), "a/"+layout.CheckpointDir(id)
	good := []byte(read(t, root.Store, key))
	if again := layouttest.Reframe(good, func(p []byte) []byte { return p }); !bytes.Equal(good, again) {
		t.Fatal("Reframe does not know the format")
	}
	message := func(field byte, body []byte) []byte {
		return append(binary.AppendUvarint([]byte{field<<3 | 2}, uint64(len(body))), body...)
	}
	// file makes the record of another file out of that of the first: its scope, name and job.
	file := func(scope byte, name, job string) []byte {
		first := true
		return layouttest.Reframe(good, func(p []byte) []byte {
			if p[0] != fileRecord || !first {
				return p
			}
			first = false
			body := append([]byte{1 << 3, scope}, message(2, []byte(name))...)
			body = append(body, 3<<3, 11, 4<<3|5, 0xba, 0xc1, 0xd4, 0x08)
			if job != "" {
				body = append(body, message(jobOfFile, []byte(job))...)
			}
			return message(4, body)
		})
	}
	records := 0
	crowd := layouttest.Reframe(good, func(p []byte) []byte {
		if records++; records == 2 { // the job's record becomes one of two million handles
			return message(5, bytes.Repeat([]byte{0x12, 0}, 1<<20-8))
		}
		return p
	})
	slot, head := *head(t, root, "a"), head(t, root, "a")
	for name, bad := range map[string][]byte{
		"a path that leaves the root": file(2, "../../../etc/passwd", ""),
		"an absolute path":            file(1, "/etc/passwd", ""),
		"a path into the journal":     file(2, "../_journal/00000000000000000001", ""),
		"a job that is a path":        file(2, "43-1-1-rjabhe67mxeqz4jtscouglglv4-1", "../other"),
		"a scope that is none":        file(77, "43-1-1-rjabhe67mxeqz4jtscouglglv4-1", ""),
		"four GiB promised":           append(bytes.Clone(good[:layouttest.Preamble]), 0xff, 0xff, 0xff, 0xff, 1, 2, 3),
		"two million handles":         crowd,
	} {
		t.Run(name, func(t *testing.T) {
			overwrite(t, root.Store, key, func([]byte) []byte { return bad })
			e := slot
			e.Retained = []journal.Checkpoint{head.Retained[0]}
			e.Retained[0].Size, e.Retained[0].CRC = uint64(len(bad)), crc32c.Sum(bad)
			b, err := journal.Encode(&e)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, root.Store, layout.SlotKey("a", e.Slot), func([]byte) []byte { return b })
			d := startDaemon(t, root, "")
			defer d.kill()
			for _, claim := range []bool{false, true} {
				req := restoreRequest("b", from)
				if claim {
					req.ClaimMode = ckptdv1.ClaimMode_CLAIM_MODE_CLAIM
				}
				unchanged(t, root.Store, func() {
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					_, err := d.engineService().AttachJob(t.Context(), req)
					runtime.ReadMemStats(&after)
					wantCode(t, err, connect.CodeDataLoss, "job b", from, key)
					if n := after.TotalAlloc - before.TotalAlloc; n > hostileAtMost {
						t.Errorf("%d MiB were allocated, want at most %d", n>>20, hostileAtMost>>20)
					}
				})
			}
		})
	}
}

// TestTheFirstCheckpointIsFull: after a restore with NO_CLAIM no foreign file is reused until a checkpoint is complete, whatever happens before
// (subtest ids: Flink's forced full checkpoint).
func TestTheFirstCheckpointIsFull(t *testing.T) {
	root := newRoot()
	d := startDaemonWith(t, root, "", service.Options{Savepoints: farSavepoints(newRoot())})
	a := oneWorker(t, d, "a", nil)
	first := a.checkpoint(a.ofAll)
	req := restoreRequest("b", "a/"+layout.CheckpointDir(first))
	req.Config.TolerableFailedCheckpoints = 1
	if _, err := d.engineService().AttachJob(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	b := d.register(t, "b", "w-b", 0, subtask("count"))
	b.begin()
	full := func(t *testing.T, why string) uint64 {
		t.Helper()
		return b.checkpoint(func(id uint64) []*ckptdv1.SnapshotHandle {
			if n := b.restoredAs(id, b.sharedOf("s")); n != 0 {
				t.Errorf("%s: the foreign file is known as %d, want it unknown", why, n)
			}
			return b.ofAll(id)
		})
	}
	t.Run("TR-10: neither a savepoint nor a checkpoint that does not complete counts", func(t *testing.T) {
		saved := d.savepoint(t, "b", "").GetCheckpointId()
		b.mustAck(b.triggered(), b.ofAll(saved)...)
		eventually(t, "the savepoint", func() bool { return d.outcome(t, "b", saved) == done })
		id := b.open()
		if n := b.restoredAs(id, b.sharedOf("s")); n != 0 {
			t.Errorf("the foreign file is known as %d, want it unknown", n)
		}
		if _, err := d.engineService().Decline(t.Context(), &ckptdv1.DeclineRequest{JobId: "b", Epoch: b.epoch, Attempt: b.attempt, CheckpointId: id}); err != nil {
			t.Fatal(err)
		}
		expect[abort](b)
	})
	t.Run("TR-11: a new owner forces it, too", func(t *testing.T) {
		d.kill()
		d = startDaemon(t, root, "")
		d.attach(t, "b", nil, func(c *ckptdv1.JobConfig) { c.TolerableFailedCheckpoints = 1 })
		b = d.register(t, "b", "w-b2", 0, subtask("count"))
		b.begin()
		wantStates(t, b, "a")
		full(t, "after the loss of the owner")
	})
}
