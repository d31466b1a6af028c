package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/conformance/servers"
)

// A tutorial is the job of examples/clicks.yaml or of examples/clicks at servers of a test: Kafka -> filter -> map ->
// keyBy and sum -> PostgreSQL.
type tutorial struct {
	*jobRun
	r            *rand.Rand
	brokers, dsn string
	producer     *kgo.Client
	// command is the job with its flags, and env its environment.
	command, env []string
	// rows counts the records that make a row of the table, and bad those that cannot be read.
	rows, bad int
}

// quick are the keys with which a test takes many checkpoints and loses no time.
const quick = `
  execution.checkpointing.interval: 100ms
  execution.checkpointing.dir: DIR/root
  execution.checkpointing.savepoint-dir: DIR/savepoints
  restart-strategy.type: fixed-delay
  restart-strategy.fixed-delay.attempts: 1000
  restart-strategy.fixed-delay.delay: 10ms
`

func newTutorial(t *testing.T, seed uint64, brokers, dsn string) *tutorial {
	t.Helper()
	return &tutorial{
		jobRun: &jobRun{t: t, tmp: socketDir(t), dir: t.TempDir(), want: map[string]int{}}, r: rand.New(rand.NewPCG(seed, 16)),
		brokers: brokers, dsn: dsn, producer: topicOfClicks(t, brokers),
	}
}

// topicOfClicks makes the topic of the examples and a producer for it.
func topicOfClicks(t *testing.T, brokers string) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.DefaultProduceTopic("clicks"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if made, err := kadm.NewClient(client).CreateTopic(t.Context(), 4, 1, nil, "clicks"); err != nil || made.Err != nil {
		t.Fatal(err, made.Err)
	}
	return client
}

// fakeKafka starts brokers in this process.
func fakeKafka(t *testing.T) string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return strings.Join(c.ListenAddrs(), ",")
}

// tableOfCounts makes a database with the table of the examples, and returns its DSN.
func tableOfCounts(t *testing.T, p *servers.Postgres, name string) string {
	t.Helper()
	p.Do(t, "CREATE DATABASE "+name)
	dsn := p.DSN("ckptd", name, "")
	if _, err := ask[string](t, dsn, `CREATE TABLE counts ("user" text, clicks bigint)`); err != nil {
		t.Fatal(err)
	}
	return dsn
}

// ask runs a statement and returns the only column of its rows.
func ask[T any](t *testing.T, dsn, sql string) ([]T, error) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		return nil, err
	}
	defer c.Close(context.WithoutCancel(t.Context()))
	rows, err := c.Query(t.Context(), sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

// file writes the example in YAML with the servers of the test, quick keys, and further changes: pairs of old and new.
func (j *tutorial) file(changes ...string) {
	j.t.Helper()
	b, err := os.ReadFile("../../examples/clicks.yaml")
	if err != nil {
		j.t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(b), "\nconfiguration:\n")
	text += "\nconfiguration:" + strings.ReplaceAll(quick, "DIR", j.dir)
	changes = append([]string{"localhost:9092", j.brokers, "host=localhost port=5432 user=ckptd dbname=ckptd", j.dsn}, changes...)
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(text, changes[i]) {
			j.t.Fatalf("the example has no %q", changes[i])
		}
		text = strings.Replace(text, changes[i], changes[i+1], 1)
	}
	j.write("clicks.yaml", text)
	j.command = []string{filepath.Join(j.dir, "clicks.yaml")}
}

// programOfClicks returns what builds the example in Go, at most once for a test.
func programOfClicks(t *testing.T) func() (string, error) {
	program := filepath.Join(t.TempDir(), "clicks")
	return sync.OnceValues(func() (string, error) {
		out, err := exec.Command("go", "build", "-o", program, "../../examples/clicks").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		return program, err
	})
}

