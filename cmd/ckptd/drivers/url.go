package drivers

import (
	"fmt"
	"net/url"
	"strings"
)

// CutLast cuts the last element off a normal URL. A query stays with the parent, because it belongs to the store. Of a name without
// a parent, the parent is empty.
func CutLast(at string) (parent, last string) {
	if path, query, ok := strings.Cut(at, "?"); ok {
		parent, last = CutLast(path)
		return parent + "?" + query, last
	}
	i := strings.LastIndexByte(at, '/')
	if i < 0 {
		return "", at
	}
	parent, last = at[:i], at[i+1:]
	if strings.HasSuffix(parent, "://") || strings.HasSuffix(parent, ":/") || parent == "file:" {
		parent += "/"
	}
	return parent, last
}

// CutKey is CutLast for an object or a folder that is opened in the store of its parent: the name is not escaped any more.
func CutKey(at string) (parent, name string, err error) {
	parent, last := CutLast(at)
	if name, err = url.PathUnescape(last); err != nil {
		return "", "", fmt.Errorf("drivers: the last element of the URL: %w", err)
	}
	return parent, name, nil
}

// Below is the URL of the path below a root: the opposite of CutLast.
func Below(root, path string) string {
	at, query, ok := strings.Cut(root, "?")
	at += "/" + path
	if ok {
		at += "?" + query
	}
	return at
}
