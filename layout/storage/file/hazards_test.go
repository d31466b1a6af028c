package file

import (
	"slices"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

// The hazards of a mount and a place, by name, with their weights.
func TestHazards(t *testing.T) {
	disk := place{root: "/srv/ckptd", kind: "ext4", options: []string{"rw", "relatime"}, room: room{bytes: share{500 << 30, 1000 << 30}, inodes: share{60_000_000, 61_000_000}}}
	with := func(change func(p *place)) place { p := disk; change(&p); return p }
	for _, c := range []struct {
		name string
		at   place
		want map[string]storage.Weight
	}{
		{"a disk", disk, nil},
		{"NFS", with(func(p *place) { p.kind, p.network = "NFS", true }), map[string]storage.Weight{"network caching": storage.WeightWarning}},
		{"NFS, noac", with(func(p *place) { p.kind, p.network, p.options = "NFS", true, []string{"rw", "noac"} }), nil},
		{"NFS, actimeo=0", with(func(p *place) {
			p.kind, p.network, p.options = "NFS", true, []string{"rw", "acregmin=0", "acregmax=0", "acdirmin=0", "acdirmax=0"}
		}), nil},
		{"NFS, options unknown", with(func(p *place) { p.kind, p.network, p.options = "NFS", true, nil }), map[string]storage.Weight{"network caching": storage.WeightUnknown}},
		{"NFS, soft", with(func(p *place) { p.kind, p.network, p.options = "NFS", true, []string{"noac", "soft"} }), map[string]storage.Weight{"soft mount": storage.WeightWarning}},
		{"no barriers", with(func(p *place) { p.options = []string{"rw", "nobarrier"} }), map[string]storage.Weight{"write barriers": storage.WeightUnfit}},
		{"tmpfs", with(func(p *place) { p.kind = "tmpfs: in memory" }), map[string]storage.Weight{"files stay": storage.WeightWarning}},
		{"a container", with(func(p *place) { p.kind = "overlayfs" }), map[string]storage.Weight{"files stay": storage.WeightWarning}},
		{"/tmp", with(func(p *place) { p.root = "/tmp/ckptd" }), map[string]storage.Weight{"files stay": storage.WeightWarning}},
		{"/tmpx", with(func(p *place) { p.root = "/tmpx" }), nil},
		{"nearly full", with(func(p *place) { p.room.bytes.free = 40 << 30 }), map[string]storage.Weight{"space": storage.WeightWarning}},
		{"a small disk", with(func(p *place) { p.room.bytes = share{500 << 20, 600 << 20} }), map[string]storage.Weight{"space": storage.WeightWarning}},
		{"few inodes", with(func(p *place) { p.room.inodes.free = 12 }), map[string]storage.Weight{"inodes": storage.WeightWarning}},
		{"a small part of the inodes", with(func(p *place) { p.room.inodes.free = 2_000_000 }), map[string]storage.Weight{"inodes": storage.WeightWarning}},
		{"no limit of inodes", with(func(p *place) { p.room.inodes = share{} }), nil},
		{"a wide quota", with(func(p *place) { p.room.quotas = []quota{{of: "user 7", bytes: share{400 << 30, 500 << 30}}} }), nil},
		{"a narrow quota", with(func(p *place) { p.room.quotas = []quota{{of: "user 7", bytes: share{1 << 20, 500 << 30}}} }), map[string]storage.Weight{"quota of user 7": storage.WeightWarning}},
		{"a quota of inodes", with(func(p *place) { p.room.quotas = []quota{{of: "group 7", inodes: share{0, 100_000}}} }), map[string]storage.Weight{"quota of group 7": storage.WeightWarning}},
		{"space unknown", with(func(p *place) { p.room.bytes = share{} }), map[string]storage.Weight{"space": storage.WeightUnknown}},
	} {
		found := 0
		for _, h := range c.at.hazards() {
			if h.Weight != c.want[h.Name] {
				t.Errorf("%s: %s is %d (%s), want %d", c.name, h.Name, h.Weight, h.Seen, c.want[h.Name])
			}
			if h.Weight != storage.WeightNone {
				found++
			}
			if h.Seen == "" || h.Weight > storage.WeightUnknown && !strings.HasSuffix(h.Advice, ".") {
				t.Errorf("%s: %s: %+v, want words for what was found", c.name, h.Name, h)
			}
		}
		if found != len(c.want) {
			t.Errorf("%s: %d hazards found, want %v", c.name, found, c.want)
		}
	}
}

// NFS is recognized by its statfs type, and Facts has its hazards.
func TestHazardsOfAStore(t *testing.T) {
	sys := realSystem()
	sys.fileSystem = func(string) (string, bool) { return "NFS", true }
	sys.mountOptions = func(string) []string { return []string{"rw", "hard"} }
	facts := openAt(t, t.TempDir(), sys).Facts
	if !slices.ContainsFunc(facts.Hazards(t.Context()), func(h storage.Hazard) bool { return h.Name == "network caching" && h.Weight == storage.WeightWarning }) {
		t.Errorf("hazards: %+v, want those of NFS", facts.Hazards(t.Context()))
	}
}
