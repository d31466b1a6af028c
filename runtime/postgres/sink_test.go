package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/runtime/state"
)

func TestExactlyOnce(t *testing.T) {
	p := newPlace(t, server(t))
	s := p.begin(t, 1, 0, nil)
	write(t, s, 1, 2)
	if saved := preCommit(t, s, 1); len(saved) == 0 {
		t.Error("no state, want one that names the transaction")
	}
	write(t, s, 3)
	p.want(t, "")
	check(t, s.Commit(1))
	p.want(t, "1 2")
	if saved := preCommit(t, s, 2); !strings.Contains(string(saved), `"checkpoint":2`) || strings.Contains(string(saved), `"checkpoint":1`) {
		t.Errorf("state %s, want checkpoint 2 only", saved)
	}
	s.Abort(2)
	write(t, s, 4)
	saved := preCommit(t, s, 3)
	p.wantLeftOver(t, 2)
	check(t, s.Commit(2)) // told late
	p.want(t, "1 2 3")
	check(t, s.Close())

	s = p.begin(t, 2, 3, saved) // its state names checkpoints 2 and 3
	p.want(t, "1 2 3 4")
	p.wantLeftOver(t, 0)
	if saved := preCommit(t, s, 4); saved != nil {
		t.Errorf("state %s of no rows, want none", saved)
	}
	check(t, s.Commit(4))
	check(t, s.Close())
	check(t, s.Close())
	if err := s.Write(record(1)); err == nil {
		t.Error("write after close: no error")
	}
	if got := p.rows(t, "SELECT checkpoint, attempt FROM "+p.options.FenceTable+" ORDER BY 1"); fmt.Sprint(got) != "[0|2 2|1 3|1]" {
		t.Errorf("fence %v, want attempt 2 and the transactions since the last commit of an attempt", got)
	}
}

// Restore rolls back what older attempts of its own subtask left, and nothing else.
func TestLeftOvers(t *testing.T) {
	p := newPlace(t, server(t))
	begin := prefix(p.job, "sink", 0)
	other := prefix(p.job+"x", "sink", 0)
	names := map[string]bool{ // kept?
		begin + "1:5": false, begin + "4:9": false, begin + "5:9": true, begin + "6:1": true, begin + "04:9": true, begin + "4:9:1": true, begin + "x": true,
		prefix(p.job, "sink", 1) + "1:5": true, prefix(p.job, "sink2", 0) + "1:5": true, other + "1:5": true, "elsewhere " + p.job: true,
	}
	for name := range names {
		p.exec(t, fmt.Sprintf("BEGIN; INSERT INTO %s VALUES (1); PREPARE TRANSACTION '%s'", p.options.Table, name))
	}
	p.begin(t, 5, 0, nil)
	left := map[string]bool{}
	for _, name := range p.rows(t, "SELECT gid FROM pg_prepared_xacts") {
		left[name] = true
	}
	for name, kept := range names {
		if left[name] != kept {
			t.Errorf("%s: left over %v, want %v", name, left[name], kept)
		}
		if left[name] {
			p.exec(t, "ROLLBACK PREPARED '"+name+"'")
		}
	}
	p.want(t, "")
}

// A transaction that is neither prepared nor committed is an error, until a person says that it counts as committed.
func TestLostTransaction(t *testing.T) {
	p := newPlace(t, server(t))
	s := p.begin(t, 1, 0, nil)
	write(t, s, 1)
	preCommit(t, s, 1)
	check(t, s.Commit(1))
	write(t, s, 2)
	saved := preCommit(t, s, 2)
	gid := p.leftOver(t)[0]
	p.exec(t, "ROLLBACK PREPARED '"+gid+"'")
	if err := s.Commit(2); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), gid) {
		t.Errorf("commit: %v, want that %s is lost", err, gid)
	}
	check(t, s.Close())
	err := p.sink(t).Restore(2, 2, saved)
	if !errors.Is(err, ErrLost) {
		t.Fatalf("restore: %v, want that %s is lost", err, gid)
	}
	p.want(t, "1")
	_, statement, _ := strings.Cut(err.Error(), "by hand: ")
	p.exec(t, statement)
	p.begin(t, 3, 2, saved)
}

// A state that a commit has dealt with is restored without an error, also by another job.
func TestRestoreAgain(t *testing.T) {
	p := newPlace(t, server(t))
	s := p.begin(t, 1, 0, nil)
	write(t, s, 1)
	saved := preCommit(t, s, 1)
	check(t, s.Commit(1))
	for checkpoint := uint64(2); checkpoint < 5; checkpoint++ {
		write(t, s, int(checkpoint))
		preCommit(t, s, checkpoint)
		check(t, s.Commit(checkpoint))
	}
	if n := len(p.rows(t, "SELECT FROM "+p.options.FenceTable)); n != 2 {
		t.Errorf("%d rows in the fence, want the attempt and the last transaction", n)
	}
	p.begin(t, 2, 1, saved)
	p.job += "_copy"
	p.begin(t, 1, 1, saved)
	p.want(t, "1 2 3 4")
}

func TestState(t *testing.T) {
	for _, c := range []struct{ state, why string }{
		{"{", "unexpected EOF"}, {`{"version":1}x`, "follows"}, {`{"version":2}`, "version 2"}, {`{"version":1,"x":1}`, "unknown field"},
		{`{"version":1,"transactions":[{"job":"j","operator":"o","attempt":1,"checkpoint":9}]}`, "after checkpoint"},
		{`{"version":1,"transactions":[{"job":"j","operator":"o","attempt":1,"checkpoint":0}]}`, "after checkpoint"},
		{`{"version":1,"transactions":[{"job":"","operator":"o","attempt":1,"checkpoint":1}]}`, "after checkpoint"},
	} {
		if _, err := decodeState([]byte(c.state), 8); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", c.state, err, c.why)
		}
	}
}

