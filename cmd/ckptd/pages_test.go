package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The pages name links, files, verbs, flags, variables, targets and tests. All of them must exist.
func TestPages(t *testing.T) {
	s := newSources(t)
	found := 0
	for name, text := range s.text {
		if path.Ext(name) != ".md" {
			continue
		}
		found++
		for _, wrong := range s.wrong(name, text) {
			t.Error(wrong)
		}
	}
	if found < 5 {
		t.Errorf("found %d pages, want more than 5", found)
	}
}

// Every check of TestPages finds a name that does not exist.
func TestPagesBite(t *testing.T) {
	s := newSources(t)
	for text, want := range map[string]string{
		"[stores](docs/shops.md)":                       "docs/shops.md",
		"[stores](docs/stores.md#nowhere)":              "#nowhere",
		"`service/owner/verdicts.go`":                   "service/owner/verdicts.go",
		"`verdicts.go`":                                 "verdicts.go",
		"`service/owners`":                              "service/owners",
		"`Judgment` (`service/owner/verdict.go`)":       "Judgment",
		"`ckptd lst ./data`":                            "lst",
		"`--no-such-flag`":                              "--no-such-flag",
		"```sh\nckptd serve \\\n  --roots x\n```\n":     "--roots",
		"```sh\nckptd ls ./data --records 5\n```\n":     "--records",
		"`client.WithSecret`":                           "WithSecret",
		"```go\nengine.Start(ctx)\n```\n":               "no Start",
		"`CKPTD_NOTHING=1`":                             "CKPTD_NOTHING",
		"`make everything`":                             "make everything",
		"`TestNothingAtAll` proves it":                  "TestNothingAtAll",
		"in `conformance/stores` and `runtime/nothing`": "runtime/nothing",
	} {
		if wrong := strings.Join(s.wrong("README.md", text), "\n"); !strings.Contains(wrong, want) || strings.Count(wrong, "\n") > 0 {
			t.Errorf("%q: found %q, want one complaint about %s", text, wrong, want)
		}
	}
}

// Package comments name the files of their package that a reader opens. Under "Where to read" they name all of them.
func TestPackageCommentsNameFiles(t *testing.T) {
	s := newSources(t)
	lists := 0
	for name, text := range s.text {
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if f.Doc == nil {
			continue
		}
		comment, dir := f.Doc.Text(), path.Dir(name)
		for _, file := range goFile.FindAllString(comment, -1) {
			if !strings.Contains(file, "/") && s.text[path.Join(dir, file)] == "" {
				t.Errorf("%s: the package comment names %s, which does not exist", name, file)
			}
		}
		if _, list, ok := strings.Cut(comment, "# Where to read"); ok {
			lists++
			for other := range s.text {
				if base := path.Base(other); path.Dir(other) == dir && path.Ext(base) == ".go" && !strings.HasSuffix(base, "_test.go") && base != path.Base(name) &&
					!slices.Contains(goFile.FindAllString(list, -1), base) {
					t.Errorf("%s: %s is not in the list of files", name, base)
				}
			}
		}
	}
	if lists == 0 {
		t.Error("no package comment has the heading: # Where to read")
	}
}

// sources are the texts of the repository, by their paths from its root.
type sources struct {
	text  map[string]string
	base  map[string]bool // the names of files, without folders
	dirs  map[string]bool
	verbs map[string]*cobra.Command
	flags map[string]bool
	code  string // all of the Go files, make files and scripts
}

