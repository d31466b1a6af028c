package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/conformance/servers"
)

// withoutSavepoints removes the key that a daemon with other roots would refuse.
func (j *tutorial) withoutSavepoints() []string {
	return []string{"  execution.checkpointing.savepoint-dir: " + j.dir + "/savepoints\n", ""}
}

// With `bounded` the job ends where the topic ended when it began: FINISHED. Records that cannot be read are in the
// dead-letter file. In mode upsert the table has one row of each user.
func TestTutorialEnds(t *testing.T) {
	t.Parallel()
	postgres := servers.StartPostgres(t)
	j := newTutorial(t, 1, fakeKafka(t), tableOfCounts(t, postgres, "ends"))
	if _, err := ask[string](t, j.dsn, `ALTER TABLE counts ADD PRIMARY KEY ("user")`); err != nil {
		t.Fatal(err)
	}
	j.file("start: earliest", "bounded: true", "on-error: skip", "on-error: dead-letter\n  dead-letter: bad.txt", "columns: [user, clicks]", "columns: [user, clicks]\n    mode: upsert\n    key: [user]")
	j.send(500)
	cmd, out := j.run()
	j.ended(cmd, out, exit.Done)
	out.await(t, "the job is FINISHED")
	rows, err := ask[string](t, j.dsn, `SELECT format('%s %s', "user", clicks) FROM counts ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for user, n := range j.want {
		want = append(want, user+" "+strconv.Itoa(n))
	}
	slices.Sort(want)
	slices.Sort(rows)
	if !slices.Equal(rows, want) {
		t.Errorf("the table has %q, want %q", rows, want)
	}
	bad, err := os.ReadFile(filepath.Join(j.dir, "bad.txt"))
	if n := bytes.Count(bad, []byte("\n")); err != nil || n != j.bad {
		t.Errorf("the dead-letter file has %d lines, %v; want %d:\n%s", n, err, j.bad, bad)
	}
	j.tidy()
}

// The lines of the README: one job writes the clicks of a file to Kafka, and the next one counts them into PostgreSQL.
func TestTutorialOfTheReadme(t *testing.T) {
	t.Parallel()
	j := newTutorial(t, 1, fakeKafka(t), tableOfCounts(t, servers.StartPostgres(t), "readme"))
	for _, name := range []string{"fill.yaml", "clicks.jsonl"} {
		b, err := os.ReadFile(filepath.Join("../../examples", name))
		if err != nil {
			t.Fatal(err)
		}
		j.write(name, strings.ReplaceAll(string(b), "localhost:9092", j.brokers))
	}
	j.command = []string{filepath.Join(j.dir, "fill.yaml"), "--root", filepath.Join(j.dir, "root")}
	cmd, out := j.run()
	j.ended(cmd, out, exit.Done)
	j.file("start: earliest", "bounded: true")
	cmd, out = j.run()
	j.ended(cmd, out, exit.Done)
	j.want = wantCounts(t)
	j.exact()
}

// What a job asks for and what is not there ends it: FAILED, with a cause that says what to do, in the output and in
// status. No password is shown.
func TestTutorialWithBadInput(t *testing.T) {
	t.Parallel()
	postgres := servers.StartPostgres(t)
	brokers, dsn := fakeKafka(t), tableOfCounts(t, postgres, "bad")
	postgres.Do(t, "CREATE ROLE other LOGIN PASSWORD 'right'")
	if err := postgres.RequirePasswords(); err != nil {
		t.Fatal(err)
	}
	first := newTutorial(t, 1, brokers, dsn)
	first.send(200) // a few records cannot be read
	at := "unix:" + filepath.Join(socketDir(t), "d.sock")
	daemon, said := demoProcess(t, t.TempDir())
	daemon.Args = []string{daemon.Path, "serve", "--root", filepath.Join(t.TempDir(), "root"), "--listen", at}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		_ = daemon.Wait() // how it ends is another test's matter
	})
	said.await(t, "listening")

	for name, c := range map[string]struct {
		was, is string
		want    []string
	}{
		"an unreadable record": {"on-error: skip", "on-error: fail", []string{"cannot be read", "on-error: skip, or dead-letter, leaves such records out"}},
		"an unknown topic":     {"topic: clicks", "topic: klicks", []string{`source of topic "klicks"`, "create it, or correct the option topic"}},
		"no broker":            {"servers: " + brokers, "servers: 127.0.0.1:1\n    properties: {default.api.timeout.ms: 500}", []string{"127.0.0.1:1", "check", "bootstrap-servers"}},
		"no server":            {dsn, "host=127.0.0.1 port=1 dbname=x\n    retry-timeout: 100ms", []string{"127.0.0.1:1", "check host and port in dsn, and that the server runs"}},
		"no database":          {"dbname=bad", "dbname=good", []string{`database "good" does not exist`, "create the database, or correct dbname in dsn"}},
		"a wrong password":     {"user=ckptd", "user=other password=wrong-secret", []string{`authentication failed for user "other"`, "check the user and the password in dsn"}},
		"no table":             {"table: counts", "table: kounts", []string{"table kounts", "create it, or correct the option table"}},
		"a column that is not": {"[user, clicks]", "[user, klicks]", []string{`no column "klicks"`, "add the column, or correct the option columns"}},
		"a column of a number": {"[user, clicks]", "{clicks: user}", []string{"column clicks", "change the column's type, or what the job writes into the field"}},
		"an unknown option":    {"table: counts", "tabel: counts", []string{"clicks.yaml:", ": tabel is unknown in postgres; did you mean table?; allowed: dsn, table"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := *first
			j.jobRun = &jobRun{t: t, tmp: socketDir(t), dir: t.TempDir()}
			changes := append(j.withoutSavepoints(), "attempts: 1000", "attempts: 1", c.was, c.is)
			j.file(changes...)
			id := strings.ReplaceAll(name, " ", "-")
			cmd, out := j.run("--server", at, "--job", id)
			said := map[string]string{}
			if strings.HasPrefix(name, "an unknown option") { // nothing is started then
				j.ended(cmd, out, exit.Usage)
			} else {
				j.ended(cmd, out, exit.Failed)
				var status bytes.Buffer
				if code := run(t.Context(), []string{"status", id, "--server", at}, &status, &status); code != exit.Done {
					t.Errorf("status: exit code %d", code)
				}
				said["status"] = status.String()
				c.want = append(c.want, "failed")
			}
			said["run"] = strings.ReplaceAll(out.String(), "is FAILED: ", "is failed: ")
			for who, text := range said {
				for _, want := range c.want {
					if !strings.Contains(text, want) {
						t.Errorf("%s does not say %q:\n%s", who, want, text)
					}
				}
				if strings.Contains(text, "wrong-secret") {
					t.Errorf("%s shows the password:\n%s", who, text)
				}
			}
		})
	}
}
