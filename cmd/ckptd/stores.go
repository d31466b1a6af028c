package main

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/file"
	"github.com/ckptd/ckptd/layout/storage/retry"
	"github.com/ckptd/ckptd/layout/storage/s3"
)

// openStore opens the store of a root. The caller closes it. With readOnly nothing is ever created or changed, and reads are repeated;
// a store to write to is bare: the service stacks its own layers over it. It does not look for the root marker.
func openStore(ctx context.Context, root string, readOnly bool) (storage.Opened, error) {
	opened, err := openDriver(ctx, root, readOnly)
	if err == nil && readOnly {
		opened.Store = retry.New(opened.Store, retry.Policy{})
	}
	return opened, err
}

// openDriver is the only place that names drivers.
func openDriver(ctx context.Context, root string, readOnly bool) (storage.Opened, error) {
	scheme, path, err := splitURL(root)
	if err != nil {
		return storage.Opened{}, err
	}
	switch scheme {
	case "file":
		return file.Open(ctx, path, &file.Options{ReadOnly: readOnly})
	case "s3":
		c, err := s3.Parse(root)
		if err != nil {
			return storage.Opened{}, usagef("root: %w", err)
		}
		c.ReadOnly = readOnly
		return s3.Open(ctx, c)
	default:
		return storage.Opened{}, noDriver(scheme)
	}
}

// normalRoot is the one spelling of a root, job or checkpoint: a URL, without a slash at the end. A bare path is made absolute.
func normalRoot(root string) (string, error) {
	scheme, path, err := splitURL(root)
	if err != nil {
		return "", err
	}
	switch scheme {
	case "file":
	case "s3":
		c, err := s3.Parse(root)
		if err != nil {
			return "", usagef("root: %w", err)
		}
		return c.String(), nil
	default:
		return "", noDriver(scheme)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("root %q: %w", root, err)
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(abs)}).String(), nil
}

// noDriver says so. It does not repeat the URL, which may hold a password.
func noDriver(scheme string) error {
	hint := ""
	if scheme == "http" || scheme == "https" {
		hint = "; the address of an S3 server goes into s3://my-bucket/ckptd?endpoint=" + scheme + "://host:port"
	}
	return usagef("root: no driver for %s:// in this ckptd; right ones are file:///var/lib/ckptd and s3://my-bucket/ckptd%s", scheme, hint)
}

// splitURL takes a URL or a bare path apart. For file the path is that of the file system; all spellings of s3 have that scheme.
func splitURL(root string) (scheme, path string, err error) {
	if root == "" {
		return "", "", usagef("root: empty; a right one is file:///var/lib/ckptd")
	}
	scheme, rest, isURL := strings.Cut(root, "://")
	if !isURL {
		return splitPath(root)
	}
	scheme = strings.ToLower(scheme)
	if s3.IsScheme(scheme) {
		return "s3", "", nil // the driver reads it, and knows what is wrong with it
	}
	u, err := url.Parse(root)
	if err != nil { // whose text would tell a password
		return "", "", usagef("root: not a URL; right ones are file:///var/lib/ckptd and s3://my-bucket/ckptd")
	}
	if scheme != "file" {
		return scheme, u.Path, nil
	}
	if u.Host != "" && u.Host != "localhost" {
		return "", "", usagef("root %q: want three slashes: file:///%s", root, rest)
	}
	if u.Path == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", "", usagef("root %q: want a path and nothing else: file:///var/lib/ckptd", root)
	}
	return "file", u.Path, nil
}

// splitPath takes a path, or file:/path as Hadoop prints it. A colon in a path's first element is a URL gone wrong, or has to be meant.
func splitPath(root string) (scheme, path string, err error) {
	first, _, _ := strings.Cut(root, "/")
	scheme, rest, colon := strings.Cut(first, ":")
	switch {
	case first == "~": // as of --root=~/ckptd, which most shells leave as it is
		return "", "", usagef("root %q: the shell has not put your home in place of ~; write $HOME%s or, if a folder has that name, ./%s",
			root, strings.TrimPrefix(root, "~"), root)
	case !colon:
		return "file", root, nil
	case s3.IsScheme(scheme):
		return "s3", "", nil
	case scheme == "file" && rest == "" && root != "file:":
		u, err := url.Parse(root)
		if err != nil || u.RawQuery != "" || u.Fragment != "" {
			return "", "", usagef("root %q: want a path and nothing else: file:///var/lib/ckptd", root)
		}
		return "file", u.Path, nil
	case rest == "" && strings.HasPrefix(root, scheme+":/"):
		return "", "", usagef("root %q: want two slashes: %s:/%s", root, scheme, strings.TrimPrefix(root, scheme+":"))
	default:
		return "", "", usagef("root %q is neither a URL nor a plain path; right ones are file:///var/lib/ckptd, s3://my-bucket/ckptd and, if a folder has "+
			"that name, ./%s", root, root)
	}
}