func newSources(t *testing.T) *sources {
	t.Helper()
	s := &sources{text: map[string]string{}, base: map[string]bool{}, dirs: map[string]bool{}, verbs: map[string]*cobra.Command{}, flags: map[string]bool{}}
	top := filepath.Join("..", "..")
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(top, p)
		name = filepath.ToSlash(name)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == ".git" || name == "bin" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir():
			s.dirs[name] = true
			return nil
		}
		s.base[path.Base(name)] = true
		s.text[name] = ""
		switch ext := path.Ext(name); ext {
		case ".go", ".md", ".py", ".proto", "":
			b, err := os.ReadFile(p)
			s.text[name] = string(b)
			if (ext == ".go" || ext == "") && d.Name() != "pages_test.go" {
				s.code += string(b)
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.add("", newRootCmd(nil))
	return s
}

func (s *sources) add(prefix string, cmd *cobra.Command) {
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	cmd.Flags().VisitAll(func(f *pflag.Flag) { s.flags[f.Name] = true })
	for _, c := range cmd.Commands() {
		s.verbs[prefix+c.Name()] = c
		s.add(prefix+c.Name()+" ", c)
	}
}

var (
	pageLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	pageFence   = regexp.MustCompile("(?ms)^[ ]*```([a-z]*)\n(.*?)^[ ]*```")
	pageSpan    = regexp.MustCompile("`([^`\n]+(?:\n[^`\n]+)?)`")
	pageHeading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	goFile      = regexp.MustCompile(`[\w./-]*\b\w+\.(?:go|proto)\b`)
	pageFile    = regexp.MustCompile(`^[\w./-]+\.(?:go|proto|md|py)$`)
	declared    = regexp.MustCompile("`(\\w+)`(?:, `\\w+`)* \\(`([\\w./-]+\\.go)`\\)")
	verbOf      = regexp.MustCompile(`(?:^|[\s/|(])ckptd ((?:journal )?[a-z][a-z-]*)`)
	flagOf      = regexp.MustCompile(`(?:^|[\s(\[])--([a-z][a-z-]*)`)
	variable    = regexp.MustCompile(`\bCKPTD_[A-Z_]*[A-Z]\b`)
	makeTarget  = regexp.MustCompile(`(?:^|\s)make ([a-z-]+)`)
	goName      = regexp.MustCompile(`\b(client|engine|engines|daemontest|stores|storage)\.([A-Z]\w*)`)
	testName    = regexp.MustCompile(`^(?:Test|Fuzz|Benchmark|Example)[A-Z]\w*$`)
)

// packages are the folders of the Go packages whose names stand on the pages.
var packages = map[string]string{
	"client": "client", "engine": "client/engine", "engines": "conformance/engines", "daemontest": "conformance/daemontest",
	"stores": "conformance/stores", "storage": "layout/storage",
}

// foreign are flags of other programs that the pages name in a sentence.
var foreign = []string{"versioning-dir", "clear-soft-delete"}

// wrong lists the names on a page that do not exist.
func (s *sources) wrong(page, text string) (all []string) {
	complain := func(format string, args ...any) { all = append(all, page+": "+fmt.Sprintf(format, args...)) }
	prose := pageFence.ReplaceAllString(text, "")
	for _, m := range pageLink.FindAllStringSubmatch(prose, -1) {
		if !strings.Contains(m[1], "://") {
			s.link(page, m[1], complain)
		}
	}
	for _, m := range declared.FindAllStringSubmatch(prose, -1) {
		if file := s.find(page, m[2]); file != "" && !declares(s.text[file], m[1]) {
			complain("%s does not declare %s", m[2], m[1])
		}
	}
	var code []string
	for _, m := range pageSpan.FindAllStringSubmatch(prose, -1) {
		code = append(code, strings.Join(strings.Fields(m[1]), " "))
		s.word(page, strings.TrimSpace(m[1]), complain)
	}
	for _, flag := range flagOf.FindAllStringSubmatch(strings.Join(code, "\n"), -1) {
		if !s.flags[flag[1]] && !slices.Contains(foreign, flag[1]) {
			complain("no verb has the flag --%s", flag[1])
		}
	}
	for _, m := range pageFence.FindAllStringSubmatch(text, -1) {
		if m[1] == "go" {
			code = append(code, m[2])
		}
		if m[1] == "sh" || m[1] == "" {
			lines := strings.Split(strings.ReplaceAll(m[2], "\\\n", " "), "\n")
			code = append(code, lines...)
			s.commands(lines, complain)
		}
	}
	for _, line := range code {
		line, _, _ = strings.Cut(line, "  #")
		for _, m := range verbOf.FindAllStringSubmatch(line, -1) {
			if s.verbs[m[1]] == nil && s.verbs[strings.Fields(m[1])[0]] == nil {
				complain("there is no verb %s", m[1])
			}
		}
		for _, m := range goName.FindAllStringSubmatch(line, -1) {
			if !s.exports(packages[m[1]], m[2]) {
				complain("package %s has no %s", packages[m[1]], m[2])
			}
		}
		for _, v := range variable.FindAllString(line, -1) {
			if flag := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(v, variablePrefix), "_", "-")); !s.flags[flag] && !strings.Contains(s.code, v) {
				complain("nothing reads the variable %s", v)
			}
		}
		for _, m := range makeTarget.FindAllStringSubmatch(line, -1) {
			if !strings.Contains(s.text["Makefile"], "\n"+m[1]+":") {
				complain("there is no target: make %s", m[1])
			}
		}
	}
	return all
}

