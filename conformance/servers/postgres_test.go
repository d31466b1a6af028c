package servers

import (
	"strings"
	"testing"
)

// What was prepared before a crash of the server is there after it.
func TestPostgresCrash(t *testing.T) {
	p := StartPostgres(t)
	p.Do(t, "CREATE TABLE t (a int)")
	p.Do(t, "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'x'")
	p.Crash()
	if err := p.ask("SELECT 1"); err == nil {
		t.Error("a server that crashed answers, want an error")
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.Do(t, "COMMIT PREPARED 'x'")
	if err := p.ask("COMMIT PREPARED 'x'"); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("second commit: %v, want that it does not exist", err)
	}
}
