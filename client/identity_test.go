package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// sst is a shared piece of an instance; opened counts how often it is opened.
func sst(instance, name string, p []byte, opened *atomic.Int32) Piece {
	q := piece(name, Shared, p)
	open := q.Open
	q.InstanceNonce = instance
	q.Open = func() (io.ReadCloser, error) { opened.Add(1); return open() }
	return q
}

// arrangements are the ways in which pieces can come together in one Snapshot.
var arrangements = map[string]func(pieces ...Piece) Snapshot{
	"two subtasks": func(pieces ...Piece) Snapshot {
		s := snapshotOf()
		s.Subtasks = nil
		for i, p := range pieces {
			s.Subtasks = append(s.Subtasks, SubtaskSnapshot{Subtask: Subtask{"map", uint32(i)}, Pieces: []Piece{p}})
		}
		return s
	},
	"one subtask": snapshotOf,
}

// handles are those of the only acknowledgement, in order.
func (c *cluster) handles() (handles []*ckptdv1.SnapshotHandle) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.acks) != 1 {
		c.t.Fatalf("%d acknowledgements, want 1", len(c.acks))
	}
	for _, s := range c.acks[0].GetSnapshots() {
		handles = append(handles, s.GetHandles()...)
	}
	return handles
}

// Two shared files are one only if instance, name and size are the same: each piece gets its own bytes back.
func TestSharedFilesAreToldApart(t *testing.T) {
	one, two, longer := []byte("bytes of one"), []byte("bytes of two"), []byte("bytes of two, longer")
	for name, test := range map[string]struct {
		instance, name string
		content        []byte
		same           bool
	}{
		"another instance":                          {"b", "000001.sst", two, false},
		"another instance with the same bytes":      {"b", "000001.sst", one, false},
		"another name":                              {"a", "000002.sst", two, false},
		"another size":                              {"a", "000001.sst", longer, false},
		"names that are the same one after another": {"a0", "00001.sst", two, false},
		"instance and name exchanged":               {"000001.sst", "a", two, false},
		"the same file":                             {"a", "000001.sst", one, true},
	} {
		for how, arrange := range arrangements {
			t.Run(name+" in "+how, func(t *testing.T) {
				c := newCluster(t)
				d := c.start(daemonOptions{})
				_, job := c.client([]string{d.url})
				var opened atomic.Int32
				pieces := []Piece{sst("a", "000001.sst", one, &opened), sst(test.instance, test.name, test.content, &opened)}
				if err := job.Snapshot(t.Context(), arrange(pieces...)); err != nil {
					t.Fatal(err)
				}
				files := 2
				if test.same {
					files = 1
				}
				handles := c.handles()
				for i, want := range [][]byte{one, test.content} {
					h := handles[i]
					if got := c.stored(h.GetUploaded()); !bytes.Equal(got, want) {
						t.Errorf("piece %d restores %q, want %q", i, got, want)
					}
					if h.GetName() != pieces[i].Name || h.GetInstanceNonce() != pieces[i].InstanceNonce {
						t.Errorf("piece %d is called %s of %s, want %s of %s",
							i, h.GetName(), h.GetInstanceNonce(), pieces[i].Name, pieces[i].InstanceNonce)
					}
				}
				if n := len(c.keys()); n != files || int(opened.Load()) != 2*files {
					t.Errorf("%d files stored, sources opened %d times; want %d files, each opened twice", n, opened.Load(), files)
				}
				if asked := d.got("BeginSnapshot"); len(asked) != 1 || len(asked[0].(*ckptdv1.BeginSnapshotRequest).GetFiles()) != files {
					t.Errorf("asked %v, want once, for %d files", asked, files)
				}
			})
		}
	}
}

// The client asks for each file by instance, name, size and restored key. Each answer counts for its own file alone.
func TestKnownFilesAreTakenEachForItself(t *testing.T) {
	for known := range 1 << 3 { // each of three files may be known
		t.Run(fmt.Sprintf("known %03b", known), func(t *testing.T) {
			c := newCluster(t)
			d := c.start(daemonOptions{})
			_, job := c.client([]string{d.url})
			var opened atomic.Int32
			pieces := []Piece{
				sst("a", "000001.sst", []byte("first"), &opened),
				sst("b", "000001.sst", []byte("second"), &opened),
				sst("a", "000002.sst", []byte("third one"), &opened),
			}
			pieces[1].RestoredKey = "shared/restored"
			for i, p := range pieces {
				if known>>i&1 == 1 {
					c.known[p.InstanceNonce+"/"+p.Name] = uint32(70 + i)
				}
			}
			if err := job.Snapshot(t.Context(), arrangements["two subtasks"](pieces...)); err != nil {
				t.Fatal(err)
			}
			asked := d.got("BeginSnapshot")[0].(*ckptdv1.BeginSnapshotRequest)
			if asked.GetEpoch() != 1 || asked.GetAttempt() != 1 || asked.GetCheckpointId() != 3 || len(asked.GetSubtasks()) != 3 || len(asked.GetFiles()) != 3 {
				t.Fatalf("asked %v, want three files of three subtasks for checkpoint 3", asked)
			}
			for i, h := range c.handles() {
				p, f := pieces[i], asked.GetFiles()[i]
				if f.GetInstanceNonce() != p.InstanceNonce || f.GetName() != p.Name || int64(f.GetSize()) != p.Size || f.GetRestoredKey() != p.RestoredKey {
					t.Errorf("file %d: asked for %v, want %s of %s, %d bytes, restored from %q", i, f, p.Name, p.InstanceNonce, p.Size, p.RestoredKey)
				}
				if known>>i&1 == 1 {
					if h.GetKnown() != uint32(70+i) || h.GetUploaded() != nil {
						t.Errorf("file %d is acknowledged as %v, want as known %d", i, h, 70+i)
					}
					// The daemon may know a restored file by another instance's names.
					if named := h.GetName() == p.Name && h.GetInstanceNonce() == p.InstanceNonce; named != (p.RestoredKey != "") {
						t.Errorf("known file %d is called %q of %q; want its names only if it was restored", i, h.GetName(), h.GetInstanceNonce())
					}
					continue
				}
				if !strings.HasPrefix(h.GetUploaded().GetKey(), "shared/") || int64(h.GetUploaded().GetLength()) != p.Size {
					t.Errorf("file %d is acknowledged as %v, want as uploaded", i, h)
				}
			}
		})
	}
}

// A shared file without a full identity could be taken for another one.
func TestSharedFilesNeedBothNames(t *testing.T) {
	c := newCluster(t)
	d := c.start(daemonOptions{})
	_, job := c.client([]string{d.url})
	for _, names := range [][2]string{{"", "000001.sst"}, {"a", ""}, {"", ""}} {
		if err := job.Snapshot(t.Context(), snapshotOf(sst(names[0], names[1], []byte("x"), new(atomic.Int32)))); !errors.Is(err, ErrInvalid) {
			t.Errorf("instance %q, name %q: %v, want ErrInvalid", names[0], names[1], err)
		}
	}
	if len(c.calls["BeginSnapshot"]) != 0 || len(c.acks) != 0 || len(c.keys()) != 0 {
		t.Errorf("the daemon got something: %v", c.calls)
	}
}
