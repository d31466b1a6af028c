package drivers

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
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

// schemeForm is the form of schemes by RFC 3986. Text before a :// with another form is no scheme, and may be a secret.
var schemeForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*$`)

func find(root string) (Driver, error) {
	if root == "" {
		return Driver{}, fmt.Errorf("root: empty; a right one is %s", All()[0].Example)
	}
	scheme, rest, _ := strings.Cut(root, ":")
	if !strings.HasPrefix(rest, "//") || !schemeForm.MatchString(scheme) {
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

// findPath is find for a path, or for file:/path as Hadoop prints it. A path that looks like a mistyped URL is refused
// unless it begins with "./" or "/". If it may hold a password, the error does not repeat it.
func findPath(root string) (Driver, error) {
	local := All()[0]
	first, _, _ := strings.Cut(root, "/")
	scheme, rest, colon := strings.Cut(first, ":")
	d, known := byScheme(strings.ToLower(scheme))
	switch {
	case first == "" || first == "." || first == "..":
		return local, nil
	case colon && known && (d.Folder == nil || rest == "" && first != root):
		return d, nil
	case strings.Contains(root, "://") || hasPassword(root):
		return Driver{}, notURL()
	case first == "~": // most shells do not expand the ~ in --root=~/ckptd
		return Driver{}, fmt.Errorf("root %q: the shell has not put your home in place of ~; write %s or, if a folder has that name, %s",
			root, `"$HOME"`+output.ShellWord(strings.TrimPrefix(root, "~")), output.ShellWord("./"+root))
	case !colon:
		return local, nil
	case rest == "" && strings.HasPrefix(root, scheme+":/"):
		return Driver{}, fmt.Errorf("root %q: want two slashes: %s:/%s", root, scheme, strings.TrimPrefix(root, scheme+":"))
	}
	return Driver{}, fmt.Errorf("root %q is neither a URL nor a plain path; right ones are %s and, if a folder has that name, %s",
		root, list(", ", func(d Driver) string { return d.Example }), output.ShellWord("./"+root))
}

// hasPassword reports whether a text may hold user:password@, or the value of a parameter.
func hasPassword(text string) bool {
	_, after, colon := strings.Cut(text, ":")
	return colon && strings.Contains(after, "@") || strings.ContainsAny(text, "?&") && strings.Contains(text, "=")
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
	if scheme, rest, _ := strings.Cut(root, ":"); strings.EqualFold(scheme, All()[0].Kind()) {
		u, err := url.Parse(root)
		switch {
		case err != nil, u.User != nil:
			return "", notURL()
		case u.RawQuery != "" || u.Fragment != "": // they may hold a password
			return "", fmt.Errorf("root: want a path and nothing else: %s", All()[0].Example)
		case u.Host != "" && u.Host != "localhost":
			return "", fmt.Errorf("root %q: want three slashes: file:///%s", root, strings.TrimLeft(rest, "/"))
		case u.Path == "":
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
