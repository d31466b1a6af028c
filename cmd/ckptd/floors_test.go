package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ckptd/ckptd"

// floors says which packages of ours the production code of a package may import. Names are relative to the module; "x/..." is x and
// everything below it that has no row of its own. The longest name that fits a package is its row. A package may always import what
// is below itself in the same row.
var floors = []struct {
	pkg string
	may []string
}{
	{"cmd/ckptd", []string{"..."}},
	{"cmd/ckptd/demo", []string{"cmd/ckptd/demo/recount", "cmd/ckptd/drivers", "cmd/ckptd/exit", "cmd/ckptd/launch", "cmd/ckptd/output", "client", "runtime/clickjob",
		"runtime/filesink", "runtime/launcher", "layout", "layout/catalog", "layout/storage", "service/config", "proto/..."}},
	{"cmd/ckptd/demo/recount", nil}, // nothing of the job that it checks
	{"cmd/ckptd/drivers", []string{"cmd/ckptd/exit", "cmd/ckptd/output", "layout/storage", "layout/storage/retry", "layout/storage/file", "layout/storage/s3", "layout/storage/gcs",
		"layout/storage/hdfs"}},
	{"cmd/ckptd/exit", nil},
	{"cmd/ckptd/launch", []string{"cmd/ckptd/exit", "cmd/ckptd/output", "proto/...", "runtime/launcher"}},
	{"cmd/ckptd/runner", []string{"cmd/ckptd/exit", "cmd/ckptd/launch", "cmd/ckptd/output", "client", "proto/...", "runtime/launcher", "service/config"}},
	{"cmd/ckptd/jobfile", []string{"runtime/...", "service/config"}},
	{"cmd/ckptd/output", []string{"proto/..."}},
	{"runtime", []string{"client", "layout/keygroup", "proto/...", "runtime/..."}},
	{"examples", []string{"runtime/..."}},
	{"conformance", []string{"layout/storage", "client", "proto/..."}},
	{"conformance/bench/manyjobs", []string{"client", "layout", "proto/..."}}, // names of files that a sweep finds; the request for a plan
	{"conformance/coverage/cmd", []string{"conformance/coverage"}},
	// The real service in a test: tests of an engine import it instead of a fake, so it reaches down to the service and the store.
	{"conformance/daemontest", []string{"service", "service/coordinator", "layout/storage", "layout/storage/mem"}},
	{"conformance/connectors", []string{"runtime/state"}},
	{"conformance/engines", []string{"conformance/daemontest", "layout/storage/mem", "client"}},
	{"client", []string{"proto/..."}},
	{"client/engine", []string{"client"}},
	{"client/exampleengine", []string{"client", "client/engine"}},
	{"client/exampleengine/calls", []string{"client"}},
	{"service", []string{"retention/...", "incremental/...", "layout/...", "layout/keygroup", "layout/storage", "layout/storage/limit", "layout/storage/retry",
		"layout/storage/measure", "proto/...", "service/api", "service/shell", "service/config", "service/coordinator",
		"service/owner", "service/stream", "service/collect"}},
	{"service/collect", []string{"layout/...", "layout/keygroup", "layout/storage", "proto/...", "service/owner"}},
	{"service/shell", []string{"incremental", "layout/...", "layout/keygroup", "layout/storage", "proto/...", "service/api", "service/config",
		"service/coordinator", "service/owner", "service/stream", "service/collect"}},
	{"service/api", []string{"incremental", "layout/...", "layout/keygroup", "layout/storage", "proto/...", "service/config", "service/coordinator",
		"service/owner"}},
	{"service/config", []string{"layout/journal", "proto/...", "retention", "service/coordinator", "service/owner"}},
	{"service/owner", []string{"retention", "incremental", "layout/journal"}},
	{"service/access", []string{"proto/..."}},
	{"service/coordinator", nil},
	{"service/stream", []string{"layout", "layout/storage", "proto/..."}},
	{"retention", []string{"layout/...", "layout/keygroup"}},
	{"incremental", []string{"layout/...", "layout/keygroup"}},
	{"layout", []string{"layout/...", "layout/keygroup", "layout/storage", "proto/..."}},
	{"layout/doctor", []string{"layout", "layout/storage", "proto/..."}},
	{"layout/keygroup", nil},
	{"layout/storage", nil},
	{"layout/storage/limit", []string{"layout/storage"}},
	{"layout/storage/retry", []string{"layout/storage"}},
	{"layout/storage/measure", []string{"layout/storage"}},
	{"layout/storage/file", []string{"layout/storage"}},
	{"layout/storage/mem", []string{"layout/storage"}},
	{"layout/storage/wire", nil},
	{"layout/storage/s3", []string{"layout/storage", "layout/storage/wire"}},
	{"layout/storage/gcs", []string{"layout/storage", "layout/storage/wire"}},
	{"layout/storage/hdfs", []string{"layout/storage"}},
	{"proto", []string{"proto/..."}},
	{everywhere, nil},
}

