// Package drivers opens any store by its URL.
//
// It owns the table of drivers, and the spelling of roots, jobs and checkpoints as URLs. A new store is one package and
// one row here. It must not know the contents of a store.
package drivers

import (
	"context"
	"fmt"
	"strings"

	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/file"
	"github.com/ckptd/ckptd/layout/storage/gcs"
	"github.com/ckptd/ckptd/layout/storage/retry"
	"github.com/ckptd/ckptd/layout/storage/s3"
)

// Driver is one row of the table. The command line knows nothing else of a kind of store. The first five fields are
// required.
type Driver struct {
	// Schemes of its URLs, in lower case. The first one is the usual spelling, and the name of the kind.
	Schemes []string
	// Example is a valid URL for help and errors.
	Example string
	// Form is the form of URLs, for the help of flags.
	Form string
	// Normal returns the normal spelling of a URL, without a slash at its end. Its error gives a valid example, and
	// never holds a password.
	Normal func(url string) (string, error)
	// Open opens the store below a URL that Normal has returned. With readOnly it never creates or changes anything.
	Open func(ctx context.Context, url string, readOnly bool) (storage.Opened, error)
	// Folder gives the local folder of a URL that Normal has returned. It is nil for a store that is not a file system
	// of this machine.
	Folder func(url string) string
	// Permissions are the store's names of the permissions that operations need, by doctor's names of the operations.
	Permissions map[string]string
	// OpenAdvice is printed when a store cannot be opened. Empty: package doctor advises on address and credentials.
	OpenAdvice string
	// Mistaken maps a scheme that people write by mistake to the advice for them.
	Mistaken map[string]string
}

// All is the table of drivers. A bare path belongs to the first one.
func All() []Driver {
	return []Driver{
		{
			Schemes: []string{"file"},
			Example: "file:///var/lib/ckptd",
			Form:    "file:///DIR",
			Normal:  normalFolder,
			Open: func(ctx context.Context, url string, readOnly bool) (storage.Opened, error) {
				return file.Open(ctx, folder(url), &file.Options{ReadOnly: readOnly})
			},
			Folder:     folder,
			OpenAdvice: "Give a folder, or the name of one to be made, that ckptd's user may write to; then run doctor again.",
		},
		{
			Schemes: s3.Schemes(),
			Example: "s3://my-bucket/ckptd?region=eu-central-1",
			Form:    "s3://BUCKET/PREFIX?region=…",
			Normal: func(url string) (string, error) {
				c, err := s3.Parse(url)
				if err != nil {
					return "", fmt.Errorf("root: %w", err)
				}
				return c.String(), nil
			},
			Open: func(ctx context.Context, url string, readOnly bool) (storage.Opened, error) {
				c, err := s3.Parse(url)
				if err != nil {
					return storage.Opened{}, err
				}
				c.ReadOnly = readOnly
				return s3.Open(ctx, c)
			},
			Permissions: map[string]string{
				"publish": "s3:PutObject", "create": "s3:PutObject and s3:AbortMultipartUpload", "read": "s3:GetObject", "range": "s3:GetObject",
				"stat": "s3:GetObject", "list": "s3:ListBucket on the bucket", "delete": "s3:DeleteObject",
				"abort unfinished": "s3:AbortMultipartUpload, and s3:ListBucketMultipartUploads on the bucket",
				"purge":            "s3:ListBucketVersions on the bucket and s3:DeleteObjectVersion",
			},
			Mistaken: map[string]string{
				"http":  "the address of an S3 server goes into s3://my-bucket/ckptd?endpoint=http://host:port",
				"https": "the address of an S3 server goes into s3://my-bucket/ckptd?endpoint=https://host:port",
			},
		},
		onHDFS(),
		{
			Schemes: gcs.Schemes(),
			Example: "gs://my-bucket/ckptd",
			Form:    "gs://BUCKET/PREFIX",
			Normal: func(url string) (string, error) {
				c, err := gcs.Parse(url)
				if err != nil {
					return "", fmt.Errorf("root: %w", err)
				}
				return c.String(), nil
			},
			Open: func(ctx context.Context, url string, readOnly bool) (storage.Opened, error) {
				c, err := gcs.Parse(url)
				if err != nil {
					return storage.Opened{}, err
				}
				c.ReadOnly = readOnly
				return gcs.Open(ctx, c)
			},
			Permissions: map[string]string{
				"publish": "storage.objects.create", "create": "storage.objects.create", "read": "storage.objects.get", "range": "storage.objects.get",
				"stat": "storage.objects.get", "list": "storage.objects.list on the bucket", "delete": "storage.objects.delete",
				"purge": "storage.objects.list and storage.objects.delete",
			},
			Mistaken: map[string]string{"gcs": "a bucket of Google's is gs://my-bucket/ckptd"},
		},
	}
}

// Kind is the name of the kind of store.
func (d Driver) Kind() string { return d.Schemes[0] }

// Open opens the store of a root, a job or a checkpoint. The caller closes it. With readOnly the store never creates or
// changes anything, and repeats failed reads. A store to write to repeats nothing, because the service stacks its own
// layers over it. Open does not look for the root marker.
func Open(ctx context.Context, root string, readOnly bool) (storage.Opened, error) {
	d, url, err := Find(root)
	if err != nil {
		return storage.Opened{}, err
	}
	opened, err := d.Open(ctx, url, readOnly)
	if err == nil && readOnly {
		opened.Store = retry.New(opened.Store, retry.Policy{})
	}
	return opened, err
}

// Normal is the normal spelling of a root, job or checkpoint: a URL without a slash at its end. A bare path is made
// absolute.
func Normal(root string) (string, error) {
	_, url, err := Find(root)
	return url, err
}

// Examples are valid URLs, one for each driver: "a, b and c".
func Examples() string { return list(" and ", func(d Driver) string { return d.Example }) }

// Forms are the forms of URLs, for the help of flags: "a, b or c".
func Forms() string { return list(", or ", func(d Driver) string { return d.Form }) }

// list joins a word of each driver, with last before the last one.
func list(last string, word func(Driver) string) string {
	var words []string
	for _, d := range All() {
		words = append(words, word(d))
	}
	n := len(words) - 1
	return strings.Join(words[:n], ", ") + last + words[n]
}