// Values arrive as they were, whatever they hold.
func TestValues(t *testing.T) {
	for _, mode := range []Mode{ExactlyOnce, Upsert} {
		t.Run(string(mode), func(t *testing.T) {
			p := newPlace(t, server(t))
			p.exec(t, "DROP TABLE "+p.options.Table+"; CREATE TABLE "+p.options.Table+` (id int PRIMARY KEY, s text, b boolean, f float8, n numeric, j jsonb, a text[], aa int[],
				d timestamptz, bin bytea, v varchar(3), c char(3), "odd Name" text, extra int DEFAULT 7)`)
			s := p.begin(t, 1, 0, nil, func(o *Options) {
				o.Mode = mode
				if mode == Upsert {
					o.Key = []string{"id"}
				}
				o.Columns = Columns{{Name: "id"}, {Name: "s"}, {Name: "b"}, {Name: "f"}, {Name: "n"}, {Name: "j"}, {Name: "a"}, {Name: "aa"}, {Name: "d"}, {Name: "bin"},
					{Name: "v"}, {Name: "c"}, {Name: "odd Name", Field: "x\"y"}}
			})
			for _, row := range []string{
				`{"id":1,"s":"tab\t nl\n cr\r back\\slash \\N \\. quote\" 'q' \u00e4 ,{}","b":true,"f":1.5e3,"n":12345678901234567890.123,"j":{"a":[1,"x"]},"a":["p","q\"\\",null,"NULL"],"aa":[[1,2],[3,4]],` +
					`"d":"2026-01-31T23:59:59Z","bin":"\\x00ff","v":"abc","c":"ab","x\"y":"odd","unknown":{"deep":[1]}}`,
				` { "id" : 2 , "s" : null, "j":"text", "a":[] , "aa":null} `,
				`{"id":3,"s":""}`,
			} {
				check(t, s.Write(state.Record{Value: []byte(row)}))
			}
			preCommit(t, s, 1)
			check(t, s.Commit(1))
			got := strings.Join(p.rows(t, "SELECT * FROM "+p.options.Table+" ORDER BY id"), "\n")
			want := "1|tab\t nl\n cr\r back\\slash \\N \\. quote\" 'q' ä ,{}|t|1500|12345678901234567890.123|{\"a\": [1, \"x\"]}|{p,\"q\\\"\\\\\",NULL,\"NULL\"}|{{1,2},{3,4}}|" +
				"2026-01-31 23:59:59+00|\\x00ff|abc|ab |odd|7\n" +
				"2|NULL|NULL|NULL|NULL|\"text\"|{}|NULL|NULL|NULL|NULL|NULL|NULL|7\n3||NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|7"
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// A row that is not valid, or does not fit, ends the attempt with an error that says why. Nothing of it becomes
// visible.
func TestBadRows(t *testing.T) {
	for _, mode := range []Mode{ExactlyOnce, Upsert} {
		for _, c := range []struct{ row, why string }{
			{`x`, "want a JSON object"}, {``, "want a JSON object"}, {`[1]`, "want a JSON object"}, {`{"n":1`, "unexpected EOF"}, {`{"n":1} {}`, "something follows"},
			{`{"n":1,"n":2}`, "duplicate"}, {`{"n":"one"}`, "change the column's type"}, {`{"n":99999999999999999999}`, "larger type"},
			{`{"n":2,"s":"\u0000"}`, "U+0000"}, {`{"n":3,"v":"long"}`, "longer texts"}, {`{"n":-1}`, "CHECK"},
		} {
			p := newPlace(t, server(t))
			p.exec(t, "ALTER TABLE "+p.options.Table+" ADD UNIQUE (n), ADD CHECK (n > 0), ADD v varchar(2)")
			s := p.begin(t, 1, 0, nil, func(o *Options) {
				o.Mode, o.Columns = mode, append(o.Columns, Column{Name: "v"})
				if mode == Upsert {
					o.Key = []string{"n"}
				}
			})
			check(t, s.Write(record(5)))
			err := s.Write(state.Record{Value: []byte(c.row)})
			if err == nil {
				_, err = s.PreCommit(1)
			}
			if err == nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("mode %s, row %s: %v, want %q", mode, c.row, err, c.why)
			}
			if _, err := s.PreCommit(2); err == nil {
				t.Errorf("mode %s, row %s: a checkpoint after the error, want an error", mode, c.row)
			}
			check(t, s.Close())
			p.want(t, "")
			p.wantLeftOver(t, 0)
		}
	}
}

// Interrupt ends a method that waits for the server.
func TestInterrupt(t *testing.T) {
	p := newPlace(t, server(t))
	s := p.begin(t, 1, 0, nil)
	write(t, s, 1)
	p.exec(t, "BEGIN; LOCK "+p.options.Table)
	result := make(chan error)
	go func() {
		_, err := s.PreCommit(1)
		result <- err
	}()
	for len(p.rows(t, "SELECT FROM pg_locks WHERE NOT granted AND relation = '"+p.options.Table+"'::regclass")) == 0 {
		time.Sleep(time.Millisecond)
	}
	s.Interrupt()
	if err := <-result; err == nil {
		t.Error("pre-commit: no error")
	}
	p.exec(t, "ROLLBACK")
	if err := s.Write(record(1)); err == nil {
		t.Error("write after Interrupt: no error")
	}
	check(t, s.Close())
	p.wantLeftOver(t, 0)
}
