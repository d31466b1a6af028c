package shell

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/coordinator"
)

// Env is what a job needs of its daemon. All jobs of a daemon share it.
type Env struct {
	// Commit, Restore and Collect reach the root, one store for each class of work.
	Commit, Restore, Collect storage.Store
	// Upload is the class of files that come from elsewhere. Root is the driver, for copies within one store.
	Upload storage.Store
	Root   storage.Opened
	// InMemory: the store is this daemon's memory. DaemonRoot is then the location of the daemon's root, which holds nothing of these
	// jobs.
	InMemory   bool
	DaemonRoot string
	// Elsewhere opens checkpoints of other roots; nil: none are allowed.
	Elsewhere OpenElsewhere
	// Savepoints are the places where savepoints may be written.
	Savepoints Savepoints
	Facts      storage.Facts
	// URLs are where this daemon listens.
	URLs []string
	// Times are the coordinator's waits.
	Times coordinator.Times
	// InlineThreshold and InlineCap limit the inline state of an acknowledgement and of a checkpoint, in bytes.
	InlineThreshold, InlineCap int
	Metrics                    Metrics
	// History counts the records of histories; nil: nobody does.
	History HistoryMetrics
	// Step is called after each named step of a commit.
	Step func(step string)
	// Owns asks the daemons at the URLs whether one of them owns the job under the nonce.
	Owns func(ctx context.Context, urls []string, job, nonce string) bool
	// Janitor: this process serves no workers. Jobs are attached for one thing that a person's command does with them.
	Janitor bool
	// Command is for whom a janitor deletes; nil: this process is none.
	Command *Command
	// Audit records deletes that a person has asked for. It returns when the record is durable.
	Audit func(ctx context.Context, entries []*ckptdv1.AuditEntry) error
	// Due attaches a job that has ended, and of which something is left to be deleted.
	Due func(job string)
	// Trash is how long a removed checkpoint can be brought back in a job whose configuration does not say it; 0: there is no trash.
	Trash time.Duration
	// JobDefaults are the values of keys that a new job's configuration leaves out; nil: Flink's defaults for all.
	JobDefaults *ckptdv1.JobConfig
	Log         *slog.Logger
	// Context ends after the jobs have been released. Background counts the jobs, and what they do in other goroutines.
	Context    context.Context
	Background *sync.WaitGroup
	crew       crew
	taking     atomic.Int64 // jobs that are being taken back
}

// Metrics count what happens to a daemon's jobs. The methods are called from the goroutines of all jobs.
type Metrics interface {
	// Completed counts a completed checkpoint.
	Completed(c *journal.Checkpoint)
	// Aborted counts an aborted checkpoint.
	Aborted(r coordinator.Reason)
	// Refused counts a trigger that was refused.
	Refused(r coordinator.Reason)
	// Attempt counts an attempt that was begun or adopted.
	Attempt()
	// Restored counts an attempt that begins with the state of a checkpoint.
	Restored(c *journal.Checkpoint)
	// Ended counts a job that has ended.
	Ended(status journal.Status)
	// Fenced counts a job that another daemon has taken over, and the commits that were under way here.
	Fenced(commits int)
}

// The named steps of a commit. Env.Step is called with one of them when the object that it names is durable.
const (
	StepMetadata = "metadata-written"
	StepCommit   = "commit-entry-written"
	StepEnd      = "end-entry-written"
)

// The named steps of a savepoint: its entry "started", its files, its _metadata, its entry "done"; and the tombstone of one that came
// to nothing.
const (
	StepSavepoint     = "savepoint-started"
	StepSaved         = "savepoint-files-written"
	StepSavedMetadata = "savepoint-metadata-written"
	StepSavepointDone = "savepoint-done"
	StepTombstone     = "savepoint-tombstone-written"
	// StepDisposed is when a periodic savepoint is deleted, and still on record.
	StepDisposed = "savepoint-disposed"
)

// StepSuspended is when the workers of a job that is being suspended are told to end; StepReleased, when its owner has released it.
const (
	StepSuspended = "workers-told-suspended"
	StepReleased  = "release-entry-written"
)

// The named steps of an import: the pin in the lender's journal, the job's own _metadata, the entry that ends the import,
// and the pin's return.
const (
	StepLend           = "lend-written"
	StepImportMetadata = "import-metadata-written"
	StepImport         = "import-entry-written"
	StepReturn         = "return-written"
)
