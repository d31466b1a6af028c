package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// leaky are texts that people write when they mean a root or a daemon, each with a password at another place. No parser
// takes one.
var leaky = []string{
	"s3://AKIA7:tOpSeCrEt@bucket/x", "s3://AKIA7:tOp/tOpSeCrEt@bucket/x", "s3://AKIA7:tOpSeCrEt%zz@bucket/x", "s3://AKIA7:tOpSeCrEt", "s3a://:tOpSeCrEt@bucket",
	"s3:/AKIA7:tOpSeCrEt@bucket/x?endpoint=http://127.0.0.1:1", "s3:AKIA7:tOpSeCrEt@bucket?endpoint=http://h", "s3:/AKIA7:tOpSeCrEt/x", "s3:/AKIA7:tOp?tOpSeCrEt@b/x=1",
	"s3//AKIA7:tOpSeCrEt@bucket/x", "s3 ://AKIA7:tOpSeCrEt@bucket/x", "AKIA7:tOpSeCrEt@bucket/x?endpoint=http://h", "AKIA7:tOpSeCrEt@bucket",
	"s3://bucket/x?secret_key=tOpSeCrEt", "s3://bucket/x?AKIA7:tOpSeCrEt@y", "s3://bucket/x?acces=tOpSeCrEt", "s3://bucket/x?region=tOpSeCrEt%zz",
	"s3://bucket/x?endpoint=http://AKIA7:tOpSeCrEt@h", "s3://bucket/x?endpoint=http://AKIA7:tOpSeCrEt", "s3://bucket/x?endpoint=http://h?t=tOpSeCrEt",
	"bucket/x?secret=tOpSeCrEt", "http://u:tOpSeCrEt@h/x", "https://h/x?X-Amz-Signature=tOpSeCrEt%zz", "gs://u:tOpSeCrEt@b", "file://u:tOpSeCrEt@h/x", "file:///x?password=tOpSeCrEt",
	"hdfs://u:tOpSeCrEt%zz@nn/x", "\x01s3://AKIA7:tOpSeCrEt@b/x", "u:tOpSeCrEt@h:7420", "http://u:tOpSeCrEt%zz@h:7420",
}

// No verb repeats a password out of a URL that it cannot parse, wherever the URL stands.
func TestNoVerbRepeatsAPassword(t *testing.T) {
	job, err := filepath.Abs("../../examples/files.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("TMPDIR", dir)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	config := filepath.Join(dir, "flink.yaml")
	const at = "<URL>"
	for _, url := range leaky {
		for _, key := range []string{"execution.checkpointing.dir", "state.checkpoints.dir", "execution.checkpointing.savepoint-dir"} {
			if err := os.WriteFile(config, []byte(key+": \""+strings.ReplaceAll(url, "\x01", "\\x01")+"\"\n"), 0o666); err != nil {
				t.Fatal(err)
			}
			refusesQuietly(t, url, []string{"demo", "--records", "10", "--kills", "0", "--config", config})
			refusesQuietly(t, url, []string{"worker", "--job-id", "a", "--config", config})
		}
		for _, args := range [][]string{
			{at}, {at, "x"}, {"--" + at}, {"-" + at}, {"ls", at}, {"ls", at + "/job"}, {"ls", "--server", at}, {"ls", at, "--server", "http://127.0.0.1:1"}, {"ls", "x", at},
			{"show", at}, {"show", at + "/job/chk-1"}, {"show", at, "--server", "http://127.0.0.1:1"}, {"files", at + "/job/chk-1"}, {"files", "j/chk-1", "--server", at},
			{"journal", at}, {"journal", "show", at}, {"journal", "show", at + "/job"}, {"journal", "show", "j", "--server", at}, {"status", at}, {"status", at + "/job"},
			{"status", "j", "--server", at}, {"trigger", at}, {"trigger", at + "/job"}, {"trigger", "j", "--server", at}, {"cancel", at}, {"cancel", at + "/job"},
			{"cancel", at + "/job", "--server", "http://127.0.0.1:1"}, {"doctor", "--quick", at}, {"doctor", "x", at}, {"serve", "--root", at}, {"serve", "--root", "x", "--advertise", at},
			{"serve", "--root", "x", "--listen", at},
			{"serve", "--root", "x", at}, {"demo", "--root", at, "--records", "10"}, {"demo", "--rate=" + at}, {"demo", "--kills", at}, {"demo", at},
			{"worker", "--job-id", at, "--server", at}, {"worker", "--job-id", "j", "--server", at, "--slot", "0", "--of", "1", "--params", "{}", "--dir", "d"},
			{"worker", "--job-id", "j", "--server", "http://127.0.0.1:1", "--slot", "0", "--of", "1", "--params", at, "--dir", "d"},
			{"worker", "--job-id", "j", "--server", "http://127.0.0.1:1", "--slot", "0", "--of", "1", "--params", "{}", "--exchange", at},
			{"worker", "--job", at, "--job-id", "j", "--server", "http://127.0.0.1:1", "--params", "{}"}, {"version", at},
			{"completion", at}, {"run", at}, {"run", job, at}, {"run", job, "--job", at}, {"run", job, "--server", at}, {"run", job, "--root", at},
		} {
			line := make([]string, len(args))
			for i, a := range args {
				line[i] = strings.ReplaceAll(a, at, url)
			}
			refusesQuietly(t, url, line)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 1 {
		t.Errorf("left behind: %q, %v; want the configuration alone", left, err)
	}
}

// refusesQuietly runs a command line, which has to fail at once and without the password.
func refusesQuietly(t *testing.T, url string, args []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a root that is taken by mistake is not worked on
	var out bytes.Buffer
	code := run(ctx, args, &out, &out)
	if code == 0 || strings.Contains(strings.ToLower(out.String()), "topsecret") {
		t.Errorf("%q: exit code %d, %s; want an error without the password", args, code, out.String())
	}
}
