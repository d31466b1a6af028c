package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/config"
)

// TestFlinkFiles reads whole files of Flink: what is for ckptd is taken, and the rest is passed over.
func TestFlinkFiles(t *testing.T) {
	minute := durationpb.New(time.Minute)
	for name, c := range map[string]struct {
		text string
		want config.File
	}{
		"config.yaml of Flink 2": {`%YAML 1.2
---
env:
  java:
    opts:
      all: --add-exports=java.base/sun.net.util=ALL-UNNAMED -Dx=a:b
jobmanager:
  bind-host: localhost
  execution: {failover-strategy: region}
classloader.parent-first-patterns.additional: [org.slf4j, "org.apache.log4j"]
metrics:
  reporters:
execution:
  runtime-mode: STREAMING
  checkpointing:
    interval: &often 1 min
    timeout: *often
    unaligned: {enabled: false}
    incremental: true
    max-concurrent-checkpoints: "1"
state.backend:
  type: RocksDB
`, config.File{
			Job:    &ckptdv1.JobConfig{Interval: minute, Timeout: minute, MaxConcurrentCheckpoints: 1},
			Engine: config.Engine{Backend: "rocksdb"},
			PassedOver: []string{"env.java.opts.all", "jobmanager.bind-host", "jobmanager.execution.failover-strategy",
				"classloader.parent-first-patterns.additional", "metrics.reporters", "execution.runtime-mode"},
		}},
		"flink-conf.yaml, which is no YAML": {`# Flink 1 reads this line by line
taskmanager.host: %HOSTNAME%
security.kerberos.login.principal: user@REALM: second
execution.checkpointing.interval: 1 min   # each minute
execution.checkpointing.unaligned: FALSE
execution.checkpointing.aligned-checkpoint-timeout: 0 s
state.backend: hashmap
state.backend.async: true
state.checkpoints.dir: "file:///data/flink"

restart-strategy: failurerate
restart-strategy.failure-rate.max-failures-per-interval: 4
restart-strategy.fixed-delay.delay: 7 s
`, config.File{
			Dir: "file:///data/flink", Engine: config.Engine{Backend: "hashmap"},
			Job: &ckptdv1.JobConfig{Interval: minute, RestartStrategy: &ckptdv1.RestartStrategy{Type: ckptdv1.RestartStrategy_TYPE_FAILURE_RATE,
				FailureRate: &ckptdv1.FailureRate{MaxFailuresPerInterval: 4}, Delay: durationpb.New(7 * time.Second)}},
			PassedOver: []string{"taskmanager.host", "security.kerberos.login.principal"},
		}},
		"a store behind S3": {`{"state.checkpoints.dir": "s3://b/flink", "s3.endpoint": "minio:9000", "s3.path-style-access": true,
			"fs.s3a.endpoint.region": "eu-west-3", "fs.s3a.access.key": "key", "s3.secret-key": "hush", "s3.session.token": "t",
			"s3.connection.maximum": 50}`, config.File{
			Dir: "s3://b/flink", Job: &ckptdv1.JobConfig{}, PassedOver: []string{"s3.connection.maximum"},
			S3: config.S3{Endpoint: "https://minio:9000", Region: "eu-west-3", PathStyle: "true", AccessKey: "key", SecretKey: "hush", SessionToken: "t"},
		}},
		"keys of the exponential delay alone": {"restart-strategy.exponential-delay: {initial-backoff: 2 s, jitter-factor: 0, backoff-multiplier: 1.2}",
			config.File{Job: &ckptdv1.JobConfig{RestartStrategy: &ckptdv1.RestartStrategy{Type: ckptdv1.RestartStrategy_TYPE_EXPONENTIAL_DELAY,
				ExponentialDelay: &ckptdv1.ExponentialDelay{InitialBackoff: durationpb.New(2 * time.Second), JitterFactor: new(0.0), BackoffMultiplier: 1.2}}}}},
		"a delay alone limits no restarts": {"restart-strategy.fixed-delay.delay: 2 s",
			config.File{Job: &ckptdv1.JobConfig{RestartStrategy: &ckptdv1.RestartStrategy{Type: ckptdv1.RestartStrategy_TYPE_FIXED_DELAY,
				Attempts: 2147483647, Delay: durationpb.New(2 * time.Second)}}}},
		"a byte order mark and Windows lines": {"\ufeffexecution.checkpointing.interval: 1min\r\nrest.address: %X\r\n",
			config.File{Job: &ckptdv1.JobConfig{Interval: minute}, PassedOver: []string{"rest.address"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := config.Parse([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&c.want, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
			if _, err := config.Effective(got.Job); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNote counts the keys that were passed over in one line.
func TestNote(t *testing.T) {
	for text, want := range map[string]string{
		"":             "",
		"rest.port: 1": "passed over 1 key of another part of Flink: rest.port",
		"rest: {port: 1, address: a}\nweb.tmpdir: /t\nyarn.x: 1\nblob.y: 2": "passed over 5 keys of other parts of Flink: rest.port, rest.address, web.tmpdir and 2 more",
	} {
		f, err := config.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Note(); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// TestRecovery reads the keys about the checkpoint that a new job begins from, by both spellings.
func TestRecovery(t *testing.T) {
	for text, claim := range map[string]bool{
		"execution.state-recovery: {path: /r/j/chk-4, claim-mode: claim, ignore-unclaimed-state: true}":                                      true,
		"execution.savepoint.path: /r/j/chk-4\nexecution.savepoint-restore-mode: CLAIM\nexecution.savepoint.ignore-unclaimed-state: TRUE":    true,
		"execution.state-recovery: {path: /r/j/chk-4, claim-mode: no_claim, ignore-unclaimed-state: true}":                                   false,
		"execution.savepoint.path: /r/j/chk-4\nexecution.savepoint-restore-mode: NO_CLAIM\nexecution.savepoint.ignore-unclaimed-state: TRUE": false,
	} {
		f, err := config.Parse([]byte(text))
		if want := (config.Recovery{Path: "/r/j/chk-4", Claim: claim, IgnoreUnclaimed: true}); err != nil || f.Recovery != want {
			t.Errorf("%s: %+v, %v; want %+v", text, f, err, want)
		}
	}
}

// TestFlinkKeysRefused refuses by name what ckptd would do in another way, and hints at the key that was meant.
func TestFlinkKeysRefused(t *testing.T) {
	const c = "execution.checkpointing."
	lacks := func(key string) string { return key + " is an option of Flink that ckptd does not have" }
	meant := func(key, instead string) string { return key + " is unknown; did you mean " + instead + "?" }
	for line, want := range map[string]string{
		c + "max-concurrent-checkpoints: 0":             c + `max-concurrent-checkpoints: 0 is out of range; allowed is 1 to 2147483647`,
		c + "checkpoints-after-tasks-finish: maybe":     c + `checkpoints-after-tasks-finish: "maybe" is unknown; allowed is true or false`,
		c + "unaligned: true":                           `ckptd does not have the value "true"; allowed is false`,
		"state.backend.type: forst":                     `state.backend.type: ckptd does not have the state backend "forst"; allowed is hashmap or rocksdb`,
		"state.changelog.enabled: true":                 `ckptd does not have the value "true"`,
		c + "incremental: maybe":                        `"maybe" is unknown; allowed is true or false`,
		c + "data-inline-threshold: 1mb":                `"1mb"; allowed is 20kb`,
		c + "interval-during-backlog: 1min":             c + "interval-during-backlog: 1 min cannot be, as the job has no " + c + "interval; allowed is 0",
		c + "interval-during-backlog: 9ms":              c + "interval-during-backlog: 9 ms is out of range; allowed is 10 ms to",
		"execution.state-recovery.claim-mode: LEGACY":   `execution.state-recovery.claim-mode: ckptd does not have the value "LEGACY"; allowed is NO_CLAIM`,
		"execution.savepoint-restore-mode: mine":        `"mine" is unknown; allowed is NO_CLAIM`,
		"execution.savepoint.ignore-unclaimed-state: 1": `"1" is unknown; allowed is true or false`,
		"execution.state-recovery.from: /s":             lacks("execution.state-recovery.from"),
		"state.backend.rocksdb.localdir: /d":            lacks("state.backend.rocksdb.localdir"),
		"taskmanager.state.local.root-dirs: [/a, /b]":   "taskmanager.state.local.root-dirs: a single value is expected",
		"s3.entropy.key: _x_":                           lacks("s3.entropy.key"),

		c + "min-pause-between: 1s":                   meant(c+"min-pause-between", c+"min-pause"),
		c + "pause: 1s":                               meant(c+"pause", c+"min-pause"),
		c + "checkpoint-timeout: 1s":                  meant(c+"checkpoint-timeout", c+"timeout"),
		c + "tolerable-checkpoint-failure-number: 1":  meant(c+"tolerable-checkpoint-failure-number", c+"tolerable-failed-checkpoints"),
		c + "max-concurrent: 1":                       meant(c+"max-concurrent", c+"max-concurrent-checkpoints"),
		c + "externalized-checkpoint-cleanup: x":      meant(c+"externalized-checkpoint-cleanup", c+"externalized-checkpoint-retention"),
		"execution.checkpoint.interval: 1s":           meant("execution.checkpoint.interval", c+"interval"),
		"state.checkpoint.dir: /c":                    meant("state.checkpoint.dir", c+"dir"),
		"s3.end-point: http://h":                      meant("s3.end-point", "s3.endpoint"),
		"restart-strategy.fixed_delay.attempts: 3":    meant("restart-strategy.fixed_delay.attempts", "restart-strategy.fixed-delay.attempts"),
		"restart-strategy.exponential-delay.max: 1 s": meant("restart-strategy.exponential-delay.max", "restart-strategy.exponential-delay.max-backoff"),
		"my.own.key: 1":                               "my.own.key is unknown",

		"s3.endpoint: https://k:s@h":                               "s3.endpoint: an endpoint holds no credentials",
		"s3.path.style.access: maybe":                              `"maybe" is unknown; allowed is true or false`,
		"restart-strategy.exponential-delay.backoff-multiplier: 1": "backoff-multiplier: 1 is out of range; allowed is a number above 1",
		"restart-strategy.exponential-delay.jitter-factor: x":      `"x" is not a number; write it like 1.5`,
		"restart-strategy.exponential-delay.max-backoff: 10 ms":    "initial-backoff: 1 s is longer than restart-strategy.exponential-delay.max-backoff, 10 ms",
		"execution.checkpointing.interval=1s":                      "with a colon and a space between them",
		"execution:\n\tcheckpointing: {interval: 1s}":              "line 2 begins with a tab: YAML is indented with spaces",
	} {
		if f, err := config.Parse([]byte(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want an error that says %q", line, f, err, want)
		}
	}
	_, err := config.Parse([]byte("restart-strategy: {fixed-delay.attempts: 3, failure-rate.delay: 1 s}"))
	if want := "add restart-strategy.type: fixed-delay"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("keys of two strategies: %v, want an error that says %q", err, want)
	}
}

// TestSecretsAreNotPrinted prints a file with secrets in every way of package fmt.
func TestSecretsAreNotPrinted(t *testing.T) {
	f, err := config.Parse([]byte("s3.secret-key: topsecret\ns3.session-token: topsecret\ns3.access-key: topsecret"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(f), fmt.Sprintf("%+v", f), fmt.Sprintf("%#v", f), fmt.Sprint(f.S3.SecretKey), fmt.Sprintf("%q", f.S3.SecretKey)} {
		if strings.Contains(text, "topsecret") || !strings.Contains(text, "(secret)") {
			t.Errorf("printed %s, want (secret) in place of each secret", text)
		}
	}
	if _, err := config.Parse([]byte("s3.secret-key: topsecret\ns3.secret.key: topsecret")); err == nil || strings.Contains(err.Error(), "topsecret") {
		t.Errorf("a secret given twice: %v, want an error without it", err)
	}
}
