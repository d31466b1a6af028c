// Package freshfile keeps what was parsed from files, and parses the files again when they change.
//
// It owns the comparison of files before each use: certificates and tokens are replaced while a daemon runs. It must
// not know what the files hold.
package freshfile

import (
	"os"
	"sync"
)

// Files is the value parsed from some files. It is safe for concurrent use.
//
// Each Get asks the file system whether the files have changed. A notification would miss files that a mounted volume
// replaces by a symbolic link, and files on a network file system.
type Files[T any] struct {
	paths []string
	parse func(contents [][]byte) (T, error)

	mu    sync.Mutex
	seen  []os.FileInfo // of the contents that were parsed last; nil: the file was not there
	value T
}

// Open reads the files and parses their contents, which come in the order of the paths.
func Open[T any](parse func(contents [][]byte) (T, error), paths ...string) (*Files[T], error) {
	f := &Files[T]{paths: paths, parse: parse, seen: make([]os.FileInfo, len(paths))}
	f.look()
	var err error
	f.value, err = f.read()
	return f, err
}

// Get returns the value of the newest contents that could be parsed. err says why changed files could not be parsed;
// then the value is the one before. The error is returned once for each change.
func (f *Files[T]) Get() (value T, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.look() {
		var fresh T
		if fresh, err = f.read(); err == nil {
			f.value = fresh
		}
	}
	return f.value, err
}

// look reports whether a file has changed since the last look. It comes before the read, so that a file that changes
// during the read counts as changed at the next look.
func (f *Files[T]) look() (changed bool) {
	for i, path := range f.paths {
		now, err := os.Stat(path)
		if err != nil {
			now = nil
		}
		if !same(f.seen[i], now) {
			f.seen[i], changed = now, true
		}
	}
	return changed
}

func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func (f *Files[T]) read() (value T, err error) {
	contents := make([][]byte, len(f.paths))
	for i, path := range f.paths {
		if contents[i], err = os.ReadFile(path); err != nil {
			return value, err
		}
	}
	return f.parse(contents)
}
