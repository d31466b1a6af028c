package storage

import (
	"context"
	"iter"
	"strings"
)

// FolderLister is an optional part of a store. It finds the folders below a prefix without a look at every object, of
// which there may be a million.
type FolderLister interface {
	// Folders yields the names of the folders directly below prefix, each once, in any order; prefix is as for List.
	// A folder is the first element of a longer key. An empty folder may be among them; "_tmp" never is. After an
	// error nothing follows.
	Folders(ctx context.Context, prefix string) iter.Seq2[string, error]
}

// Folders lists the folders with s itself if s is a FolderLister, and otherwise from a list of everything below
// prefix.
func Folders(ctx context.Context, s Store, prefix string) iter.Seq2[string, error] {
	if l, ok := s.(FolderLister); ok {
		return l.Folders(ctx, prefix)
	}
	return func(yield func(string, error) bool) {
		seen := map[string]bool{}
		for info, err := range s.List(ctx, prefix) {
			if err != nil {
				yield("", err)
				return
			}
			name, _, inFolder := strings.Cut(info.Key[len(prefix):], "/")
			if !inFolder || seen[name] {
				continue
			}
			seen[name] = true
			if !yield(name, nil) {
				return
			}
		}
	}
}
