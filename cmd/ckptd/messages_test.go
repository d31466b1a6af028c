package main_test

import (
	"go/ast"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/api"
)

// loud are the methods of logs whose lines an operator sees at the usual level. DEBUG is not explained.
var loud = []string{"Info", "Warn", "Error", "warn", "Log"}

// notByServe is the line of a server without Options.Fatal, which serve gives: it ends with an error instead.
const notByServe = "the store cannot be relied on any more"

// message returns the text of a call that writes a log line; empty: it is no such call.
func message(call *ast.CallExpr) string {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains(loud, f.Sel.Name) {
		return ""
	}
	for _, arg := range call.Args[:min(3, len(call.Args))] { // after a context and a level
		if lit, ok := arg.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text, _ := strconv.Unquote(lit.Value)
			return text
		}
	}
	return ""
}

// docs/operate.md explains each line that a daemon and a worker write, and each event of a job.
func TestMessagesAreExplained(t *testing.T) {
	text, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	explained := func(message string) bool { return strings.Contains(string(text), "`"+message+"`") }
	found := 0
	for _, p := range load(t) {
		if p.name != "cmd/ckptd" && p.name != "runtime" && p.name != "service" && !strings.HasPrefix(p.name, "service/") {
			continue
		}
		for _, f := range p.files {
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if m := message(call); m != "" && m != notByServe {
					if found++; !explained(m) {
						t.Errorf("%s: docs/operate.md does not explain the line %q", p.fset.Position(call.Pos()), m)
					}
				}
				return true
			})
		}
	}
	if found < 30 {
		t.Errorf("%d messages were found", found)
	}
	rows := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| message |") {
			clear(rows)
		}
		cells := strings.Split(line, " | ")
		if len(cells) != 4 || !strings.HasPrefix(line, "| `") {
			continue
		}
		if rows[cells[0]] {
			t.Errorf("docs/operate.md has two rows that begin with %s", cells[0])
		}
		rows[cells[0]] = true
	}
	for n := range ckptdv1.JobEventKind_name {
		if kind := ckptdv1.JobEventKind(n); n != 0 && !explained(api.EventWord(kind)) {
			t.Errorf("docs/operate.md does not explain the event %s", api.EventWord(kind))
		}
	}
}
