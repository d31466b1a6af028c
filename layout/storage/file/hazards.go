package file

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ckptd/ckptd/layout/storage"
)

// A place describes where a root lies, as far as that endangers its files.
type place struct {
	root, kind string
	network    bool
	// options of the mount; nil: not known.
	options []string
	room    room
}

// hazards examines the mount, free space and inodes.
func (s *store) hazards(context.Context) []storage.Hazard {
	p := place{root: s.root, kind: s.kind, network: s.network, options: s.sys.mountOptions(s.root), room: s.sys.room(s.root)}
	return p.hazards()
}

func (p place) hazards() []storage.Hazard {
	all := append([]storage.Hazard{p.cache(), p.lasting()}, p.room.hazards()...)
	if p.network && p.has("soft") {
		all = append(all, storage.Hazard{
			Name: "soft mount", Weight: storage.WeightWarning, Seen: "requests that take long end as errors",
			Advice: "Mount with hard: a server that is slow once costs a checkpoint, and its owner the job, on a soft mount.",
		})
	}
	if p.has("nobarrier") || p.has("barrier=0") {
		all = append(all, storage.Hazard{
			Name: "write barriers", Weight: storage.WeightUnfit, Seen: "the file system is mounted without barriers",
			Advice: "Mount without nobarrier (barrier=0): after a power cut, what was reported as durable may be gone.",
		})
	}
	return all
}

func (p place) has(option string) bool { return slices.Contains(p.options, option) }

// cache examines whether a network client answers from its cache instead of asking the server.
func (p place) cache() storage.Hazard {
	h := storage.Hazard{Name: "network caching"}
	switch {
	case !p.network:
		h.Seen = "a local file system"
	// The kernel shows the option actimeo=0 as several options on NFS, and as one on SMB.
	case p.has("noac") || p.has("actimeo=0") || p.has("acregmax=0") && p.has("acdirmax=0") || p.has("cache=none"):
		h.Seen = p.kind + ", mounted without attribute caching"
	case p.options == nil:
		h.Weight, h.Seen = storage.WeightUnknown, p.kind+", and its mount options cannot be read"
		h.Advice = "Mount with noac if more than one daemon serves this root: listings may come from a cache otherwise."
	default:
		h.Weight, h.Seen = storage.WeightWarning, p.kind+", mounted with attribute caching: listings may be old"
		h.Advice = "Mount with noac if more than one daemon serves this root, or let one daemon alone serve it."
	}
	return h
}

// lasting examines whether files in the folder may disappear by themselves.
func (p place) lasting() storage.Hazard {
	h := storage.Hazard{Name: "files stay"}
	switch {
	case strings.HasPrefix(p.kind, "tmpfs"):
		h.Weight, h.Seen = storage.WeightWarning, p.kind
		h.Advice = "Use a folder on a disk, unless the checkpoints may go with the machine."
	case p.kind == overlay:
		h.Weight, h.Seen = storage.WeightWarning, "overlayfs: a container's own files, gone with the container"
		h.Advice = "Mount a volume for the checkpoints, unless they may go with the container."
	case below(p.root, "/tmp") || below(p.root, "/var/tmp"):
		h.Weight, h.Seen = storage.WeightWarning, "a folder for temporary files, which many systems clean of old ones"
		h.Advice = "Use a folder outside of /tmp and /var/tmp: a file that checkpoints share for weeks looks old to what cleans there."
	default:
		h.Seen = "on " + p.kind
	}
	return h
}

func below(path, folder string) bool {
	return path == folder || strings.HasPrefix(filepath.ToSlash(path), folder+"/")
}