// everywhere is a leaf that every package may import.
const everywhere = "crc32c"

// drivers are the packages that one package alone may name: a new store is one package and one row in it.
var (
	drivers     = []string{"layout/storage/file", "layout/storage/s3", "layout/storage/gcs", "layout/storage/hdfs"}
	driverTable = "cmd/ckptd/drivers"
)

// machines are values without I/O, goroutines or a clock.
var machines = []string{"layout/journal", "layout/history", "layout/keygroup", "service/owner", "service/coordinator", "runtime/aligner", "retention", "incremental"}

// notInMachines are the imports that would bring them in.
var notInMachines = []string{"context", "log", "log/slog", "math/rand", "net", "net/http", "os", "sync", "sync/atomic", "syscall"}

// The house numbers.
const (
	maxFileLines     = 600
	maxFunctionLines = 80
	maxMethods       = 7
)

// A listed is what `go list` says of a package.
type listed struct {
	ImportPath, Dir                     string
	GoFiles, IgnoredGoFiles             []string
	TestGoFiles, XTestGoFiles, CgoFiles []string
	Imports                             []string
}

// A pkg is a package of ours with its parsed production files; generated ones are left out.
type pkg struct {
	listed
	name  string // relative to the module
	fset  *token.FileSet
	files map[string]*ast.File
}

