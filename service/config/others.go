package config

import (
	"fmt"
	"slices"
	"strings"
)

// keyBackend is the key of Flink's state backend.
const keyBackend = "state.backend.type"

// keyIncremental is the key that says whether snapshots share files.
const keyIncremental = "execution.checkpointing.incremental"

// constant returns the keys of which ckptd has only one value: Flink's default, or what ckptd does anyhow. Files often
// give them. They change nothing, so nothing prints them.
func constant() []option {
	const c = "execution.checkpointing."
	only := func(key, allowed, why string, old ...string) option {
		return option{key: key, old: old, get: nothing, set: func(_ *File, v string) error {
			if slices.Contains(strings.Split(allowed, "|"), strings.ReplaceAll(strings.ToLower(v), " ", "")) {
				return nil
			}
			value, _, _ := strings.Cut(allowed, "|")
			return fmt.Errorf("ckptd does not have the value %q; allowed is %s: %s", v, value, why)
		}}
	}
	off := func(key, why string, old ...string) option { return only(key, "false", why, old...) }
	return []option{
		off(c+"unaligned.enabled", "the engine decides how its barriers align", c+"unaligned"),
		off(c+"unaligned.forced", "the engine decides how its barriers align"),
		only(c+"aligned-checkpoint-timeout", "0|0s|0ms|0min", "the engine decides how its barriers align", c+"alignment-timeout"),
		// Which files are sent depends on the engine: shared files that an earlier checkpoint has are not sent again.
		{key: keyIncremental, old: []string{"state.backend.incremental"}, get: nothing, set: checkIncremental},
		only(c+"create-subdir", "true", "each job has a folder of its own", "state.checkpoints.create-subdir"),
		only(c+"data-inline-threshold", "20kb|20k|20480|20480b|20480bytes|20kibibytes", "larger pieces of state become files",
			"state.storage.fs.memory-threshold", "state.backend.fs.memory-threshold"),
		only(c+"write-buffer-size", "4096", "ckptd chooses its buffers by itself", "state.storage.fs.write-buffer-size", "state.backend.fs.write-buffer-size"),
		only(c+"cleaner.parallel-mode", "true", "ckptd deletes files in parallel", "state.checkpoint.cleaner.parallel-mode"),
		off(c+"local-backup.enabled", "ckptd keeps no second copy of state", "state.backend.local-recovery"),
		off(c+"snapshot-compression", "the engine compresses its files"),
		off(c+"file-merging.enabled", "the engine decides what lies in one file"),
		off("state.changelog.enabled", "ckptd has no log of changes", "state.backend.changelog.enabled"),
		only("state.backend.async", "true", "checkpoints never hold up a job"),
		off("execution.state-recovery.from-local", "ckptd keeps no second copy of state"),
		{key: keyBackend, old: []string{"state.backend"}, set: checkBackend, get: nothing},
	}
}

func nothing(string, Job) any { return nil }

// checkIncremental accepts both values. They mean the same to the daemon; a worker of the bundled runtime follows them.
func checkIncremental(f *File, v string) error {
	switch strings.ToLower(v) {
	case "true", "false":
		f.Engine.WholeSnapshots = strings.EqualFold(v, "false")
		return nil
	}
	return fmt.Errorf("%q is unknown; allowed is true or false: they mean the same to ckptd", v)
}

// checkBackend accepts the state backends whose place the engine's own state takes. The legacy names filesystem and
// jobmanager also name a storage (settleBackend).
func checkBackend(f *File, v string) error {
	switch strings.ToLower(v) {
	case "rocksdb":
		f.Engine.Backend = "rocksdb"
		return nil
	case "hashmap", fileSystem, jobManager:
		f.Engine.Backend = "hashmap"
		return nil
	}
	return fmt.Errorf("ckptd does not have the state backend %q; allowed is hashmap or rocksdb: the engine keeps its state by itself", v)
}

// lacking lists Flink's other keys about checkpoints, state and restarts, with all keys below them. A file with one of
// them asks for something that ckptd would not do.
func lacking() []string {
	const c = "execution.checkpointing."
	return []string{
		c + "unaligned", c + "cleaner", c + "local-backup", c + "file-merging",
		"execution.state-recovery", "execution.savepoint", "state.backend", "state.changelog", "state.checkpoint", "state.savepoints",
		"state.storage", "state.latency-track", "state.size-track", "state.ttl", "savepoints.state.backend", "s3.entropy",
		"taskmanager.state.local",
	}
}

// elsewhere lists Flink's keys about other things than checkpoints, with all keys below them. They say nothing to
// ckptd.
func elsewhere() []string {
	return []string{
		"$internal", "akka", "blob", "classloader", "cleanup-strategy", "client", "cluster", "collect-sink", "compiler", "containerized",
		"deployment", "env", "events", "external-resource", "external-resources", "flink", "fs", "gs", "hadoop", "heartbeat",
		"high-availability", "historyserver", "hive", "io", "job-event", "jobmanager", "jobstore", "kubernetes", "local", "mesos",
		"metrics", "minicluster", "network", "optimizer", "oss", "parallelism", "pekko", "pipeline", "plugin", "presto", "process",
		"python", "query", "queryable-state", "recovery", "resourcemanager", "rest", "rpc", "s3", "s3a", "s3n", "s3p", "scheduler",
		"scheduler-mode", "security", "sink", "slot", "slotmanager", "sql", "sql-client", "sql-gateway", "table", "task",
		"taskmanager", "traces", "user", "web", "workerplacement", "yarn", "zookeeper",
		"execution.allow-client-job-configurations", "execution.attached", "execution.batch", "execution.batch-shuffle-mode",
		"execution.buffer-timeout", "execution.job-listeners", "execution.program-config", "execution.runtime-mode",
		"execution.job-status-changed-listeners", "execution.shutdown-on-application-finish", "execution.shutdown-on-attached-exit",
		"execution.sort-keyed-partition", "execution.sort-partition", "execution.sorted-inputs",
		"execution.submit-failed-job-on-application-error", "execution.target",
	}
}

// within tells whether a key is one of a list, or lies below one.
func within(key string, list []string) bool {
	return slices.ContainsFunc(list, func(name string) bool {
		rest, ok := strings.CutPrefix(key, name)
		return ok && (rest == "" || rest[0] == '.')
	})
}
