package catalog_test

import (
	"errors"
	"testing"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/layouttest"
)

// TestKindOfANewerVersionIsShown: the kind of an entry is for people, so an unknown one is shown by its number and
// hides nothing.
func TestKindOfANewerVersionIsShown(t *testing.T) {
	s, c := example(t)
	e, err := journal.Decode(object(t, s, layout.SlotKey(layouttest.Running, 4)))
	if err != nil {
		t.Fatal(err)
	}
	newer := *e
	newer.Kind = 99
	b, err := journal.Encode(&newer)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, layout.SlotKey(layouttest.Running, 4), b)
	got, err := c.Journal(t.Context(), layouttest.Running)
	if err != nil {
		t.Fatal(err)
	}
	if head := got.GetEntries()[3]; head.GetKind() != "kind 99" || head.GetError() != "" || len(head.GetRetained()) != 2 {
		t.Errorf("head %v, want kind 99 with its two checkpoints", head)
	}
	if list, err := c.Checkpoints(t.Context(), layouttest.Running); err != nil || len(list.GetCheckpoints()) != 2 {
		t.Errorf("checkpoints %v, %v; want two", list, err)
	}
}

// TestStatusOfANewerVersionIsNoDamage: the status decides something, so the job is not shown; but nothing is broken.
func TestStatusOfANewerVersionIsNoDamage(t *testing.T) {
	s, c := example(t)
	e, err := journal.Decode(object(t, s, layout.SlotKey(layouttest.Running, 4)))
	if err != nil {
		t.Fatal(err)
	}
	newer := *e
	newer.Status = journal.StatusRemoved + 1
	b, err := journal.Encode(&newer)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, layout.SlotKey(layouttest.Running, 4), b)
	if _, err := c.Checkpoints(t.Context(), layouttest.Running); !errors.Is(err, journal.ErrNewer) || errors.Is(err, catalog.ErrDamaged) {
		t.Errorf("checkpoints: %v, want ErrNewer and no damage", err)
	}
}
