package main

import (
	"bytes"
	"strings"
	"testing"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// who-uses lists the pins on its checkpoint alone, by the head of the journal.
func TestWhoUses(t *testing.T) {
	pin := func(checkpoint uint64, job string) *ckptdv1.JournalPin {
		return &ckptdv1.JournalPin{CheckpointId: checkpoint, JobId: job, HolderEpoch: 3, Pin: "p-" + job, Mode: ckptdv1.ClaimMode_CLAIM_MODE_NO_CLAIM}
	}
	j := &ckptdv1.ShowJournalResponse{Entries: []*ckptdv1.JournalEntry{
		{Lent: []*ckptdv1.JournalPin{pin(42, "before")}},
		{Lent: []*ckptdv1.JournalPin{pin(41, "other"), pin(42, "heir")}, Retained: []*ckptdv1.JournalCheckpoint{
			{Summary: &ckptdv1.CheckpointSummary{CheckpointId: 42}, State: ckptdv1.CheckpointState_CHECKPOINT_STATE_HIDDEN},
		}},
	}}
	res, err := usesOf(j, "clicks", 42)
	if err != nil || len(res.GetPins()) != 1 || res.GetState() != ckptdv1.CheckpointState_CHECKPOINT_STATE_HIDDEN {
		t.Fatalf("%v, %v; want the pin of job heir on a hidden checkpoint", res, err)
	}
	var out bytes.Buffer
	printUses(&out, res)
	if text := out.String(); !strings.Contains(text, "heir  no claim  3          p-heir") || strings.Contains(text, "other") {
		t.Errorf("printed\n%s\nwant job heir alone", text)
	}
	j.Entries = append(j.Entries, &ckptdv1.JournalEntry{Slot: 9, Error: "damaged"})
	if _, err := usesOf(j, "clicks", 42); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%v, want that the head cannot be read", err)
	}
}
