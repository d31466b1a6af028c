package main_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// upward are the calls between two files of a package that run against the order of its files, with the reason of each. All other
// calls below service run downward: the files of a package have an order in which a reader meets each call before what it calls.
var upward = []struct{ pkg, from, to, why string }{
	{"service/coordinator", "liveness.go", "machine.go", "a lost worker makes decisions and fails the attempt"},
	{"service/coordinator", "schedule.go", "machine.go", "a failed checkpoint makes decisions and can fail the attempt"},
}

// A call is a pair of files: a function of one uses a function or method that the other declares.
type call struct{ from, to string }

// A callGraph holds the calls between the files of a package, each with an example.
type callGraph map[call]string

// exports finds the compiled packages that our packages import.
func exports(t *testing.T) types.Importer {
	t.Helper()
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export", module+"/service/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	files := map[string]string{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct{ ImportPath, Export string }
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		files[p.ImportPath] = p.Export
	}
	return importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) { return os.Open(files[path]) })
}

// calls makes the graph of a package.
func (p *pkg) calls(from types.Importer) (callGraph, error) {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: from}
	all := slices.Collect(maps.Values(p.files))
	checked, err := config.Check(p.ImportPath, p.fset, all, info)
	if err != nil {
		return nil, err
	}
	file := func(pos token.Pos) string { return filepath.Base(p.fset.Position(pos).Filename) }
	g := callGraph{}
	for _, f := range all {
		for _, decl := range f.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok || function.Body == nil {
				continue
			}
			ast.Inspect(function.Body, func(n ast.Node) bool {
				id, ok := n.(*ast.Ident)
				if !ok {
					return true
				}
				if called, ok := info.Uses[id].(*types.Func); ok && called.Pkg() == checked {
					if c := (call{file(id.Pos()), file(called.Origin().Pos())}); c.from != c.to {
						g[c] = function.Name.Name + " calls " + id.Name
					}
				}
				return true
			})
		}
	}
	return g, nil
}

// cycles gives the groups of files that call each other, directly or over others.
func (g callGraph) cycles() (groups [][]string) {
	reach := map[string]map[string]bool{}
	var walk func(from, at string)
	walk = func(from, at string) {
		for c := range g {
			if c.from == at && !reach[from][c.to] {
				reach[from][c.to] = true
				walk(from, c.to)
			}
		}
	}
	for c := range g {
		if reach[c.from] == nil {
			reach[c.from] = map[string]bool{}
			walk(c.from, c.from)
		}
	}
	seen := map[string]bool{}
	for _, a := range slices.Sorted(maps.Keys(reach)) {
		var group []string
		for _, b := range slices.Sorted(maps.Keys(reach)) {
			if !seen[b] && reach[a][b] && reach[b][a] {
				group = append(group, b)
			}
		}
		for _, b := range group {
			seen[b] = true
		}
		if len(group) > 0 {
			groups = append(groups, group)
		}
	}
	return groups
}

// best gives the calls of a group that run upward in the order of its files that has the fewest of them.
func (g callGraph) best(group []string) (up []call) {
	n := len(group)
	if n > 20 {
		return nil
	}
	calls := make([]uint32, n) // the files that each file calls
	for i, a := range group {
		for k, b := range group {
			if _, ok := g[call{a, b}]; ok {
				calls[i] |= 1 << k
			}
		}
	}
	// least[s] is the smallest number of upward calls among the files of s, if they come first. last[s] is the last of them.
	least, last := make([]int, 1<<n), make([]int, 1<<n)
	for s := 1; s < 1<<n; s++ {
		least[s] = 1 << 30
		for i := range n {
			if s&(1<<i) == 0 {
				continue
			}
			before := s &^ (1 << i)
			if v := least[before] + bits.OnesCount32(calls[i]&uint32(before)); v < least[s] {
				least[s], last[s] = v, i
			}
		}
	}
	for s := 1<<n - 1; s != 0; s &^= 1 << last[s] {
		for k := range n {
			if calls[last[s]]&uint32(s)&^(1<<last[s])&(1<<k) != 0 {
				up = append(up, call{group[last[s]], group[k]})
			}
		}
	}
	return up
}

// The checks above see nothing if they do not bite: here is what they find in a package of three files.
func TestUpwardCallsAreFound(t *testing.T) {
	g := callGraph{{"a", "b"}: "1", {"b", "a"}: "2", {"b", "c"}: "3", {"c", "b"}: "4", {"a", "d"}: "5", {"c", "a"}: "6"}
	groups := g.cycles()
	if len(groups) != 1 || !slices.Equal(groups[0], []string{"a", "b", "c"}) {
		t.Fatalf("cycles %v, want one of a, b and c", groups)
	}
	up := g.best(groups[0])
	if len(up) != 2 {
		t.Errorf("upward calls %v, want two", up)
	}
	for _, c := range up {
		delete(g, c)
	}
	if groups := g.cycles(); len(groups) != 0 {
		t.Errorf("without %v: cycles %v, want none", up, groups)
	}
	p := &pkg{listed: listed{ImportPath: "x"}, fset: token.NewFileSet(), files: map[string]*ast.File{}}
	for name, src := range map[string]string{
		"a.go": "package x\ntype a[T any] struct{}\nfunc (a[T]) f() {}\nfunc top() { down() }",
		"b.go": "package x\nfunc down() { new(a[int]).f(); own() }\nfunc own() {}",
	} {
		f, err := parser.ParseFile(p.fset, name, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		p.files[name] = f
	}
	found, err := p.calls(nil)
	if err != nil || len(found) != 2 || found[call{"a.go", "b.go"}] != "top calls down" || found[call{"b.go", "a.go"}] != "down calls f" {
		t.Errorf("calls %v, %v; want one from each file to the other", found, err)
	}
}

// TestCallsGoDown: without the calls that upward lists, the files of each package below service have an order in which all calls
// run downward. Each listed call is needed.
func TestCallsGoDown(t *testing.T) {
	from := exports(t)
	listed := 0
	for _, p := range load(t) {
		if p.name != "service" && !strings.HasPrefix(p.name, "service/") {
			continue
		}
		g, err := p.calls(from)
		if err != nil {
			t.Fatal(err)
		}
		var allowed []call
		for _, u := range upward {
			c := call{u.from, u.to}
			if u.pkg != p.name {
				continue
			}
			if g[c] == "" {
				t.Errorf("%s: %s calls nothing of %s any more: take it off the list", p.name, u.from, u.to)
			}
			if u.why == "" {
				t.Errorf("%s: %s -> %s is listed without a reason", p.name, u.from, u.to)
			}
			listed++
			allowed = append(allowed, c)
		}
		down := maps.Clone(g)
		for _, c := range allowed {
			delete(down, c)
		}
		for _, group := range down.cycles() {
			t.Errorf("%s: these files call each other: %v; the fewest calls that run upward:", p.name, group)
			for _, c := range down.best(group) {
				t.Errorf("    %s -> %s: %s", c.from, c.to, g[c])
			}
		}
		for _, c := range allowed {
			with := maps.Clone(down)
			with[c] = g[c]
			if len(with.cycles()) == len(down.cycles()) {
				t.Errorf("%s: %s -> %s runs downward: take it off the list", p.name, c.from, c.to)
			}
		}
	}
	if listed != len(upward) {
		t.Errorf("%d of %d listed calls are of no package below service", len(upward)-listed, len(upward))
	}
}
