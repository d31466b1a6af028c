package gcs

import (
	"context"
	"errors"
	"iter"
	"strings"

	"cloud.google.com/go/storage"
	"google.golang.org/api/iterator"

	contract "github.com/ckptd/ckptd/layout/storage"
)

// List implements storage.Store.
func (s *store) List(ctx context.Context, prefix string) iter.Seq2[contract.Info, error] {
	return func(yield func(contract.Info, error) bool) {
		err := errors.Join(ctx.Err(), contract.ValidatePrefix(prefix))
		if err == nil {
			err = s.list(ctx, &storage.Query{Prefix: s.prefix + prefix}, func(attrs *storage.ObjectAttrs) bool {
				key, ok := strings.CutPrefix(attrs.Name, s.prefix)
				if !ok || key == "" || strings.HasSuffix(key, "/") {
					return true // consoles make objects for folders; ckptd makes none
				}
				return yield(contract.Info{Key: key, Size: attrs.Size, ModTime: attrs.Created}, nil)
			})
		}
		if err != nil {
			yield(contract.Info{}, &contract.Error{Op: "list", Key: prefix, Err: err})
		}
	}
}

// Folders implements storage.FolderLister, by a delimiter.
func (s *store) Folders(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := errors.Join(ctx.Err(), contract.ValidatePrefix(prefix))
		if err == nil {
			seen := map[string]bool{}
			err = s.list(ctx, &storage.Query{Prefix: s.prefix + prefix, Delimiter: "/"}, func(attrs *storage.ObjectAttrs) bool {
				key, ok := strings.CutPrefix(attrs.Prefix, s.prefix+prefix)
				name := strings.TrimSuffix(key, "/")
				if !ok || name == "" || name == contract.TempElement || strings.Contains(name, "/") || seen[name] {
					return true
				}
				seen[name] = true
				return yield(name, nil)
			})
		}
		if err != nil {
			yield("", &contract.Error{Op: "list", Key: prefix, Err: err})
		}
	}
}

// list shows what a query finds, page after page, until show returns false. A store may list a name again on the next
// page, if objects change meanwhile; it lists in order, so a name that is not beyond the last one is dropped.
//
// The first page is repeated above this package. Only here a later page can be repeated without showing objects again.
func (s *store) list(ctx context.Context, query *storage.Query, show func(*storage.ObjectAttrs) bool) error {
	if !query.Versions && !query.SoftDeleted {
		if err := query.SetAttrSelection([]string{"Name", "Size", "Created"}); err != nil {
			return err
		}
	}
	query.Projection = storage.ProjectionNoACL
	pages, failed := 0, 0
	bucket := s.handle(storage.WithPolicy(storage.RetryAlways), storage.WithErrorFunc(func(err error) bool {
		if failed++; err == nil || pages == 0 || failed >= s.attempts() || !storage.ShouldRetry(err) {
			return false
		}
		s.retries.report(err)
		return true
	}))
	objects := bucket.Objects(ctx, query)
	last, token := "", ""
	for {
		fetched := objects.PageInfo().Remaining() == 0
		attrs, err := objects.Next()
		if err == iterator.Done {
			return nil
		}
		if err != nil {
			return plain(err)
		}
		if fetched {
			next := objects.PageInfo().Token
			if next != "" && next == token {
				return errors.New("the store lists the same page again and again")
			}
			token, failed = next, 0
			pages++
		}
		if name := attrs.Name + attrs.Prefix; !query.Versions && !query.SoftDeleted && query.Delimiter == "" {
			if name <= last {
				continue
			}
			last = name
		}
		if !show(attrs) {
			return nil
		}
	}
}
