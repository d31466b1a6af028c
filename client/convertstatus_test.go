package client

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Every field of the answers has its place in the Go structs, under its own name: when a field of the message is cleared,
// the struct field of that name becomes its zero value, and no other one changes.
func TestAnswersAreWhole(t *testing.T) {
	for _, c := range []struct {
		message proto.Message
		convert func(proto.Message) any
	}{
		{&ckptdv1.GetStatusResponse{}, func(m proto.Message) any { return fromStatus(m.(*ckptdv1.GetStatusResponse)) }},
		{&ckptdv1.JobState{}, func(m proto.Message) any { return fromJobState(m.(*ckptdv1.JobState)) }},
		{&ckptdv1.JobSummary{}, func(m proto.Message) any { return fromJob(m.(*ckptdv1.JobSummary)) }},
		{&ckptdv1.CheckpointSummary{}, func(m proto.Message) any { return fromCheckpoint(m.(*ckptdv1.CheckpointSummary)) }},
		{&ckptdv1.ShowCheckpointResponse{}, func(m proto.Message) any { return fromDetails(m.(*ckptdv1.ShowCheckpointResponse)) }},
		{&ckptdv1.OperatorSummary{}, func(m proto.Message) any { return fromOperatorSummary(m.(*ckptdv1.OperatorSummary)) }},
		{&ckptdv1.Operator{}, func(m proto.Message) any { return fromOperator(m.(*ckptdv1.Operator)) }},
		{&ckptdv1.StateSummary{}, func(m proto.Message) any { return fromStateSummary(m.(*ckptdv1.StateSummary)) }},
		{&ckptdv1.FileSummary{}, func(m proto.Message) any { return fromFileSummary(m.(*ckptdv1.FileSummary)) }},
		{&ckptdv1.PieceSummary{}, func(m proto.Message) any { return fromPieceSummary(m.(*ckptdv1.PieceSummary)) }},
		{&ckptdv1.PendingCheckpoint{}, func(m proto.Message) any { return fromPending(m.(*ckptdv1.PendingCheckpoint)) }},
		{&ckptdv1.WorkerState{}, func(m proto.Message) any { return fromWorker(m.(*ckptdv1.WorkerState)) }},
		{&ckptdv1.JobEvent{}, func(m proto.Message) any { return fromEvent(m.(*ckptdv1.JobEvent)) }},
		{&ckptdv1.GetHistoryResponse{}, func(m proto.Message) any { return fromHistory(m.(*ckptdv1.GetHistoryResponse)) }},
		{&ckptdv1.HistoryCounts{}, func(m proto.Message) any { return fromCounts(m.(*ckptdv1.HistoryCounts)) }},
		{&ckptdv1.HistoryLatest{}, func(m proto.Message) any { return fromLatest(m.(*ckptdv1.HistoryLatest)) }},
		{&ckptdv1.RestoreRecord{}, func(m proto.Message) any { return fromRestore(m.(*ckptdv1.RestoreRecord)) }},
		{&ckptdv1.CheckpointRecord{}, func(m proto.Message) any { return fromRecord(m.(*ckptdv1.CheckpointRecord)) }},
		{&ckptdv1.OperatorRecord{}, func(m proto.Message) any { return fromOperatorRecord(m.(*ckptdv1.OperatorRecord)) }},
		{&ckptdv1.DurationSummary{}, func(m proto.Message) any { return fromDurations(m.(*ckptdv1.DurationSummary)) }},
		{&ckptdv1.ByteSummary{}, func(m proto.Message) any { return fromBytes(m.(*ckptdv1.ByteSummary)) }},
		{&ckptdv1.CancelJobResponse{}, func(m proto.Message) any { return fromCanceled(m.(*ckptdv1.CancelJobResponse)) }},
	} {
		name := c.message.ProtoReflect().Descriptor().Name()
		fill(c.message.ProtoReflect())
		whole := reflect.ValueOf(c.convert(c.message))
		fields := c.message.ProtoReflect().Descriptor().Fields()
		if got, want := whole.NumField(), fields.Len(); got != want {
			t.Errorf("%s: %s has %d fields, want %d", name, whole.Type(), got, want)
		}
		for i := range fields.Len() {
			f := fields.Get(i)
			part := proto.Clone(c.message)
			part.ProtoReflect().Clear(f)
			got := reflect.ValueOf(c.convert(part))
			for j := range got.NumField() {
				field, cleared := got.Type().Field(j).Name, namedAlike(name, f.Name(), got.Type().Field(j).Name)
				if changed := !reflect.DeepEqual(got.Field(j).Interface(), whole.Field(j).Interface()); changed != cleared || cleared && !got.Field(j).IsZero() {
					t.Errorf("%s without %s: %s is %v, was %v", name, f.Name(), field, got.Field(j), whole.Field(j))
				}
			}
		}
	}
}

// namedAlike tells whether the field of a struct stands for this field of a message.
func namedAlike(message, field protoreflect.Name, name string) bool {
	other, ok := map[string]string{
		"JobSummary.job_id":               "ID",
		"CheckpointSummary.checkpoint_id": "ID",
		"CheckpointRecord.checkpoint_id":  "ID",
		"Operator.uid":                    "Name",
		"JobEvent.checkpoint":             "Completed",
	}[fmt.Sprint(message, ".", field)]
	if !ok {
		other = strings.ReplaceAll(string(field), "_", "")
		other = strings.Replace(strings.Replace(other, "checkpointid", "checkpoint", 1), "jobid", "job", 1)
	}
	return strings.EqualFold(other, name)
}

// A time that the daemon does not tell is the zero time, not the year 1970.
func TestNoTimeIsZero(t *testing.T) {
	s := fromStatus(&ckptdv1.GetStatusResponse{Jobs: []*ckptdv1.JobState{{Summary: &ckptdv1.JobSummary{}}}})
	for _, at := range []time.Time{s.StartedAt, s.Jobs[0].Summary.EndedAt, fromStatus(nil).StartedAt} {
		if !at.IsZero() {
			t.Errorf("the time is %v, want the zero time", at)
		}
	}
}
