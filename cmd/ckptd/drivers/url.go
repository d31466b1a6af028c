package drivers

import "strings"

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

// Below is the URL of the path below a root: the opposite of CutLast.
func Below(root, path string) string {
	at, query, ok := strings.Cut(root, "?")
	at += "/" + path
	if ok {
		at += "?" + query
	}
	return at
}