// program is the example in Go with the servers of the test and quick keys.
func (j *tutorial) program(build func() (string, error)) {
	j.t.Helper()
	program, err := build()
	if err != nil {
		j.t.Fatal(err)
	}
	j.write("flink.yaml", strings.ReplaceAll(strings.ReplaceAll(quick, "DIR", j.dir), "\n  ", "\n"))
	j.command = []string{program, "--config", filepath.Join(j.dir, "flink.yaml")}
	j.env = []string{"KAFKA=" + j.brokers, "POSTGRES=" + j.dsn}
}

// run starts the job.
func (j *tutorial) run(args ...string) (*exec.Cmd, *buffer) {
	j.t.Helper()
	cmd, out := demoProcess(j.t, j.tmp)
	cmd.Env = append(cmd.Env, j.env...)
	cmd.Args = append(append([]string{cmd.Path, "run"}, j.command...), args...)
	if err := cmd.Start(); err != nil {
		j.t.Fatal(err)
	}
	j.t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, out
}

// send writes n clicks to the topic. A few of them cannot be read.
func (j *tutorial) send(n int) {
	j.t.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		user, in := fmt.Sprintf("user-%d", j.r.IntN(20)), j.r.IntN(10) > 0
		value := fmt.Appendf(nil, `{"user": %q, "page": "/", "logged_in": %t}`, user, in)
		switch {
		case j.r.IntN(50) == 0:
			value = value[:1+j.r.IntN(len(value)-2)]
			j.bad++
		case in:
			j.want[user]++
			j.rows++
		}
		records[i] = &kgo.Record{Key: []byte(user), Value: value}
	}
	if err := j.producer.ProduceSync(j.t.Context(), records...).FirstErr(); err != nil {
		j.t.Fatal(err)
	}
}

// awaitRows waits until the table has n rows.
func (j *tutorial) awaitRows(n int, out *buffer) {
	j.t.Helper()
	var got []int
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end) && !strings.Contains(out.String(), " is FAILED"); time.Sleep(20 * time.Millisecond) {
		if got, err = ask[int](j.t, j.dsn, "SELECT count(*) FROM counts"); err == nil && got[0] >= n {
			return
		}
	}
	j.t.Fatalf("the table has %v rows, %v; want %d\n%s", got, err, n, out)
}

// strike kills a process of the job, as soon as there is one.
func (j *tutorial) strike(word string, out *buffer) {
	j.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		pids := j.processes(word)
		if len(pids) > 0 && syscall.Kill(pids[j.r.IntN(len(pids))], syscall.SIGKILL) == nil {
			return
		}
	}
	j.t.Fatalf("no process %s\n%s", word, out)
}

// stop stops the job with a savepoint, and returns the flag that begins from it.
func (j *tutorial) stop(cmd *exec.Cmd, out *buffer) []string {
	j.t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		j.t.Fatal(err)
	}
	j.ended(cmd, out, exit.Done)
	_, from, ok := strings.Cut(out.String(), " -s ")
	if from, _, _ = strings.Cut(from, "\n"); !ok {
		j.t.Fatalf("no command goes on from the savepoint:\n%s", out)
	}
	return []string{"-s", from}
}

// exact compares the table with the clicks: each user has the rows 1, 2, 3 and so on to the last count, once each.
// Nothing is left over.
func (j *tutorial) exact() {
	j.t.Helper()
	wrong, err := ask[string](j.t, j.dsn, `SELECT format('%s: %s rows, %s different, from %s to %s', "user", count(*), count(DISTINCT clicks), min(clicks), max(clicks))
		FROM counts GROUP BY "user" HAVING count(*) <> max(clicks) OR count(DISTINCT clicks) <> max(clicks) OR min(clicks) <> 1`)
	if err != nil || len(wrong) > 0 {
		j.t.Errorf("rows are missing or there twice: %q, %v", wrong, err)
	}
	last, err := ask[string](j.t, j.dsn, `SELECT format('%s %s', "user", max(clicks)) FROM counts GROUP BY "user"`)
	if err != nil {
		j.t.Fatal(err)
	}
	got := map[string]int{}
	for _, row := range last {
		var user string
		var n int
		if _, err := fmt.Sscan(row, &user, &n); err != nil {
			j.t.Fatal(err)
		}
		got[user] = n
	}
	if len(got) != len(j.want) {
		j.t.Errorf("the table has %d users, want %d", len(got), len(j.want))
	}
	for user, n := range j.want {
		if got[user] != n {
			j.t.Errorf("%s has %d clicks, want %d", user, got[user], n)
		}
	}
	if gids, err := ask[string](j.t, j.dsn, "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"); err != nil || len(gids) > 0 {
		j.t.Errorf("prepared transactions are left over: %q, %v", gids, err)
	}
	j.tidy()
}

