package servers

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// packages names the package and the module of each server, as `make servers` reads them.
//
//go:embed packages
var packages string

// heavy servers take many minutes to build; a test does not do that by itself.
func heavy(name string) bool { return name == MinIO }

// builds are the builds of this process, by path.
var builds sync.Map

// build builds a server into bin/ if it is missing. Several builds at once do no harm: the last one's file stays.
func build(path string) error {
	once, _ := builds.LoadOrStore(path, sync.OnceValue(func() error { return buildNow(path) }))
	return once.(func() error)()
}

func buildNow(path string) error {
	bin, name := filepath.Split(path)
	source := ""
	for line := range strings.Lines(packages) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == name {
			source = fields[1]
		}
	}
	if source == "" {
		return errors.New("no package is known for it")
	}
	if err := os.MkdirAll(bin, 0o777); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(bin, ".build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-mod=readonly", "-ldflags=-s -w", "-o", made, source)
	cmd.Dir = filepath.Join(filepath.Dir(filepath.Clean(bin)), "conformance", "servers", name)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return os.Rename(made, path)
}
