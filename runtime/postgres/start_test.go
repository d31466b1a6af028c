package postgres

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const password = "Tr0ub4dor"

// What does not fit is found at the start. The error says what to do, and holds no secret.
func TestStartErrors(t *testing.T) {
	server := server(t)
	check(t, server.RequirePasswords())
	p := newPlace(t, server)
	p.exec(t, "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD '"+password+"'; GRANT USAGE ON SCHEMA "+p.job+" TO reader")
	p.exec(t, "CREATE TABLE "+p.job+".required (n bigint, must int NOT NULL, has int NOT NULL DEFAULT 1); CREATE VIEW "+p.job+".v AS SELECT 1 AS n, 'x' AS s;"+
		"CREATE UNLOGGED TABLE "+p.job+".u (n bigint, s text); CREATE TABLE "+p.job+".g (n bigint, s text GENERATED ALWAYS AS ('x') STORED);"+
		"CREATE TABLE "+p.job+".k (n bigint, s text, d text); CREATE UNIQUE INDEX ON "+p.job+".k (s, n); CREATE UNIQUE INDEX ON "+p.job+".k (s) WHERE s <> ''")
	for _, c := range []struct {
		what   string
		change func(*Options)
		why    string
	}{
		{"wrong password", func(o *Options) { o.DSN = server.DSN("reader", "postgres", "password="+password+"1") }, "check the user and the password"},
		{"no password", func(o *Options) { o.DSN = server.DSN("reader", "postgres", "") }, "check the user and the password"},
		{"no user", func(o *Options) { o.DSN = server.DSN("nobody", "postgres", "password="+password) }, "check the user and the password"},
		{"no database", func(o *Options) { o.DSN = server.DSN("ckptd", "nowhere", "password="+password) }, "create the database"},
		{"no server", func(o *Options) {
			o.DSN, o.RetryTimeout = "host=127.0.0.1 port=1 user=u password="+password, time.Millisecond
		}, "check host and port"},
		{"no table", func(o *Options) { o.Table = p.job + ".nothing" }, "no such table: create it"},
		{"no schema", func(o *Options) { o.Table = "nothing.t" }, "no such table: create it"},
		{"view", func(o *Options) { o.Table = p.job + ".v" }, "name a table"},
		{"unlogged", func(o *Options) { o.Table = p.job + ".u" }, "SET LOGGED"},
		{"no column", func(o *Options) { o.Columns = append(o.Columns, Column{Name: "N"}) }, `no column "N", only "n", "s"`},
		{"computed", func(o *Options) { o.Table = p.job + ".g" }, `computes column "s"`},
		{"left out", func(o *Options) { o.Table, o.Columns = p.job+".required", Columns{{Name: "n"}} }, `column "must" may not be NULL`},
		{"no right", func(o *Options) { o.DSN = server.DSN("reader", "postgres", "password="+password) }, "GRANT INSERT"},
		{"no index", func(o *Options) { o.Mode, o.Key, o.Table = Upsert, []string{"s"}, p.job+".k" }, "CREATE UNIQUE INDEX"},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := p.sink(t, c.change)
			err := s.Restore(1, 0, nil)
			if err == nil || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one line with %q", err, c.why)
			}
			if strings.Contains(err.Error(), password) {
				t.Errorf("%v holds the password", err)
			}
		})
	}
	p.exec(t, "GRANT INSERT ON "+p.options.Table+" TO reader")
	reader := func(o *Options) { o.DSN = server.DSN("reader", "postgres", "password="+password) }
	err := p.sink(t, reader).Restore(1, 0, nil)
	if err == nil || !strings.Contains(err.Error(), "CREATE TABLE") {
		t.Errorf("a user who may not make the fence: %v, want the statement that makes it", err)
	}
	_, statement, _ := strings.Cut(err.Error(), "DELETE: ")
	p.exec(t, statement+"; GRANT SELECT, INSERT, UPDATE, DELETE ON "+p.options.FenceTable+" TO reader")
	s := p.begin(t, 1, 0, nil, reader)
	write(t, s, 1)
	preCommit(t, s, 1)
	check(t, s.Commit(1))
	p.want(t, "1")
	p.begin(t, 2, 0, nil, func(o *Options) { o.Mode, o.Key, o.Table = Upsert, []string{"n", "s"}, p.job+".k" })
}

// The password may stand in libpq's file.
func TestPassfile(t *testing.T) {
	server := server(t)
	check(t, server.RequirePasswords())
	p := newPlace(t, server)
	p.exec(t, "DROP ROLE IF EXISTS filed; CREATE ROLE filed LOGIN SUPERUSER PASSWORD '"+password+"'")
	host, port, err := net.SplitHostPort(server.Address)
	check(t, err)
	file := filepath.Join(t.TempDir(), "pass")
	check(t, os.WriteFile(file, []byte(host+":"+port+":*:filed:"+password+"\n"), 0o600))
	t.Setenv("PGPASSFILE", file)
	p.begin(t, 1, 0, nil, func(o *Options) { o.DSN = "postgres://filed@" + server.Address + "/postgres?sslmode=disable" })
}