func load(t *testing.T) []*pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,GoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles,CgoFiles,Imports", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []*pkg
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		p := &pkg{fset: token.NewFileSet(), files: map[string]*ast.File{}}
		if err := decoder.Decode(&p.listed); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		p.name = strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, name := range slices.Concat(p.GoFiles, p.CgoFiles) {
			f, err := parser.ParseFile(p.fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if !ast.IsGenerated(f) {
				p.files[name] = f
			}
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 3 {
		t.Fatalf("go list found %d packages", len(pkgs))
	}
	return pkgs
}

// covers tells whether a pattern of the table names the package.
func covers(pattern, name string) bool {
	below, ok := strings.CutSuffix(pattern, "...")
	if !ok || below == "" {
		return ok || pattern == name
	}
	floor, _, _ := row(name)
	return floor+"/" == below
}

// row gives what a package may import; ok is false if no row fits.
func row(name string) (pkg string, may []string, ok bool) {
	for _, f := range floors {
		if (name == f.pkg || strings.HasPrefix(name, f.pkg+"/")) && len(f.pkg) >= len(pkg) {
			pkg, may, ok = f.pkg, f.may, true
		}
	}
	return pkg, may, ok
}

// mayImport is the table's verdict.
func mayImport(name, imported string) bool {
	floor, may, _ := row(name)
	if imported == everywhere {
		return true
	}
	if slices.ContainsFunc(may, func(pattern string) bool { return covers(pattern, imported) }) {
		return true
	}
	of, _, _ := row(imported)
	return of == floor && strings.HasPrefix(imported, name+"/")
}

func TestFloors(t *testing.T) {
	for _, p := range load(t) {
		if _, _, ok := row(p.name); !ok && len(p.GoFiles) > 0 {
			t.Errorf("%s is on no floor: the table of imports does not name it", p.name)
			continue
		}
		for _, path := range p.Imports {
			imported, ours := strings.CutPrefix(path, module+"/")
			if ours && !mayImport(p.name, imported) {
				t.Errorf("%s must not import %s", p.name, imported)
			}
			if slices.Contains(drivers, imported) && p.name != driverTable {
				t.Errorf("%s must not import %s: only %s names a driver", p.name, imported, driverTable)
			}
			if slices.Contains(machines, p.name) && slices.Contains(notInMachines, path) {
				t.Errorf("%s is a machine and must not import %s", p.name, path)
			}
		}
	}
}

// The table itself, by example; each line would be a hole in the design.
func TestFloorsRefuse(t *testing.T) {
	for _, c := range []struct {
		name, imported string
		may            bool
	}{
		{"cmd/ckptd/drivers", "layout/storage/file", true},
		{"cmd/ckptd/drivers", "layout", false},
		{"cmd/ckptd/demo", "service/owner", false},
		{"cmd/ckptd/demo", "cmd/ckptd/drivers", true},
		{"cmd/ckptd/exit", "cmd/ckptd/output", false},
		{"service", "layout/storage/file", false},
		{"service", "layout/storage", true},
		{"service", "layout/storage/limit", true},
		{"layout/storage/limit", "layout/storage/retry", false},
		{"service", "layout/catalog", true},
		{"service", "client", false},
		{"service", "service/shell", true},
		{"service/shell", "service", false},
		{"service/shell", "layout/storage/limit", false},
		{"service/api", "service/shell", false},
		{"service/access", "proto/address", true},
		{"service/access", "service", false},
		{"service", "service/access", false},
		{"service/owner", "service/shell", false},
		{"service/owner", "layout/journal", true},
		{"service/owner", "runtime", false},
		{"client", "layout", false},
		{"client", "layout/storage", false},
		{"client/exampleengine", "client", true},
		{"client/exampleengine", "proto/ckptd/v1", false},
		{"client/exampleengine/calls", "client/engine", false},
		{"client/engine", "client", true},
		{"client/engine", "proto/ckptd/v1", false},
		{"client", "client/engine", false},
		{"client", "conformance/daemontest", false},
		{"conformance/engines", "service", false},
		{"conformance/daemontest", "service", true},
		{"runtime", "conformance/daemontest", false},
		{"runtime", "layout/storage/mem", false},
		{"runtime/lsm", "runtime/state", true},
		{"runtime", "layout", false},
		{"layout", "layout/storage/file", false},
		{"layout/journal", "layout", true},
		{"layout/journal", "service", false},
		{"layout/keygroup", "layout", false},
		{"layout/storage", "proto/ckptd/v1", false},
		{"layout/storage", "layout/storage/file", false},
		{"layout/storage/file", "layout/storage/mem", false},
		{"layout/storage/file", "layout/storage", true},
		{"layout/storage/s3/sign", "layout/storage", true},
		{"incremental", "layout/storage", false},
		{"incremental/fileset", "layout/journal", true},
		{"incremental", "incremental/fileset", true},
		{"incremental", "retention", false},
		{"conformance/stores", "layout/storage/mem", false},
		{"proto/data", "layout", false},
		{"proto/data", "crc32c", true},
		{"crc32c", "proto/data", false},
	} {
		if got := mayImport(c.name, c.imported); got != c.may {
			t.Errorf("%s may import %s: %v, want %v", c.name, c.imported, got, c.may)
		}
	}
}

// Step machines neither start goroutines, nor look at a clock, nor throw dice that are not part of their state.
func TestMachinesArePure(t *testing.T) {
	// Read is crypto/rand's: nonces are drawn beside the machines and handed in.
	seeded := []string{"New", "NewPCG", "NewChaCha8", "PCG", "ChaCha8", "Rand", "Source", "Read"}
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}
	for _, p := range load(t) {
		if !slices.Contains(machines, p.name) {
			continue
		}
		for _, f := range p.files {
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s: a machine starts a goroutine", p.fset.Position(n.Pos()))
				case *ast.ChanType:
					t.Errorf("%s: a machine has a channel", p.fset.Position(n.Pos()))
				case *ast.SelectorExpr:
					x, _ := n.X.(*ast.Ident)
					if x != nil && (x.Name == "time" && slices.Contains(clock, n.Sel.Name) || x.Name == "rand" && !slices.Contains(seeded, n.Sel.Name)) {
						t.Errorf("%s: a machine uses %s.%s", p.fset.Position(n.Pos()), x.Name, n.Sel.Name)
					}
				}
				return true
			})
		}
	}
}

