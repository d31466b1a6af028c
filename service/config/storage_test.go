package config_test

import (
	"strings"
	"testing"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/retention"
	"github.com/ckptd/ckptd/service/config"
)

// TestJobManagerStorage: each spelling of Flink's gives the storage in memory, and the journal keeps it with the largest
// state.
func TestJobManagerStorage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		max  uint64
	}{
		"FS-27 the default limit":   {"execution.checkpointing.storage: jobmanager", 5 << 20},
		"FS-27 another limit":       {"execution.checkpointing.storage: JobManager\nckptd.max-state-size: 1 kb", 1 << 10},
		"the old key":               {"state.checkpoint-storage: jobmanager", 5 << 20},
		"the old name of a backend": {"state.backend: jobmanager", 5 << 20},
		"the backend and the key":   {"state.backend.type: JOBMANAGER\nexecution.checkpointing.storage: jobmanager", 5 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := config.Parse([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			stored, err := config.Encode(f.Job)
			if err != nil {
				t.Fatal(err)
			}
			j, err := config.Interpret(stored)
			if err != nil || !j.InMemory || j.MaxState != c.max || !config.InMemory(f.Job, nil) {
				t.Fatalf("in memory %v, at most %d bytes, %v; want true, %d", j.InMemory, j.MaxState, err, c.max)
			}
		})
	}
}

// TestStorageRefusals: values that are unknown, out of range, or contradict each other.
func TestStorageRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"FS-31 an unknown storage":   {"execution.checkpointing.storage: ramdisk", `execution.checkpointing.storage: "ramdisk" is unknown; allowed is filesystem, jobmanager, or a root`},
		"a backend and another key":  {"state.backend: jobmanager\nexecution.checkpointing.storage: filesystem", "line 1: state.backend: jobmanager means the storage jobmanager, and execution.checkpointing.storage in line 2 says another"},
		"a root beside the backend":  {"state.backend: jobmanager\nexecution.checkpointing.storage: s3://user:secret@b/c", "execution.checkpointing.storage in line 2 says another"},
		"no size":                    {"ckptd.max-state-size: many", `ckptd.max-state-size: "many" is not a size; write it like 5mb`},
		"nothing":                    {"ckptd.max-state-size: 0", "ckptd.max-state-size: 0 is out of range; allowed is 1 to 1099511627776 bytes"},
		"too much":                   {"ckptd.max-state-size: 2tb", "ckptd.max-state-size: 2tb is out of range"},
		"more than a number can say": {"ckptd.max-state-size: 99999999999tb", "99999999999tb is too large"},
		"more digits than that":      {"ckptd.max-state-size: 99999999999999999999", "is too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Fatalf("%v, want %q", err, c.want)
			}
		})
	}
	if _, err := config.Effective(&ckptdv1.JobConfig{Storage: 99}); err == nil || !strings.Contains(err.Error(), "execution.checkpointing.storage: unknown value 99") {
		t.Errorf("an unknown storage by the API: %v", err)
	}
	if _, err := config.Effective(&ckptdv1.JobConfig{Storage: ckptdv1.Storage_STORAGE_JOBMANAGER, MaxStateSize: 1<<40 + 1}); err == nil || !strings.Contains(err.Error(), "ckptd.max-state-size") {
		t.Errorf("a large limit by the API: %v", err)
	}
}

// TestStorageDefaults: FS-29 (ckptd always has a root, so nothing configured is the filesystem), FS-30 a job's value beats the daemon's.
func TestStorageDefaults(t *testing.T) {
	t.Parallel()
	memory := &ckptdv1.JobConfig{Storage: ckptdv1.Storage_STORAGE_JOBMANAGER}
	disk := &ckptdv1.JobConfig{Storage: ckptdv1.Storage_STORAGE_FILESYSTEM}
	for name, c := range map[string]struct {
		asked, daemon *ckptdv1.JobConfig
		want          bool
	}{
		"FS-29 nothing":                 {nil, nil, false},
		"FS-30 the daemon's":            {nil, memory, true},
		"FS-30 the daemon's fills in":   {&ckptdv1.JobConfig{NumRetained: 2}, memory, true},
		"FS-30 the job's wins":          {disk, memory, false},
		"FS-30 the job's wins, reverse": {memory, disk, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := config.InMemory(c.asked, c.daemon); got != c.want {
				t.Errorf("in memory: %v, want %v", got, c.want)
			}
			j, err := config.Effective(config.WithDefaults(c.asked, c.daemon))
			if err != nil || j.InMemory != c.want {
				t.Errorf("the journal's: %v, %v, want %v", j.InMemory, err, c.want)
			}
		})
	}
}

// TestRetentionInMemory: the end of a job in memory keeps nothing, whatever its configuration says.
func TestRetentionInMemory(t *testing.T) {
	t.Parallel()
	for storage, want := range map[ckptdv1.Storage]retention.Policy{
		ckptdv1.Storage_STORAGE_FILESYSTEM: retention.OnCancellation, ckptdv1.Storage_STORAGE_JOBMANAGER: retention.Nothing,
	} {
		stored, err := config.Encode(&ckptdv1.JobConfig{Storage: storage, NumRetained: 3, Retention: ckptdv1.Retention_RETENTION_RETAIN_ON_CANCELLATION})
		if err != nil {
			t.Fatal(err)
		}
		p, ok := config.Policies(1)(stored)
		if !ok || p.Retention != want || p.NumRetained != 3 {
			t.Errorf("%v: %+v, want retention %v of 3", storage, p, want)
		}
	}
}
