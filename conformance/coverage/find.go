package coverage

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Found is what the repository's tests name.
type Found struct {
	// Places of each id.
	Places map[string][]Place
	// Tests are the names of all test functions.
	Tests map[string]bool
	// users of a package are the packages whose tests import it.
	users map[string][]string
}

// own is the folder of this package, whose tests name ids that they do not show.
const own = "conformance/coverage"

// module is the path that the packages' names begin with.
const module = "github.com/ckptd/ckptd/"

// Find searches the repository for subtests whose names begin with ids: names of t.Run, elements of tables, names of stories and of
// their files.
func Find(root string) (*Found, error) {
	f := &Found{Places: map[string][]Place{}, Tests: map[string]bool{}, users: map[string][]string{}}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case d.IsDir() && (rel == "bin" || rel == "tools" || rel == own || d.Name() != "." && strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir():
			return nil
		case strings.Contains(rel, "/testdata/"):
			return f.story(name, rel)
		case strings.HasSuffix(rel, ".go"):
			return f.source(name, rel)
		}
		return nil
	})
	return f, err
}

func (f *Found) add(p Place) {
	for _, id := range idsOf(p.Subtest) {
		f.Places[id] = append(f.Places[id], p)
	}
}

// story looks at a file of stories: its name is one of a subtest, and so is what stands behind "subtest".
func (f *Found) story(name, rel string) error {
	pkg, file, _ := strings.Cut(rel, "/testdata/")
	p := Place{Package: pkg, Test: path.Join("testdata", file)}
	if base := path.Base(file); len(idsOf(base)) > 0 {
		p.Subtest = strings.TrimSuffix(base, path.Ext(base))
		f.add(p)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	for line := range bytes.Lines(b) {
		if of, ok := bytes.CutPrefix(line, []byte("subtest ")); ok {
			p.Subtest = string(bytes.TrimSpace(of))
			f.add(p)
		}
	}
	return nil
}

// source looks at a file that has tests, or a suite of them.
func (f *Found) source(name, rel string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte(`"testing"`)) {
		return nil
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, b, parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("search %s for subtests: %w", rel, err)
	}
	isTest := strings.HasSuffix(rel, "_test.go")
	for _, i := range file.Imports {
		if of, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), module); ok && isTest {
			f.users[of] = append(f.users[of], path.Dir(rel))
		}
	}
	for _, d := range file.Decls {
		p := Place{Package: path.Dir(rel), suite: !isTest}
		if fn, ok := d.(*ast.FuncDecl); ok {
			p.Test = fn.Name.Name
			if isTest && strings.HasPrefix(p.Test, "Test") {
				f.Tests[p.Test] = true
			}
		}
		ast.Inspect(d, func(n ast.Node) bool {
			for _, e := range named(n) {
				if s, ok := text(e); ok {
					p.Subtest = s
					f.add(p)
				}
			}
			return true
		})
	}
	return nil
}

// named are the expressions of a node that may be the name of a subtest.
func named(n ast.Node) (names []ast.Expr) {
	switch n := n.(type) {
	case *ast.CallExpr:
		if fn, ok := n.Fun.(*ast.SelectorExpr); ok && fn.Sel.Name == "Run" && len(n.Args) > 1 {
			names = append(names, n.Args[0])
		}
	case *ast.CompositeLit:
		for _, e := range n.Elts {
			if pair, ok := e.(*ast.KeyValueExpr); ok {
				names = append(names, pair.Key, pair.Value)
			} else {
				names = append(names, e)
			}
		}
	}
	return names
}

// text is the string that an expression begins with: of a literal, a sum, or a Sprintf.
func text(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			s, err := strconv.Unquote(e.Value)
			return s, err == nil
		}
	case *ast.BinaryExpr:
		return text(e.X)
	case *ast.CallExpr:
		if fn, ok := e.Fun.(*ast.SelectorExpr); ok && fn.Sel.Name == "Sprintf" && len(e.Args) > 0 {
			return text(e.Args[0])
		}
	}
	return "", false
}