// No package makes a table of CRCs of its own.
func TestOneTableOfCRC(t *testing.T) {
	for _, p := range load(t) {
		for _, f := range p.files {
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "MakeTable" && p.name != everywhere {
					t.Errorf("%s: %s makes a table of CRCs; want it to use package %s", p.fset.Position(n.Pos()), p.name, everywhere)
				}
				return true
			})
		}
	}
}

var (
	saysOwn = regexp.MustCompile(`\bowns?\b`)
	saysNot = regexp.MustCompile(`not\s+know|knows?\s+(no|nothing)\b`)
)

func TestPackageComments(t *testing.T) {
	for _, p := range load(t) {
		if len(p.files) == 0 {
			continue // generated or tests only
		}
		var text string
		var in []string
		for name, f := range p.files {
			if f.Doc != nil {
				in = append(in, name)
				text = f.Doc.Text()
			}
		}
		slices.Sort(in)
		switch {
		case len(in) != 1:
			t.Errorf("%s has %d package comments (in %v), want one", p.name, len(in), in)
		case !saysOwn.MatchString(text) || !saysNot.MatchString(text):
			t.Errorf("%s: the package comment does not say what the package owns and what it must not know", p.name)
		}
	}
}

func TestHouseNumbers(t *testing.T) {
	for _, p := range load(t) {
		for _, name := range slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles, p.TestGoFiles, p.XTestGoFiles) {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Error(err)
				continue
			}
			if lines := fset.Position(f.FileEnd).Line; lines > maxFileLines && !ast.IsGenerated(f) {
				t.Errorf("%s/%s has %d lines, at most %d", p.name, name, lines, maxFileLines)
			}
		}
		for _, f := range p.files {
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					p.function(t, n)
				case *ast.InterfaceType:
					if methods := n.Methods.NumFields(); methods > maxMethods {
						t.Errorf("%s: an interface of %d methods, at most %d", p.fset.Position(n.Pos()), methods, maxMethods)
					}
				}
				return true
			})
		}
	}
}

func (p *pkg) function(t *testing.T, f *ast.FuncDecl) {
	from, to := p.fset.Position(f.Pos()), p.fset.Position(f.End())
	if lines := to.Line - from.Line + 1; lines > maxFunctionLines {
		t.Errorf("%s: %s has %d lines, at most %d", from, f.Name.Name, lines, maxFunctionLines)
	}
	if f.Name.Name == "init" && f.Recv == nil {
		t.Errorf("%s: init functions are not used here", from)
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for _, p := range load(t) {
		for _, f := range p.files {
			for _, decl := range f.Decls {
				for _, name := range undocumented(decl) {
					t.Errorf("%s: %s is exported and has no comment", p.fset.Position(name.Pos()), name.Name)
				}
			}
		}
	}
}

// undocumented gives the exported names of a declaration without a comment. A comment over a group is enough for constants and
// variables, not for types.
func undocumented(decl ast.Decl) (names []*ast.Ident) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || exportedReceiver(d.Recv.List[0].Type)) {
			names = append(names, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && s.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
					names = append(names, s.Name)
				}
			case *ast.ValueSpec:
				if s.Doc == nil && s.Comment == nil && d.Doc == nil {
					names = append(names, exported(s.Names)...)
				}
			}
		}
	}
	return names
}

func exported(names []*ast.Ident) []*ast.Ident {
	return slices.DeleteFunc(slices.Clone(names), func(n *ast.Ident) bool { return !n.IsExported() })
}

func exportedReceiver(expr ast.Expr) bool {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return exportedReceiver(e.X)
	case *ast.IndexExpr:
		return exportedReceiver(e.X)
	case *ast.IndexListExpr:
		return exportedReceiver(e.X)
	case *ast.Ident:
		return e.IsExported()
	}
	return false
}

// The checks above see nothing if they do not bite: here is what each must find.
func TestUndocumentedBites(t *testing.T) {
	const src = `package x
type A struct{}
func (A) B() {}
func (a) C() {}
// D has one.
func D() {}
var E, f = 1, 2
const G = 1 // beside it
// Over a group.
const (
	H = 1
	I = 2
)
type (
	// J has one.
	J int
	K int
)
`
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", src, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, decl := range f.Decls {
		for _, name := range undocumented(decl) {
			got = append(got, name.Name)
		}
	}
	if want := []string{"A", "B", "E", "K"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("undocumented: %v, want %v", got, want)
	}
}
