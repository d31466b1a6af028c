package shell

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Command is what a person has asked for, for the audit log.
type Command struct{ Who, Command string }

// commanded says for whom, and why, an object is deleted.
type commanded struct {
	by  *Command
	why string
}

// audit holds the objects whose delete a person has asked for. They are written to the audit log before the delete is
// issued. What an owner deletes by itself is not.
type audit struct {
	files map[incremental.File]commanded
	metas map[uint64]commanded
	// history is who has purged the job, with its history.
	history commanded
}

// file notes that a person's command has condemned a file. why is for the log.
func (a *audit) file(f incremental.File, by *Command, why string) {
	if a.files == nil {
		a.files = map[incremental.File]commanded{}
	}
	a.files[f] = commanded{by, why}
}

// meta notes that a person's command has condemned the _metadata of a checkpoint.
func (a *audit) meta(id uint64, by *Command, why string) {
	if a.metas == nil {
		a.metas = map[uint64]commanded{}
	}
	a.metas[id] = commanded{by, why}
}

// waiting counts the objects whose delete is not done.
func (a *audit) waiting() int { return len(a.files) + len(a.metas) }

// entry is the log's entry for an object that is about to be deleted; nil: no person has asked for the delete. In a janitor,
// a person has asked for every delete.
func (j *Job) entry(c commanded, ok bool, key string) *ckptdv1.AuditEntry {
	if !ok {
		if j.env.Command == nil {
			return nil
		}
		c = commanded{j.env.Command, "the last checkpoint that named it is gone"}
	}
	return &ckptdv1.AuditEntry{Time: timestamppb.New(time.Now()), Who: c.by.Who, Command: c.by.Command, JobId: j.id, Name: key, Reason: c.why}
}

// fileEntries are the log's entries for files that are about to be deleted.
func (j *Job) fileEntries(numbers []incremental.File, keys []string) (all []*ckptdv1.AuditEntry) {
	for i, n := range numbers {
		c, ok := j.audit.files[n]
		if e := j.entry(c, ok, keys[i]); e != nil {
			all = append(all, e)
		}
	}
	return all
}

// metaEntries are the log's entries for _metadata that are about to be deleted.
func (j *Job) metaEntries(ids []uint64) (all []*ckptdv1.AuditEntry) {
	for _, id := range ids {
		c, ok := j.audit.metas[id]
		if e := j.entry(c, ok, layout.MetadataKey(j.id, id)); e != nil {
			all = append(all, e)
		}
	}
	return all
}