func TestValidate(t *testing.T) {
	valid := Options{DSN: "host=h user=u", Table: "s.t", Columns: Columns{{Name: "a"}, {Name: "b"}}}
	check(t, valid.Validate())
	for _, c := range []struct {
		why    string
		change func(*Options)
	}{
		{"dsn:", func(o *Options) { o.DSN = "postgres://u:" + password + "@h:port/d" }},
		{"dsn:", func(o *Options) { o.DSN = "host=h password='" + password }},
		{"dsn:", func(o *Options) { o.DSN = "host=h sslmode=perhaps" }},
		{`table: "" is no name`, func(o *Options) { o.Table = "" }},
		{`table "a.b.c"`, func(o *Options) { o.Table = "a.b.c" }},
		{`table: "b\""`, func(o *Options) { o.Table = `a.b"` }},
		{"fence-table", func(o *Options) { o.FenceTable = "x." }},
		{"columns: none", func(o *Options) { o.Columns = nil }},
		{`columns: "" is no name`, func(o *Options) { o.Columns = Columns{{}} }},
		{"twice", func(o *Options) { o.Columns = Columns{{Name: "a"}, {Name: "a"}} }},
		{"leave key out", func(o *Options) { o.Key = []string{"a"} }},
		{"needs the columns that identify", func(o *Options) { o.Mode = Upsert }},
		{`key ["c"]: want some of the columns ["a" "b"]`, func(o *Options) { o.Mode, o.Key = Upsert, []string{"c"} }},
		{"each once", func(o *Options) { o.Mode, o.Key = Upsert, []string{"a", "a"} }},
		{`mode "at-least-once": want exactly-once or upsert`, func(o *Options) { o.Mode = "at-least-once" }},
		{"batch-size -1", func(o *Options) { o.BatchSize = -1 }},
		{"flush-interval 1µs", func(o *Options) { o.FlushInterval = time.Microsecond }},
		{"lock-timeout -1s", func(o *Options) { o.LockTimeout = -time.Second }},
		{"statement-timeout 48h", func(o *Options) { o.StatementTimeout = 48 * time.Hour }},
		{"retry-timeout 48h", func(o *Options) { o.RetryTimeout = 48 * time.Hour }},
	} {
		o := valid
		c.change(&o)
		err := o.Validate()
		if err == nil || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), password) {
			t.Errorf("%v, want %q and no password", err, c.why)
		}
		if _, err := NewSink(o, Subtask{Job: "j", Operator: "o"}); err == nil {
			t.Errorf("%s: a sink is made", c.why)
		}
	}
	for _, s := range []Subtask{{Operator: "o"}, {Job: "j"}, {Job: "j", Operator: "o", Index: -1}} {
		if _, err := NewSink(valid, s); err == nil {
			t.Errorf("%+v: a sink is made", s)
		}
	}
}

func TestYAML(t *testing.T) {
	for _, c := range []struct{ columns, want string }{
		{"[a, b]", "a: b:"}, {"{a: x, b: y}", "a:x b:y"}, {"a", "line 3: columns: want a list"}, {"[[a]]", "cannot unmarshal"}, {"{a: [x]}", "cannot unmarshal"},
	} {
		var o Options
		text := "dsn: host=h\ntable: t\ncolumns: " + c.columns + "\nmode: upsert\nkey: [a]\nbatch-size: 5\nflush-interval: 2s\nlock-timeout: 3s\n" +
			"statement-timeout: 4s\nretry-timeout: 5s\nfence-table: f\n"
		decoder := yaml.NewDecoder(strings.NewReader(text))
		decoder.KnownFields(true)
		var got string
		if err := decoder.Decode(&o); err != nil {
			got = err.Error()
		}
		for _, column := range o.Columns {
			got += column.Name + ":" + column.Field + " "
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("columns %s: %s, want %s", c.columns, got, c.want)
		}
		if o.LockTimeout != 3*time.Second && !strings.Contains(c.want, " ") {
			t.Errorf("columns %s: lock-timeout %v, want 3s", c.columns, o.LockTimeout)
		}
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("j", 300)
	seen := map[string]string{}
	for _, job := range []string{"j", "j:1", "j%3A1", "J", "j 1", "ü", "j'", long, long + "x", strings.Repeat("j", maxPart), strings.Repeat(":", 30)} {
		for _, operator := range []string{"o", "1:o", "o:0", long} {
			for _, subtask := range []int{0, 1, 1 << 30} {
				names := transaction{Job: job, Operator: operator, Subtask: subtask, Attempt: 1<<63 - 1, Checkpoint: 1<<64 - 1}
				gid, begin := names.gid(), prefix(job, operator, subtask)
				if len(gid) > 199 || strings.ContainsAny(gid, `'\`) {
					t.Errorf("%s: %d bytes, want 199 at most, without quotes", gid, len(gid))
				}
				if attempt, ok := attemptOf(gid, begin); !ok || attempt != names.Attempt {
					t.Errorf("%s: attempt %d, %v", gid, attempt, ok)
				}
				name := applicationName(Subtask{Job: job, Operator: operator, Index: subtask}, names.Attempt)
				if len(name) > 63 {
					t.Errorf("%s: %d bytes, want 63 at most", name, len(name))
				}
				for _, n := range []string{begin, name} {
					if seen[n] != "" {
						t.Errorf("%s: of %s and of %s", n, seen[n], job+operator)
					}
					seen[n] = job + " " + operator
				}
			}
		}
	}
	for begin := range seen {
		for other := range seen {
			if begin != other && strings.HasPrefix(other, begin) {
				t.Errorf("%s begins %s", begin, other)
			}
		}
	}
}
