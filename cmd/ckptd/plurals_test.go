package main_test

import (
	"go/ast"
	"go/token"
	"regexp"
	"strings"
	"testing"
)

// counted is a number before a plural. With the number 1 such a text reads "1 checkpoints".
var counted = regexp.MustCompile(`%d (checkpoints|jobs|files|subtasks|records|workers|errors|keys|lines|objects|users|clicks|kills|restores|pieces|entries|attempts|` +
	`epochs|tries|failures|copies|journals|operators|restarts|folders|pins|uploads|things)\b`)

// severalOnly are texts whose number is at least 2, or a limit, or has a text of its own for 1.
var severalOnly = []string{
	"passed over %d keys of other parts of Flink", "(%d of %d subtasks, the first is", "plan: %d subtasks: at most", "over %d workers",
}

// No text for people counts in the plural alone: output.Count has both forms.
func TestCountsHaveASingular(t *testing.T) {
	found := 0
	for _, p := range load(t) {
		if !strings.HasPrefix(p.name, "cmd/ckptd") && !strings.HasPrefix(p.name, "service") && p.name != "layout/verify" && p.name != "layout/catalog" {
			continue
		}
		for _, f := range p.files {
			ast.Inspect(f, func(n ast.Node) bool {
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING || !counted.MatchString(lit.Value) {
					return true
				}
				for _, right := range severalOnly {
					if strings.Contains(lit.Value, right) {
						found++
						return true
					}
				}
				t.Errorf("%s: %s: with 1 it is wrong; use output.Count, or put the number after the noun", p.fset.Position(lit.Pos()), lit.Value)
				return true
			})
		}
	}
	if found < 3 {
		t.Errorf("%d texts with a right plural were found: does the test look at all?", found)
	}
}
