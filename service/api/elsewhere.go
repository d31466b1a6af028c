package api

import (
	"path"
	"strings"

	"github.com/ckptd/ckptd/layout"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// FromElsewhere tells whether a job is to begin from a place outside of the daemon's root: a URL, or an absolute path.
func FromElsewhere(req *ckptdv1.AttachJobRequest, root string) bool {
	text := req.GetRestoreFrom()
	if _, _, label := ByLabel(text); label || belowRoot(text, root) != strings.TrimSuffix(base(text), "/"+layout.MetadataName) {
		return false
	}
	return strings.HasPrefix(text, "/") || strings.Contains(text, "://")
}

// ASavepoint tells whether a job is to begin from a savepoint below the daemon's root.
func ASavepoint(req *ckptdv1.AttachJobRequest, root string) bool {
	rel, ok := BelowRoot(req.GetRestoreFrom(), root)
	return ok && layout.CheckSavepointFolder(path.Base(rel)) == nil
}
