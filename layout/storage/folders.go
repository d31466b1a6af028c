package storage

import (
	"context"
	"iter"
	"strings"
)

// FolderLister is what a store may offer beside the contract: it finds the folders of a root without a look at every object, of which there
// may be a million.
type FolderLister interface {
	// Folders yields, each once and in any order, the first elements below prefix of keys that have more than that one element; prefix is
	// as for List. Folders in which nothing is, or is any more, may be among them; "_tmp" never is. After an error nothing follows.
	Folders(ctx context.Context, prefix string) iter.Seq2[string, error]
}

// Folders asks a store that is a FolderLister, or finds the folders in a list of everything below prefix.
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