// tidy reports files that no job needs any more.
func (j *tutorial) tidy() {
	j.t.Helper()
	left, err := os.ReadDir(j.tmp)
	if err != nil || len(left) > 0 {
		j.t.Errorf("temporary files are left over: %v, %v", left, err)
	}
	files, _ := filepath.Glob(filepath.Join(j.dir, "root", "*", "*"))
	for _, file := range files {
		if name := filepath.Base(file); name != "_journal" && name != "_history" {
			j.t.Errorf("a file is left over: %s", file)
		}
	}
	if len(files) == 0 {
		j.t.Errorf("%s/root has no job", j.dir)
	}
}

// groupKnows checks that the group of the source was told offsets, none of which is beyond the end of its partition.
func (j *tutorial) groupKnows() {
	j.t.Helper()
	admin := kadm.NewClient(j.producer)
	ends, err := admin.ListEndOffsets(j.t.Context(), "clicks")
	if err != nil {
		j.t.Fatal(err)
	}
	offsets, err := admin.FetchOffsets(j.t.Context(), "clicks")
	for range 10 { // the client may still have a connection to a broker that was killed
		if err == nil {
			break
		}
		offsets, err = admin.FetchOffsets(j.t.Context(), "clicks")
	}
	if err != nil {
		j.t.Fatal(err)
	}
	offsets.Offsets().Each(func(o kadm.Offset) {
		if end, _ := ends.Lookup("clicks", o.Partition); o.At > end.Offset {
			j.t.Errorf("partition %d: the group is at %d, behind the end at %d", o.Partition, o.At, end.Offset)
		}
	})
	if len(offsets) == 0 {
		j.t.Error("the group was told no offset")
	}
}

// tutorialSeeds is how many stories are told.
func tutorialSeeds() uint64 {
	switch {
	case os.Getenv("CKPTD_NIGHTLY") != "":
		return 100
	case os.Getenv("CKPTD_TEST_FULL") != "":
		return 10
	}
	return 3
}

// The job of every tutorial is exact although its workers and its daemon are killed with SIGKILL at any moment: as YAML
// and as a Go program, on both backends. It stops with a savepoint, and a new job goes on from there.
func TestTutorialIsExactUnderKills(t *testing.T) {
	t.Parallel()
	postgres, build := servers.StartPostgres(t), programOfClicks(t)
	for seed := range tutorialSeeds() {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			j := newTutorial(t, seed, fakeKafka(t), tableOfCounts(t, postgres, fmt.Sprintf("seed%d", seed)))
			if seed%2 == 0 {
				j.file()
			} else {
				j.program(build)
			}
			backend := []string{"--backend", []string{"rocksdb", "hashmap"}[seed/2%2]}
			cmd, out := j.run(backend...)
			for _, word := range []string{"--slot", "serve", "--slot"} {
				j.send(50 + j.r.IntN(200))
				j.awaitRows(j.r.IntN(j.rows+1), out)
				j.send(j.r.IntN(200))
				j.strike(word, out)
			}
			j.send(100)
			j.awaitRows(j.rows, out)
			from := j.stop(cmd, out)
			j.exact()
			j.groupKnows()

			j.send(100)
			cmd, out = j.run(append(backend, from...)...)
			j.awaitRows(j.rows, out)
			j.stop(cmd, out)
			j.exact()
		})
	}
}