// exports tells whether a package declares a name.
func (s *sources) exports(dir, name string) bool {
	for file, text := range s.text {
		if path.Dir(file) == dir && path.Ext(file) == ".go" && strings.Contains(text, name) && declares(text, name) {
			return true
		}
	}
	return false
}

// commands checks the flags in lines that begin with a verb of ckptd.
func (s *sources) commands(lines []string, complain func(string, ...any)) {
	for _, line := range lines {
		line, _, _ = strings.Cut(line, " #")
		line, _, _ = strings.Cut(line, " | ")
		m := verbOf.FindStringSubmatchIndex(line)
		if m == nil {
			continue
		}
		verb := line[m[2]:m[3]]
		cmd := s.verbs[verb]
		if cmd == nil {
			cmd = s.verbs[strings.Fields(verb)[0]]
		}
		for _, flag := range flagOf.FindAllStringSubmatch(line[m[3]:], -1) {
			if cmd != nil && cmd.Flags().Lookup(flag[1]) == nil {
				complain("ckptd %s has no flag --%s", cmd.Name(), flag[1])
			}
		}
	}
}

// word checks a word in code style: the name of a file, a folder or a test.
func (s *sources) word(page, word string, complain func(string, ...any)) {
	first, _, below := strings.Cut(word, "/")
	switch {
	case pageFile.MatchString(word):
		if s.find(page, word) == "" && !s.base[word] {
			complain("there is no file %s", word)
		}
	case below && s.dirs[first] && regexp.MustCompile(`^[\w./-]+$`).MatchString(word):
		if _, file := s.text[strings.TrimSuffix(word, "/")]; !s.dirs[strings.TrimSuffix(word, "/")] && !file {
			complain("there is no folder %s", word)
		}
	case testName.MatchString(word):
		if !strings.Contains(s.code, "func "+word+"(") {
			complain("there is no test %s", word)
		}
	}
}

// find gives the path of a file that a page names: from the root, from the page, or alone in the repository.
func (s *sources) find(page, name string) string {
	for _, at := range []string{path.Clean(name), path.Join(path.Dir(page), name)} {
		if _, ok := s.text[at]; ok {
			return at
		}
	}
	return ""
}

func (s *sources) link(page, to string, complain func(string, ...any)) {
	file, anchor, _ := strings.Cut(to, "#")
	at := page
	if file != "" {
		at = path.Join(path.Dir(page), file)
	}
	text, ok := s.text[at]
	if !ok && !s.dirs[at] {
		complain("the link to %s leads nowhere", to)
		return
	}
	var anchors []string
	for _, m := range pageHeading.FindAllStringSubmatch(text, -1) {
		slug := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors = append(anchors, strings.ReplaceAll(slug, " ", "-"))
	}
	if anchor != "" && !slices.Contains(anchors, anchor) {
		complain("%s has no heading for #%s", at, anchor)
	}
}

// declares tells whether a Go file declares a function, a method or a type of this name.
func declares(source, name string) bool {
	f, err := parser.ParseFile(token.NewFileSet(), "", source, parser.SkipObjectResolution)
	if err != nil {
		return false
	}
	found := false
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			found = found || n.Name.Name == name
		case *ast.TypeSpec:
			found = found || n.Name.Name == name
		case *ast.ValueSpec:
			found = found || slices.ContainsFunc(n.Names, func(i *ast.Ident) bool { return i.Name == name })
		}
		return !found
	})
	return found
}
