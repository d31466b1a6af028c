package postgres

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/runtime/state"
)

// shared is the server of all tests. A test that harms it starts it again.
var shared struct {
	sync.Mutex
	server *servers.Postgres
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		shared.server.Close()
	}
	os.Exit(code)
}

// server returns the shared server. fsync is off: only a crash of the machine would lose what it has promised.
func server(t testing.TB) *servers.Postgres {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		shared.server = servers.KeepPostgres(t, "fsync=off", "max_connections=200")
	}
	return shared.server
}

// A place is a schema of its own on a server: a table, a fence, and a session to look at them.
type place struct {
	server  *servers.Postgres
	job     string
	options Options
	conn    *pgconn.PgConn
}

// places counts the schemas of this process.
var places atomic.Int64

// unusual are the characters that a name without quotes may not have.
var unusual = regexp.MustCompile(`[^a-z0-9]+`)

// newPlace makes a schema with the table t (n bigint, s text).
func newPlace(t testing.TB, server *servers.Postgres) *place {
	t.Helper()
	p := &place{server: server, job: fmt.Sprintf("%.30s_%d", unusual.ReplaceAllString(strings.ToLower(t.Name()), "_"), places.Add(1))}
	p.options = Options{
		DSN: server.DSN("ckptd", "postgres", ""), Table: p.job + ".t", Columns: Columns{{Name: "n"}, {Name: "s"}}, FenceTable: p.job + ".ckptd_fence",
	}
	t.Cleanup(func() { p.rollBack(t) })
	p.dial(t)
	p.exec(t, fmt.Sprintf("CREATE SCHEMA %s; CREATE TABLE %[1]s.t (n bigint, s text)", p.job))
	return p
}

func (p *place) dial(t testing.TB) {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), p.options.DSN)
	if err != nil {
		t.Fatal(err)
	}
	p.conn = conn
	p.exec(t, "SET lock_timeout = '20s'") // nothing waits for a transaction that a failed test left
	t.Cleanup(func() { conn.Close(context.Background()) })
}

// rollBack removes what the test has prepared: the server could not start with room for less.
func (p *place) rollBack(t testing.TB) {
	conn, err := pgconn.Connect(context.Background(), p.options.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	p.conn = conn
	for _, gid := range p.leftOver(t) {
		p.exec(t, "ROLLBACK PREPARED "+quoteLiteral(gid))
	}
}

func (p *place) exec(t testing.TB, sql string) {
	t.Helper()
	if _, err := p.conn.Exec(context.Background(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// rows returns the rows of a query; their columns are joined with "|".
func (p *place) rows(t tb, sql string) []string {
	t.Helper()
	results, err := p.conn.Exec(context.Background(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var all []string
	for _, row := range results[0].Rows {
		texts := make([]string, len(row))
		for i, c := range row {
			texts[i] = "NULL"
			if c != nil {
				texts[i] = string(c)
			}
		}
		all = append(all, strings.Join(texts, "|"))
	}
	return all
}

// leftOver returns the prepared transactions of the place's job.
func (p *place) leftOver(t tb) []string {
	t.Helper()
	return p.rows(t, "SELECT gid FROM pg_prepared_xacts WHERE starts_with(gid, 'ckptd:"+part(p.job)+":') ORDER BY 1")
}

func (p *place) subtask() Subtask {
	return Subtask{Job: p.job, Operator: "sink", Parallelism: 1}
}

func (p *place) sink(t testing.TB, change ...func(*Options)) *Sink {
	t.Helper()
	o := p.options
	for _, c := range change {
		c(&o)
	}
	s, err := NewSink(o, p.subtask())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// begin returns a sink that has restored.
func (p *place) begin(t testing.TB, attempt, restored uint64, saved []byte, change ...func(*Options)) *Sink {
	t.Helper()
	s := p.sink(t, change...)
	check(t, s.Restore(attempt, restored, saved))
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func record(n int) state.Record {
	return state.Record{Value: fmt.Appendf(nil, `{"n":%d,"s":"row %d"}`, n, n)}
}

func write(t testing.TB, s *Sink, numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		check(t, s.Write(record(n)))
	}
}

func preCommit(t testing.TB, s *Sink, checkpoint uint64) []byte {
	t.Helper()
	saved, err := s.PreCommit(checkpoint)
	check(t, err)
	return saved
}

// want compares the visible numbers of the table, joined with spaces.
func (p *place) want(t testing.TB, numbers string) {
	t.Helper()
	if got := strings.Join(p.rows(t, "SELECT n FROM "+p.options.Table+" ORDER BY n"), " "); got != numbers {
		t.Errorf("the table has %q, want %q", got, numbers)
	}
}

// wantLeftOver compares the number of prepared transactions.
func (p *place) wantLeftOver(t testing.TB, n int) {
	t.Helper()
	if got := p.leftOver(t); len(got) != n {
		t.Errorf("prepared transactions %q, want %d", got, n)
	}
}

type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}
