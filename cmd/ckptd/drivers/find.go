package drivers

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
)

// Find returns the driver of a root, and the root's normal spelling. All its errors are errors of usage.
func Find(root string) (Driver, string, error) {
	d, err := find(root)
	if err != nil {
		return Driver{}, "", exit.With(exit.Usage, err)
	}
	normal, err := d.Normal(root)
	if err != nil {
		return Driver{}, "", exit.With(exit.Usage, err)
	}
	return d, normal, nil
}

func find(root string) (Driver, error) {
	if root == "" {
		return Driver{}, fmt.Errorf("root: empty; a right one is %s", All()[0].Example)
	}
	scheme, _, isURL := strings.Cut(root, "://")
	if !isURL {
		return findPath(root)
	}
	scheme = strings.ToLower(scheme)
	if d, ok := byScheme(scheme); ok {
		return d, nil // the driver checks the rest of the URL
	}
	if _, err := url.Parse(root); err != nil {
		return Driver{}, notURL()
	}
	return Driver{}, noDriver(scheme)
}

func byScheme(scheme string) (Driver, bool) {
	all := All()
	i := slices.IndexFunc(all, func(d Driver) bool { return slices.Contains(d.Schemes, scheme) })
	if i < 0 {
		return Driver{}, false
	}
	return all[i], true
}

// findPath is find for a path, or for file:/path as Hadoop prints it. A colon in a path's first element is most likely
// a mistyped URL, so such a path is refused unless it begins with "./" or "/".
func findPath(root string) (Driver, error) {
	local := All()[0]
	first, _, _ := strings.Cut(root, "/")
	scheme, rest, colon := strings.Cut(first, ":")
	d, known := byScheme(scheme)
	switch {
	case first == "~": // most shells do not expand the ~ in --root=~/ckptd
		return Driver{}, fmt.Errorf("root %q: the shell has not put your home in place of ~; write $HOME%s or, if a folder has that name, ./%s",
			root, strings.TrimPrefix(root, "~"), root)
	case !colon:
		return local, nil
	case known && d.Folder == nil, known && rest == "" && first != root:
		return d, nil
	case rest == "" && strings.HasPrefix(root, scheme+":/"):
		return Driver{}, fmt.Errorf("root %q: want two slashes: %s:/%s", root, scheme, strings.TrimPrefix(root, scheme+":"))
	}
	return Driver{}, fmt.Errorf("root %q is neither a URL nor a plain path; right ones are %s and, if a folder has that name, ./%s",
		root, list(", ", func(d Driver) string { return d.Example }), root)
}

// notURL is the error for a URL that cannot be parsed. It repeats neither the URL nor the parser's error, because both
// may hold a password.
func notURL() error { return fmt.Errorf("root: not a URL; right ones are %s", Examples()) }

// noDriver is the error for an unknown scheme. It does not repeat the URL, because the URL may hold a password.
func noDriver(scheme string) error {
	hint := ""
	for _, d := range All() {
		if instead := d.Mistaken[scheme]; instead != "" {
			hint = "; " + instead
		}
	}
	return fmt.Errorf("root: no driver for %s:// in this ckptd; right ones are %s%s", scheme, Examples(), hint)
}

// normalFolder returns the normal URL of a path or a file URL.
func normalFolder(root string) (string, error) {
	path := root
	if _, rest, isURL := strings.Cut(root, "://"); isURL || strings.HasPrefix(root, "file:") {
		u, err := url.Parse(root)
		switch {
		case err != nil:
			return "", notURL()
		case u.Host != "" && u.Host != "localhost":
			return "", fmt.Errorf("root %q: want three slashes: file:///%s", root, rest)
		case u.Path == "" || u.RawQuery != "" || u.Fragment != "":
			return "", fmt.Errorf("root %q: want a path and nothing else: %s", root, All()[0].Example)
		}
		path = u.Path
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("root %q: %w", root, err)
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(abs)}).String(), nil
}

// folder is the path of a URL that normalFolder has returned.
func folder(normal string) string {
	u, err := url.Parse(normal)
	if err != nil {
		panic("drivers: not a normal URL: " + normal) // normalFolder returns only URLs that can be parsed
	}
	return filepath.FromSlash(u.Path)
}
